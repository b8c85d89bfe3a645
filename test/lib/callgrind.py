"""Exact instruction counts of malloc and free under valgrind's callgrind; equal on every run of the same build.

What is counted for a pair (or, for the remote pattern, for one call): the jump in the caller's PLT and everything from
the function's first instruction to its `ret`. The caller's own instructions, `call` and argument moves included, are
not. How: callgrind collects inside one loop function only; the difference between 2N and N rounds removes start,
warming up and the loop's prologue; the same loop text, calling functions that are one `ret`, gives what the loop itself
costs plus PLT jump and `ret` of each call, so

    figure = real(2N) - real(N) - stub(2N) + stub(N), divided by the pairs, plus 2 (jump and ret) for each call.

The program is test/bars/instructions.c. The figures of the remote pattern include the amortised cost of the batches.
"""
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

BATCH = 1000  # blocks a round in the lifo and remote patterns, as in instructions.c
SIZES = (16, 64, 256, 1024)
# pattern: (counted function, calls a round, pairs or calls a round that the figure is divided by, rounds)
PATTERNS = {
    "tight": ("tight", 2, 1, 20000),
    "lifo": ("lifo", 2 * BATCH, BATCH, 40),
    "calloc": ("calloc", 2, 1, 20000),
    "remote alloc": ("remote_alloc", BATCH, BATCH, 40),
    "remote free": ("remote_free", BATCH, BATCH, 40),
}


def callgrind(program, lib, toggle, pattern, kind, size, rounds, out="/dev/null", *more):
    env = dict(os.environ, LC_ALL="C")
    env.pop("LD_PRELOAD", None)
    if lib:
        env["LD_PRELOAD"] = lib
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--toggle-collect={toggle}", f"--callgrind-out-file={out}", *more,
         program, pattern, kind, str(size), str(rounds)],
        env=env, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not collected:
        sys.exit(f"callgrind on {pattern} {kind} {size} {rounds} ended with {run.returncode}:\n{run.stderr}")
    return int(collected[1])


def slope(program, lib, name, kind, size, rounds):
    """Instructions that one more round of the loop costs."""
    function = f"{PATTERNS[name][0]}_{kind}"
    pattern = name.split()[0]
    n, twice = (callgrind(program, lib, function, pattern, kind, size, r) for r in (rounds, 2 * rounds))
    return (twice - n) / rounds


def measure(program, lib, quick, sizes=SIZES):
    """Yields (pattern, size, figure); two valgrinds at a time, since counts do not depend on load."""
    with ThreadPoolExecutor(2) as pool:
        def rounds(name):
            return PATTERNS[name][3] // (10 if quick else 1)
        stubs = {name: pool.submit(slope, program, None, name, "stub", 64, rounds(name)) for name in PATTERNS}
        reals = [(name, size, pool.submit(slope, program, lib, name, "real", size, rounds(name)))
                 for name in PATTERNS for size in sizes]
        for name, size, real in reals:
            _, calls, per, _ = PATTERNS[name]
            yield name, size, (real.result() - stubs[name].result() + 2 * calls) / per


def executed(program, lib, name, size, rounds):
    """How often each instruction ran inside the counted function, the program's own apart: {object: {address: times}}."""
    function = f"{PATTERNS[name][0]}_real"
    with tempfile.NamedTemporaryFile("r", suffix=".callgrind") as out:
        callgrind(program, lib, function, name.split()[0], "real", size, rounds, out.name,
                  "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no")
        objects, counts, inclusive = {}, {}, False
        for line in out:
            if line.startswith("ob="):
                counts = objects.setdefault(os.path.realpath(line[3:].strip()), {})
            elif line.startswith("calls="):
                inclusive = True  # the next line is what the callee cost
            elif line.startswith("0x"):
                if not inclusive:
                    address, _, count = line.split()
                    counts[int(address, 16)] = counts.get(int(address, 16), 0) + int(count)
                inclusive = False
    objects.pop(os.path.realpath(program), None)
    return objects
