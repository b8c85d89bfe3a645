#!/usr/bin/env python3
"""The benchmark suite as a user runs it: two cases, quick, under glibc and the library by its path; tables, CSV and plots
must be there, and every case must have a name of its own and a known group.
"""
import glob
import os
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITE = os.path.join(ROOT, "bench", "lib", "suite.py")
CASES = ("tight 64", "tight 64, 2 threads")


def suite(*args, want=0, stream="stdout"):
    done = subprocess.run([sys.executable, SUITE, *args], capture_output=True, text=True)
    assert done.returncode == want, f"{args}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return getattr(done, stream)


def refusals(folder):
    """What cannot go well ends in one line before anything runs."""
    file = os.path.join(folder, "file")
    open(file, "w", encoding="ascii").close()
    for status, *options in ((2, "--rounds", "0"), (2, "--rounds", "-3"), (2, "--rounds", "few"), (2, "--pin", "-7"), (2, "--pin", "99999"),
                             (2, "--allocator", "a|b=/bin/true"), (2, "--allocator", "glibc", "--allocator", "glibc"),
                             (1, "--results", "/proc/nope"), (1, "--results", file), (1, "--work", file)):
        options = options if "--work" in options else [*options, "--work", folder]
        said = suite("--quick", *options, CASES[0], want=status, stream="stderr")
        assert said.count("\n") == 1 and options[0] in said.replace("argument ", ""), f"{options}: {said}"
    os.environ["CC"] = "/nonexistent"
    said = suite("--quick", "--work", os.path.join(folder, "new"), CASES[0], want=1, stream="stderr")
    del os.environ["CC"]
    assert "Traceback" not in said and "cannot compile" in said, said


def stopped(folder, number):
    """A signal while a program runs ends both, in one line. The program says that it runs, and would not end."""
    pipe = os.path.join(folder, f"pipe{number}")
    os.mkfifo(pipe)
    text = ("import case, suite\n"
            f"one = case.Case('c', 'small', lambda work: None, lambda work, quick: ['sh', '-c', 'exec 3>{pipe}; echo runs >&3; exec sleep 100'])\n"
            "suite.chosen_cases = lambda args: [one]\n"
            "suite.run()\n")
    child = subprocess.Popen([sys.executable, "-c", text, "--quick", "--allocator", "glibc", "--work", folder], stderr=subprocess.PIPE,
                             text=True, env=os.environ | {"PYTHONPATH": os.path.dirname(SUITE)})
    with open(pipe, encoding="ascii") as said:
        assert said.readline() == "runs\n"
        child.send_signal(number)
        errors = child.communicate()[1]
        assert said.read() == ""  # comes when the program, which holds the other end, is gone
    assert child.returncode == 128 + number, (child.returncode, errors)
    assert "Traceback" not in errors and errors.endswith(f"stopped by {number.name}\n"), errors


def main():
    listed = suite("--list").splitlines()
    assert len(listed) > len(CASES), listed
    suite("no such case", want=1)
    suite("--allocator", "nosuch", CASES[0], want=2)
    with tempfile.TemporaryDirectory() as folder:
        refusals(folder)
        for number in (signal.SIGINT, signal.SIGTERM):
            stopped(folder, number)
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
