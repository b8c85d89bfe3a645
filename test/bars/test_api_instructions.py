#!/usr/bin/env python3
"""Bars on exact instruction counts of the -lumalloc API, by callgrind: from a function's first instruction to its `ret`,
what it calls included. The difference between 2N and N rounds removes what happens once.

    test_api_instructions.py PROGRAM

The program is api.c. An arena's allocation is compiled into the function that is counted, so its `ret` is in the figure.
In a handover, magazines turn over and go to the depot and back: the figure includes that, amortised. The bars hold for gcc.
"""
import os
import platform
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bars import Bars
from callgrind import callgrind
from disassembly import compiler

ROUNDS = 5000
# name: (pattern, functions that are counted, calls of each a round, rounds, bar)
ROWS = {
    "arena allocate": ("arena", ("arena_once",), 1, ROUNDS, 12),
    "pool allocate and free": ("pool", ("um_pool_alloc", "um_pool_free"), 1, ROUNDS, 25),
    "pool allocate and free, 100 at a time": ("handover", ("um_pool_alloc", "um_pool_free"), 100, ROUNDS // 100, 40),
    "pool allocate and free, 1000 at a time": ("burst", ("um_pool_alloc", "um_pool_free"), 1000, ROUNDS // 1000, 46),
    "heap of one thread, allocate and free": ("heap", ("um_heap_malloc", "um_heap_free"), 1, ROUNDS, 29),
    "shared heap, allocate and free": ("shared", ("um_heap_malloc", "um_heap_free"), 1, ROUNDS, 60),
    "heap, 100 blocks of 16 sizes and a reset": ("request", ("um_heap_malloc", "um_heap_reset"), 100, ROUNDS // 100, 42),
    "malloc in batches of 100, and free": ("batch", ("um_malloc_batch", "um_free_batch"), 100, ROUNDS // 100, 29),
}


def main(program):
    if platform.machine() != "x86_64":
        print(f"skipped: the bars are x86-64 instructions, this is {platform.machine()}")
        return 77
    if not shutil.which("valgrind"):
        print("skipped: no valgrind here")
        return 77
    judged = "clang" not in compiler(os.environ["UMALLOC_LIB"])
    bars = Bars("Instructions of an operation of the API")
    for name, (pattern, functions, calls, rounds, bar) in ROWS.items():
        n, twice = (sum(callgrind(program, None, function, pattern, "real", 64, r) for function in functions)
                    for r in (rounds, 2 * rounds))
        figure = (twice - n) / rounds / calls
        bars.row(name, figure, bar if judged else None)
        if figure < 5:
            bars.fail(f"{name}: what was counted is not the function")
    return bars.status()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
