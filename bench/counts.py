#!/usr/bin/env python3
"""Exact counts of umalloc and its peers: what does not depend on the load of the machine.

    counts.py [--allocator NAME[=PATH]]... [--quick] [--results FOLDER] [--work FOLDER]

- Instructions a pair of malloc and free, or a call of one, by pattern and size, as test/lib/callgrind.py defines them.
- Atomic read-modify-writes a call in the local patterns and in remote frees: instructions with a lock prefix, or an
  xchg with memory, that callgrind saw run, in whatever library the allocator is made of.
- System calls (strace) and page faults (the kernel's count for the process, minor and major) an operation of
  bench/counters/steps.c, in steady state, in growth and in waves: the difference between runs of N and 2N operations.

Instructions are equal on every run; so are system calls and faults, but for what an allocator does by the clock. Prints
Markdown tables and keeps all counts in FOLDER/counts-DATE.csv (a row a count); with --quick, which counts fewer
operations and one size, only where --results is given.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BARS = os.path.join(ROOT, "test", "bars")
sys.path += [os.path.join(ROOT, "test", "lib"), os.path.join(ROOT, "bench", "lib")]
import allocators
import callgrind
import counted
import machine
from disassembly import disassembly, is_locked

INSTRUCTIONS = {"tight": "malloc + free, tight", "lifo": "malloc + free, 1000 LIFO", "calloc": "calloc + free, tight",
                "remote alloc": "malloc of what another thread freed", "remote free": "free by another thread"}
LOCKED = ("tight", "lifo", "remote alloc", "remote free")
LOCKED_ROUNDS = 20
# case of steps.c: (pattern, least bytes, most bytes, operations)
STEPS = {"steady, 16 B to 1 KiB": ("steady", 16, 1024, 500000), "steady, 1 to 32 KiB": ("steady", 1024, 32768, 100000),
         "steady, 32 KiB to 1 MiB": ("steady", 32768, 1 << 20, 5000), "growth, 64 B": ("grow", 64, 64, 500000),
         "growth, 16 B to 1 KiB": ("grow", 16, 1024, 100000), "growth, 64 KiB": ("grow", 65536, 65536, 2000),
         "waves, 16 B to 1 KiB": ("wave", 16, 1024, 500000), "waves, 1 to 32 KiB": ("wave", 1024, 32768, 100000)}
PER = 1000  # operations that system calls and faults are shown for


def build(work):
    """The programs, compiled as the tests do: calls as they stand in the text, each through a lazy PLT slot."""
    cc = [os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-fno-builtin", "-pthread"]
    stub, loops, steps = (os.path.join(work, name) for name in ("libcounts_stub.so", "counts_loops", "counts_steps"))
    for command in ([*cc, "-shared", "-fPIC", os.path.join(BARS, "stub.c"), "-o", stub],
                    [*cc, "-fplt", "-fcf-protection=none", os.path.join(BARS, "instructions.c"), stub, f"-Wl,-rpath,{work}",
                     "-Wl,-z,lazy", "-o", loops],
                    [*cc, "-I", os.path.join(ROOT, "bench", "programs"), os.path.join(ROOT, "bench", "counters", "steps.c"),
                     "-o", steps]):
        subprocess.run(command, check=True)
    return loops, steps


def instructions(loops, allocator, quick):
    for name, size, count in callgrind.measure(loops, allocator.path or None, quick, (64,) if quick else callgrind.SIZES):
        yield "Instructions", f"{INSTRUCTIONS[name]}, {size} B", count


def locked(loops, allocator, quick):
    """Atomic read-modify-writes a call, of all that ran inside the counted loop but the loop itself."""
    for name in LOCKED:
        for size in (64,) if quick else (64, 1024):
            rounds = callgrind.PATTERNS[name][3] if name == "tight" else LOCKED_ROUNDS
            times = 0
            for library, counts in callgrind.executed(loops, allocator.path or None, name, size, rounds).items():
                if counts and os.path.exists(library):
                    code = disassembly(library)
                    times += sum(n for address, n in counts.items() if is_locked(code.get(address, ("", ""))[1]))
            yield "Locked instructions a call", f"{INSTRUCTIONS[name]}, {size} B", times / rounds / callgrind.PATTERNS[name][1]


def faults_of(command, env):
    pid = os.posix_spawn(command[0], command, env)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return usage.ru_minflt + usage.ru_majflt


def calls_of(command, preload):
    """System calls of the command, those before its main included. The preload is set behind strace."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as out:
        subprocess.run(["strace", "-f", "-c", "-o", out.name, "-E", f"LD_PRELOAD={preload}", *command], check=True)
        return int(re.findall(r"^\s*100\.00.*?(\d+)(?:\s+\d+)? total$", out.read(), re.M)[-1])


def kernel(steps, allocator, quick):
    """System calls and page faults of PER operations, beyond the first N."""
    env = allocators.environment()
    for case, (pattern, least, most, operations) in STEPS.items():
        operations //= 10 if quick else 1
        commands = [[steps, pattern, str(least), str(most), str(n)] for n in (operations, 2 * operations)]
        for figure, count in (("System calls", lambda c: calls_of(c, allocator.path)),
                              ("Page faults", lambda c: faults_of(c, env | {"LD_PRELOAD": allocator.path}))):
            once, twice = map(count, commands)
            yield f"{figure} in {PER} operations", case, (twice - once) / operations * PER


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--allocator", action="append", metavar="NAME[=PATH]")
    parser.add_argument("--quick", action="store_true", help="fewer operations, one size: shows that it works")
    parser.add_argument("--results", help="folder of the CSV (default bench/results; none with --quick)")
    parser.add_argument("--work", default=os.path.join(ROOT, "build-bench"), help="folder of the compiled programs")
    args = parser.parse_args()
    if missing := [tool for tool in ("valgrind", "strace", "objdump") if not shutil.which(tool)]:
        sys.exit(f"missing: {', '.join(missing)}")
    libs = allocators.chosen(args.allocator)
    os.makedirs(args.work, exist_ok=True)
    loops, steps = build(os.path.abspath(args.work))
    rows = []
    for lib in libs:
        for count in (instructions, locked, kernel):
            print(f"{lib.name}: {count.__name__}", file=sys.stderr, flush=True)
            rows += [(figure, case, lib.name, number)
                     for figure, case, number in count(steps if count is kernel else loops, lib, args.quick)]
    rows.sort(key=lambda row: row[0])
    print(counted.counts_text(rows))
    folder = args.results or (None if args.quick else os.path.join(ROOT, "bench", "results"))
    if folder:
        path = counted.keep(folder, "counts", machine.describe(), {lib.name: lib.version for lib in libs},
                            ("figure", "case", "allocator", "count"), rows)
        print(f"All counts: {os.path.relpath(path, ROOT)}")


if __name__ == "__main__":
    main()
