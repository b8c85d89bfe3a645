#!/usr/bin/env python3
"""Bars on exact instruction counts, taken by valgrind's callgrind; equal on every run of the same build.

    test_instructions.py PROGRAM [--lib LIBRARY|none] [--quick]

What is counted, and how, is said in test/lib/callgrind.py; the loops are those of instructions.c.
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

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bars import Bars
from callgrind import PATTERNS, SIZES, executed, measure
from disassembly import disassembly, is_locked

BARS = {("tight", s): 33 for s in SIZES} | {("lifo", s): 36 for s in SIZES}
BARS |= {("calloc", 64): 60, ("remote free", 64): 40, ("remote free", 1024): 40}
# An instruction that ran for this share of the calls belongs to the batched path, by the size of the block: batches of
# small blocks are long, those of 1 KiB hold a few.
ATOMIC_SHARE = {64: 0.1, 1024: 0.34}


def check_caller(program, bars):
    """The definition counts a PLT jump a call: the program must really call through lazy PLT slots."""
    relocations = subprocess.run(["objdump", "-R", program], capture_output=True, text=True, check=True).stdout
    for function in ("malloc", "calloc", "free", "stub_malloc", "stub_calloc", "stub_free"):
        if not re.search(rf"JUMP_SLOT\s+{function}\b", relocations):
            bars.fail(f"{program} does not call {function} through a PLT")


def check_plain(program, lib, bars):
    """No atomic read-modify-write on the local paths and on the batched one; how many there are a call, flushes included."""
    code = disassembly(lib)
    print(f"{'':44s}{'atomic read-modify-writes a call':>32s}")
    for name, size in (("tight", 64), ("lifo", 64), ("remote free", 64), ("remote free", 1024)):
        rounds = 20000 if name == "tight" else 20
        _, per_round, _, _ = PATTERNS[name]
        calls = rounds * per_round
        counts = executed(program, lib, name, size, rounds).get(os.path.realpath(lib), {})
        if not counts.keys() <= code.keys() or sum(counts.values()) < 5 * calls:
            bars.fail(f"{name} {size} B: what ran is not the code of {lib}")
        atomics = {a: n for a, n in counts.items() if a in code and is_locked(code[a][1])}
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
