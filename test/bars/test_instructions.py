#!/usr/bin/env python3
"""Bars on exact instruction counts, taken by valgrind's callgrind; equal on every run of the same build.

    test_instructions.py PROGRAM [--lib LIBRARY|none] [--quick]

What is counted for a pair (or, for the remote pattern, for one call): the jump in the caller's PLT and everything from
the function's first instruction to its `ret`. The caller's own instructions, `call` and argument moves included, are
not. How: callgrind collects inside one loop function only; the difference between 2N and N rounds removes start,
warming up and the loop's prologue; the same loop text, calling functions that are one `ret`, gives what the loop itself
costs plus PLT jump and `ret` of each call, so

    figure = real(2N) - real(N) - stub(2N) + stub(N), divided by the pairs, plus 2 (jump and ret) for each call.

glibc 2.36 measures 131 (tight) and 182/182/367/624 (LIFO at 16/64/256/1024 bytes) under this definition.

For the remote pattern the figures include the amortised cost of flushing the batches. That its batched path has no atomic
read-modify-write is checked on the machine code: um_remote_free must be what the freeing thread ran for each block, and
neither it nor malloc nor free may hold a locked instruction or an xchg with memory.
"""
import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bars import Bars

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
BARS = {("tight", s): 33 for s in SIZES} | {("lifo", s): 36 for s in SIZES}
BARS |= {("calloc", 64): 60, ("remote free", 64): 40, ("remote free", 1024): 40}
# Code that a local pair and a buffered remote free run; slow paths are functions of their own.
PLAIN_FUNCTIONS = ("malloc", "free", "um_remote_free")


def callgrind(program, lib, toggle, pattern, kind, size, rounds, out="/dev/null"):
    env = dict(os.environ, LC_ALL="C")
    env.pop("LD_PRELOAD", None)
    if lib:
        env["LD_PRELOAD"] = lib
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--toggle-collect={toggle}", f"--callgrind-out-file={out}",
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


def measure(program, lib, quick):
    """Yields (pattern, size, figure); two valgrinds at a time, since counts do not depend on load."""
    with ThreadPoolExecutor(2) as pool:
        def rounds(name):
            return PATTERNS[name][3] // (10 if quick else 1)
        stubs = {name: pool.submit(slope, program, None, name, "stub", 64, rounds(name)) for name in PATTERNS}
        reals = [(name, size, pool.submit(slope, program, lib, name, "real", size, rounds(name)))
                 for name in PATTERNS for size in SIZES]
        for name, size, real in reals:
            _, calls, per, _ = PATTERNS[name]
            yield name, size, (real.result() - stubs[name].result() + 2 * calls) / per


def check_caller(program, bars):
    """The definition counts a PLT jump a call: the program must really call through lazy PLT slots."""
    relocations = subprocess.run(["objdump", "-R", program], capture_output=True, text=True, check=True).stdout
    for function in ("malloc", "calloc", "free", "stub_malloc", "stub_calloc", "stub_free"):
        if not re.search(rf"JUMP_SLOT\s+{function}\b", relocations):
            bars.fail(f"{program} does not call {function} through a PLT")


def calls_of(program, lib, callee, rounds):
    """How often remote_free_real led to `callee`, directly or not, in so many rounds."""
    with tempfile.NamedTemporaryFile("r", suffix=".callgrind") as out:
        callgrind(program, lib, "remote_free_real", "remote", "real", 64, rounds, out.name)
        names, total, called = {}, 0, None
        for line in out:
            if m := re.match(r"c?fn=\((\d+)\)(?: (.*))?$", line):
                if m[2]:
                    names[m[1]] = m[2].rstrip()
                called = names[m[1]] if line.startswith("cfn") else called
            elif m := re.match(r"calls=(\d+)", line):
                total += int(m[1]) if called and called.split("'")[0] == callee else 0
    return total


def check_plain(program, lib, bars):
    """No atomic read-modify-write in the functions of the fast paths, and the batched path is the one that ran."""
    rounds = 20
    frees, seen = rounds * BATCH, calls_of(program, lib, "um_remote_free", rounds)
    print(f"um_remote_free served {seen} of {frees} remote frees")
    if seen < frees * 0.99:
        bars.fail("the freeing thread did not go through um_remote_free")
    for function in PLAIN_FUNCTIONS:
        code = machine_code(function, lib)
        atomics = [c for c in code if re.search(r"\block\b|\bxchg\b.*\(", c)]
        print(f"{function}: {len(code)} instructions, {len(atomics)} atomic read-modify-writes")
        if not code:
            bars.fail(f"no symbol {function} in {lib}")
        for instruction in atomics:
            bars.fail(f"{function} holds `{instruction}`")


def machine_code(function, lib):
    """Its instructions, found by address and size: a function may have several names."""
    symbols = subprocess.run(["nm", "-S", lib], capture_output=True, text=True, check=True).stdout
    place = re.search(rf"^([0-9a-f]+) ([0-9a-f]+) [tTwWiV] {function}$", symbols, re.M)
    if not place:
        return []
    start, size = int(place[1], 16), int(place[2], 16)
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={start}", f"--stop-address={start + size}",
                           lib], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\s+[0-9a-f]+:\s+(.*)$", text, re.M)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--lib", default=os.environ.get("UMALLOC_LIB"), help="library to preload, or none")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    args = parser.parse_args()
    if platform.machine() != "x86_64":
        print(f"skipped: the bars are x86-64 instructions, this is {platform.machine()}")
        return 77
    for tool in ("valgrind", "objdump", "nm"):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here")
            return 77
    if not args.lib:
        parser.error("no library: give --lib or set UMALLOC_LIB")
    lib = None if args.lib == "none" else os.path.abspath(args.lib)

    bars = Bars("Instructions a pair (remote: a call), both PLT jumps included, loop removed")
    check_caller(args.program, bars)
    for name, size, figure in measure(args.program, lib, args.quick):
        bars.row(f"{name} {size} B", figure, BARS.get((name, size)))
    if lib:
        check_plain(args.program, lib, bars)
    return bars.status()


if __name__ == "__main__":
    sys.exit(main())
