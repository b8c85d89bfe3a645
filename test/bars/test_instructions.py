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

The remote figures include the amortised cost of flushing the batches. That no atomic read-modify-write is on the local
paths, or on the batched path of a remote free, is checked on the instructions that ran: callgrind counts each by its
address, and those that ran for more than a share of the calls (ATOMIC_SHARE) must not be locked, nor an xchg with memory.
Flushes have such instructions, and are rarer than that.
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
# An instruction that ran for this share of the calls belongs to the batched path, by the size of the block: batches of
# small blocks are long, those of 1 KiB hold a few.
ATOMIC_SHARE = {64: 0.1, 1024: 0.34}


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


def executed(program, lib, name, size, rounds):
    """How often each of the library's instructions ran inside the counted function, by address."""
    function = f"{PATTERNS[name][0]}_real"
    with tempfile.NamedTemporaryFile("r", suffix=".callgrind") as out:
        callgrind(program, lib, function, name.split()[0], "real", size, rounds, out.name,
                  "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no")
        counts, inside, inclusive = {}, False, False
        for line in out:
            if line.startswith("ob="):
                inside = os.path.realpath(line[3:].strip()) == os.path.realpath(lib)
            elif line.startswith("calls="):
                inclusive = True  # the next line is what the callee cost
            elif line.startswith("0x"):
                if inside and not inclusive:
                    address, _, count = line.split()
                    counts[int(address, 16)] = counts.get(int(address, 16), 0) + int(count)
                inclusive = False
    return counts


def disassembly(lib):
    """Address: (function, instruction)."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", lib], capture_output=True, text=True, check=True).stdout
    code, function = {}, ""
    for line in text.splitlines():
        if m := re.match(r"[0-9a-f]+ <(.*)>:", line):
            function = m[1]
        elif m := re.match(r"\s+([0-9a-f]+):\s+(.*)", line):
            code[int(m[1], 16)] = (function, m[2].strip())
    return code


def check_plain(program, lib, bars):
    """No atomic read-modify-write on the local paths and on the batched one; how many there are a call, flushes included."""
    code = disassembly(lib)
    print(f"{'':44s}{'atomic read-modify-writes a call':>32s}")
    for name, size in (("tight", 64), ("lifo", 64), ("remote free", 64), ("remote free", 1024)):
        rounds = 20000 if name == "tight" else 20
        _, per_round, _, _ = PATTERNS[name]
        calls = rounds * per_round
        counts = executed(program, lib, name, size, rounds)
        if not counts.keys() <= code.keys() or sum(counts.values()) < 5 * calls:
            bars.fail(f"{name} {size} B: what ran is not the code of {lib}")
        atomics = {a: n for a, n in counts.items() if a in code and re.search(r"\block\b|\bxchg\b.*\(", code[a][1])}
        bars.row(f"{name} {size} B", sum(atomics.values()) / calls, 0.5 if name == "remote free" else 0.05)
        for address, count in atomics.items():
            if count >= calls * ATOMIC_SHARE[size]:
                bars.fail(f"{name} {size} B: {code[address][0]} ran `{code[address][1]}` {count} times in {calls} calls")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("--lib", default=os.environ.get("UMALLOC_LIB"), help="library to preload, or none")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    args = parser.parse_args()
    if platform.machine() != "x86_64":
        print(f"skipped: the bars are x86-64 instructions, this is {platform.machine()}")
        return 77
    for tool in ("valgrind", "objdump"):
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
