#!/usr/bin/env python3
"""UMALLOC_TRACK from the start of a program, and the log of operations with scripts/umalloc-replay.

    test_tracking.py LIBRARY PROGRAM LINKED_PROGRAM REPLAY

The programs are tracked.c; the second is linked with the library.
"""
import os
import re
import subprocess
import sys
import tempfile

LEAKS, LEAK_BYTES, HUGE_BYTES = 7, 1001, 256 << 20
ALLOCATIONS, FREES = LEAKS + 4, 4  # a realloc is one of each
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {what}")


def run(command, **env):
    done = subprocess.run(command, env={**os.environ, "LC_ALL": "C", **env}, capture_output=True, text=True,
                          pass_fds=[int(command[-1])] if "log" in command else [])
    # UndefinedBehaviorSanitizer's runtime is up after our constructor, and says so when that asks for signals.
    return done.returncode, done.stdout, re.sub(r"^Warning: REAL\(sigaction_symname\) .*\n", "", done.stderr)


def leaks(program, how, preload):
    status, out, said = run([program, "leaks"], UMALLOC_TRACK=how, **preload)
    check(status == 0 and out == "", f"{program} with UMALLOC_TRACK={how} ended with {status}")
    return said


def test_at_exit(program, preload):
    said = leaks(program, "1", preload)
    head = re.match(r"umalloc: (\d+) bytes in (\d+) tracked blocks are live\n", said)
    check(head and int(head[1]) >= LEAKS * LEAK_BYTES and int(head[2]) >= LEAKS, f"no sum in: {said}")
    stack = re.search(rf"^  {LEAKS * LEAK_BYTES} bytes in {LEAKS} blocks, the first by thread \d+, from\n((?:    .*\n)+)", said,
                      re.M)
    check(stack and " leak_here+" in stack[1], f"no leak of leak_here in: {said}")
    check(str(HUGE_BYTES) not in said, f"what was given back is no leak: {said}")
    check(leaks(program, "0", preload) == "", "without tracking nothing is said")


def test_log(program, replay, folder, library):
    log = os.path.join(folder, "log")
    with open(log, "wb") as f:
        status, _, said = run([program, "log", str(f.fileno())])
    check(status == 0 and said == "", f"{program} log ended with {status}: {said}")
    status, out, said = run([*replay, log])
    most = HUGE_BYTES + LEAKS * LEAK_BYTES
    expected = (f"{ALLOCATIONS} allocations, {FREES} frees, {most} bytes live at most, "
                f"{LEAKS * LEAK_BYTES} in {LEAKS} blocks at the end\n")
    check((status, out) == (0, expected), f"the sums are {out}{said}, not {expected}")
    status, out, said = run([*replay, "--list", log])
    lines = out.splitlines()
    check(status == 0 and len(lines) == ALLOCATIONS + FREES, f"{len(lines)} lines: {out}{said}")
    check(sum(line.endswith(f" allocate {LEAK_BYTES}") for line in lines) == LEAKS, f"the leaks are not listed: {out}")
    check(sum(line.endswith(" allocate 8192 aligned 4096") for line in lines) == 1, f"nor the aligned block: {out}")
    check(sum(line.endswith(" free") for line in lines) == FREES, f"nor all frees: {out}")
    status, out, said = run([*replay, "--run", log], LD_PRELOAD=library, UMALLOC_STATS="json")
    check(status == 0, f"--run ended with {status}: {said}")
    peak = max((int(n) for n in re.findall(r'"peak": (\d+)', said)), default=0)
    check(peak >= most, f"--run had {peak} bytes at most, the program {most}: {said[:2000]}")
    test_odd_logs(replay, log, folder)


def test_odd_logs(replay, log, folder):
    with open(log, "rb") as f:
        whole = f.read()
    torn, other = os.path.join(folder, "torn"), os.path.join(folder, "other")
    with open(torn, "wb") as f:
        f.write(whole[:-5])
    with open(other, "wb") as f:
        f.write(b"something else")
    status, out, _ = run([*replay, torn])
    check(status == 0 and out.startswith(f"{ALLOCATIONS} allocations, {FREES - 1} frees"), f"a torn log: {out}")
    status, out, said = run([*replay, other])
    check(status == 1 and said == f"{other}: not a log of umalloc\n", f"no log: {status} {said}")


def main(library, program, linked, replay):
    replay = [sys.executable, replay]
    test_at_exit(program, {"LD_PRELOAD": library})
    test_at_exit(linked, {})
    with tempfile.TemporaryDirectory() as folder:
        test_log(linked, replay, folder, library)
    print("FAILED" if failures else "passed")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
