#!/usr/bin/env python3
"""The system's python3 runs its own unit tests (json, threading, multiprocessing, re, ctypes), each object from malloc.

Debian's /usr/bin/python3 with the tests of libpython3-testsuite. Every test's outcome must be that of the run without the
library. The runs go side by side: these tests mostly wait. The multiprocessing ones listen on "localhost"; where no address
belongs to that name, some fail and then a later one waits for ever, with the library or without.
"""
import os
import socket
import subprocess
import sys
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

from real import Real, skip

PYTHON = "/usr/bin/python3"
# Name of the run: tests, and patterns of the cases to run (none: all). The start methods share their cases; fork, the
# one that is hard on an allocator, runs all of them.
RUNS = {
    "units": (["test_json", "test_re", "test_ctypes", "test_threading"], []),
    "fork": (["test_multiprocessing_fork"], []),
    "spawn": (["test_multiprocessing_spawn"], ["*WithProcessesTestPool.*", "*WithProcessesTestQueue*", "*SharedMemory*"]),
    "forkserver": (["test_multiprocessing_forkserver"], ["*WithProcessesTestPool.*", "*WithManagerTestQueue*"]),
}
HANG_SECONDS = "500"  # a file of tests that takes longer hangs: its stacks are printed, and the run fails


def knows_localhost():
    try:
        return bool(socket.getaddrinfo("localhost", None))
    except socket.gaierror:
        return False


def outcomes(real, name, under):
    """Outcome of each case, by its name."""
    tests, patterns = RUNS[name]
    folder = real.folder(f"{name}-{'under' if under else 'alone'}")
    results = os.path.join(folder, "results.xml")
    command = [PYTHON, "-m", "test", "--timeout", HANG_SECONDS, "--junit-xml", results, "--tempdir", folder, *tests]
    for pattern in patterns:
        command += ["-m", pattern]
    done = real.run(command, under, cwd=folder, want=None, PYTHONMALLOC="malloc")
    if not os.path.exists(results):
        real.fail(f"{' '.join(command)} ended with {done.returncode}\n{(done.stdout + done.stderr)[-3000:].decode()}")
        return {}
    cases = xml.etree.ElementTree.parse(results).iter("testcase")
    return {case.get("name"): ",".join(child.tag for child in case if child.tag in ("failure", "error", "skipped")) or "ok"
            for case in cases}


def main():
    real = Real(__doc__.split("\n")[0])
    if subprocess.run([PYTHON, "-c", "import test.test_json"], capture_output=True).returncode:
        skip(f"{PYTHON} has no tests of its own here (Debian: libpython3.11-testsuite)")
    if not knows_localhost():
        skip("localhost has no address here (Debian: netbase makes /etc/hosts)")
    with ThreadPoolExecutor(2 * len(RUNS)) as pool:
        runs = {(name, under): pool.submit(outcomes, real, name, under) for name in RUNS for under in (False, True)}
        for name in RUNS:
            alone, under = runs[name, False].result(), runs[name, True].result()
            ok = sum(o == "ok" for o in under.values())
            print(f"{name}: {len(alone)} cases alone, {len(under)} under the library, {ok} of them ok", flush=True)
            real.true(f"{name}: cases ran", len(alone) > 0)
            for case in sorted(alone.keys() | under.keys()):
                if alone.get(case) != under.get(case):
                    real.fail(f"{case}: {alone.get(case)} alone, {under.get(case)} under the library")
    real.ran_under(os.path.basename(PYTHON))
    real.end()


if __name__ == "__main__":
    sys.exit(main())
