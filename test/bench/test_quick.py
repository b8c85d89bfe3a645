#!/usr/bin/env python3
"""The benchmark suite as a user runs it: two cases, quick, under glibc and the library by its path; tables, CSV and plots
must be there, and every case must have a name of its own and a known group.
"""
import glob
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITE = os.path.join(ROOT, "bench", "lib", "suite.py")
CASES = ("tight 64", "tight 64, 2 threads")


def suite(*args, want=0):
    done = subprocess.run([sys.executable, SUITE, *args], capture_output=True, text=True)
    assert done.returncode == want, f"{args}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def main():
    listed = suite("--list").splitlines()
    assert len(listed) > len(CASES), listed
    suite("no such case", want=1)
    suite("--allocator", "nosuch", CASES[0], want=2)
    with tempfile.TemporaryDirectory() as folder:
        said = suite("--quick", "--allocator", "glibc", "--allocator", f"umalloc={os.environ['UMALLOC_LIB']}",
                     "--work", folder, "--results", folder, *CASES)
        for text in (*CASES, "| **umalloc** |", "time: no case above 1.05x its best peer"):
            assert text in said, f"{text!r} is missing in\n{said}"
        written = sorted(os.path.basename(path) for path in glob.glob(folder + "/suite-*"))
        assert len(written) == 2, written
        with open(os.path.join(folder, written[0]), encoding="utf-8") as file:
            rows = [line for line in file if line.startswith(('tight', '"tight'))]
        assert len(rows) == 2 * len(CASES), rows
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            print("no matplotlib for this interpreter: plots are not tested")
        else:
            assert os.path.getsize(os.path.join(folder, "plots", "means.svg")) > 0
    print(f"{len(listed)} cases listed, {len(CASES)} run")


if __name__ == "__main__":
    main()
