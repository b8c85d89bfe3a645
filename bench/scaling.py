#!/usr/bin/env python3
"""How umalloc scales with threads, by counting, on a machine of any size; docs/scaling.md has the model.

    scaling.py [--quick] [--counts-only] [--allocator NAME[=PATH]]... [--results FOLDER] [--work FOLDER]

Compiles the library's sources and bench/counters with the thread sanitizer's calls before each access to memory, and
links them with bench/counters/coherence.c and schedule.c in place of its runtime: those count what caches would
transfer, and run up to 128 threads in virtual time, so the counts are the same on every run. The library as it is built for
use has nothing of it: its sources know nothing of being counted.

Where the machine has as many cores as a run has threads, the same patterns are measured too, under each allocator (the
best of some runs), unless --counts-only is given. Leave the machine alone for that.

Keeps all in FOLDER/scaling-DATE.csv: a row a pattern, number of threads and figure; figures are for an operation of any thread.
"""
import argparse
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, "bench", "lib"))
import allocators
import counted
import machine

COUNTERS = os.path.join(ROOT, "bench", "counters")
FLAGS = ["-O2", "-g", "-std=gnu17", "-pthread", "-fno-builtin", "-I", os.path.join(ROOT, "src"),
         "-I", os.path.join(ROOT, "bench", "programs")]
# The sanitizer's predefined macro would make the library read some words in another way.
COUNTED_FLAGS = ["-fsanitize=thread", "-U__SANITIZE_THREAD__", "--param", "tsan-instrument-func-entry-exit=0"]
# As in meson.build, for the static library. A pause instruction becomes a pause in virtual time.
LIBRARY_FLAGS = ["-DUM_STATIC", '-DUM_VERSION="counted"', "-ftls-model=initial-exec", "-fno-tree-slp-vectorize", "-fexceptions",
                 "-fvisibility=hidden", "-include", os.path.join(COUNTERS, "spin.h"), "-D__builtin_ia32_pause()=sim_spin()"]
WRAPPED = ("wait", "wake_one", "now_ms", "map_at", "remap_zero", "unmap", "purge", "move", "hugepage")
# In ps. An access that hits and a locked instruction beyond it: of current x86 cores, near what `local` measures;
# a system call without what it does.
COSTS = {"SIM_ACCESS": 200, "SIM_LOCKED": 5000, "SIM_TRANSFER": counted.SIMULATED_NS * 1000, "SIM_CALL": 1000000}
# pattern: operations of a thread
PATTERNS = {"local": 2048, "handover": 1024, "pairs": 1024, "gather": 512, "scatter": 512, "churn": 256}
THREADS = (1, 2, 4, 8, 16, 32, 64, 128)
DEAR = {"churn": 64, "gather": 64, "scatter": 64}  # most threads: beyond, the simulation takes minutes
MEASURED_OPERATIONS, MEASURED_RUNS = 100, 7  # times PATTERNS'; the best run is kept


def cc(*arguments):
    """By gcc, whatever $CC says: other compilers call more functions than coherence.c has."""
    subprocess.run(["gcc", *map(str, arguments)], check=True)


def build(work):
    """The counting program and the measuring one."""
    objects = []
    for source in sorted(glob.glob(os.path.join(ROOT, "src", "*", "*.c"))):
        if os.path.basename(os.path.dirname(source)) == "ext":
            continue  # no malloc runs it
        objects.append(os.path.join(work, "counted_" + os.path.relpath(source, ROOT).replace(os.sep, "_") + ".o"))
        cc(*FLAGS, *COUNTED_FLAGS, *LIBRARY_FLAGS, "-c", source, "-o", objects[-1])
    for name, flags in (("scaling", COUNTED_FLAGS), ("coherence", ()), ("schedule", ())):
        objects.append(os.path.join(work, f"counted_{name}.o"))
        cc(*FLAGS, *flags, "-c", os.path.join(COUNTERS, name + ".c"), "-o", objects[-1])
    simulated, real = os.path.join(work, "scaling-counted"), os.path.join(work, "scaling-measured")
    cc("-no-pie", "-pthread", *objects, *(f"-Wl,--wrap=um_os_{name}" for name in WRAPPED), "-o", simulated)
    cc(*FLAGS, os.path.join(COUNTERS, "scaling.c"), os.path.join(COUNTERS, "real.c"), "-o", real)
    return simulated, real


def functions(program, places):
    """{return address: (function that it lies in, whether it is the library's)}; inlined ones go by who they are inlined in."""
    calls = "\n".join(hex(int(place, 16) - 1) for place in places)
    text = subprocess.run(["addr2line", "-a", "-f", "-i", "-e", program], input=calls, capture_output=True, text=True, check=True).stdout
    found = {}
    for place, chain in zip(places, re.split(r"^0x\w+\n", text, flags=re.M)[1:]):
        lines = chain.splitlines()
        found[place] = (lines[-2], os.path.realpath(lines[1].rsplit(":", 1)[0]).startswith(os.path.join(ROOT, "src") + os.sep))
    return found


def variables(program):
    """[(address, bytes, name)] of the program's data."""
    text = subprocess.run(["nm", "-S", program], capture_output=True, text=True, check=True).stdout
    return [(int(at, 16), int(size, 16), name) for at, size, kind, name in re.findall(r"^(\w+) (\w+) ([bBdD]) (\w+)$", text, re.M)]


def lock_name(data, address):
    """The variable that the lock lies in; um_spaces has one for each node."""
    name, offset, size = next(((name, address - at, size) for at, size, name in data if at <= address < at + size), ("", 0, 0))
    if not name:
        sys.exit(f"what was counted as a lock at {address:#x} is no variable of the library")
    return f"um_spaces[{offset * 8 // size}]" if name == "um_spaces" else name


def digest(program, output):
    """{figure: value} of a run of the counting program; all but its own ns are for an operation."""
    figures = dict(re.findall(r"^(\w+) ([0-9.e+-]+)$", output, re.M))
    operations = float(figures["operations"])
    places = {at: list(map(int, counts)) for at, *counts in re.findall(r"^place (\w+) (\d+) (\d+) (\d+) (\d+)$", output, re.M)}
    where = functions(program, list(places))
    sums = {"accesses": 0, "atomics": 0, "failed swaps": 0, "transfers": 0, "program transfers": 0}
    moved = {}
    for at, (accesses, atomics, failed, transfers) in places.items():
        function, ours = where[at]
        sums["transfers"] += transfers
        if ours:
            for figure, count in (("accesses", accesses), ("atomics", atomics), ("failed swaps", failed)):
                sums[figure] += count
            moved[function] = moved.get(function, 0) + transfers
        else:
            sums["program transfers"] += transfers
    data = variables(program)
    locks = [(lock_name(data, int(at, 16)), *map(int, counts))
             for at, *counts in re.findall(r"^lock (\w+) (\d+) (\d+) (\d+) (\d+)$", output, re.M)]
    longest = max(locks, key=lambda lock: lock[3], default=("", 0, 0, 0, 0))
    lines = [int(count) for count in re.findall(r"^line \w+ (\d+)", output, re.M)]
    found = {"simulated ns": float(figures["ns"]), "busiest ns": float(figures["busiest_ns"]),
             "busiest transfers": float(figures["busiest_transfers"]), "system calls": float(figures["calls"])}
    found |= {figure: count / operations for figure, count in (
        *sums.items(), ("transfers of the busiest line", max(lines, default=0)), ("longest lock ns", longest[3] / 1e3),
        ("longest lock transfers", longest[4]), ("lock takes", sum(lock[1] for lock in locks)),
        ("failed takes", sum(lock[2] for lock in locks)))}
    for name, takes, contended, held, _ in locks:
        found |= {f"takes of {name}": takes / operations, f"failed takes of {name}": contended / operations,
                  f"ns held of {name}": held / 1e3 / operations}
    most = sorted(moved.items(), key=lambda item: -item[1])[:6]
    return found | {f"transfers in {function}": count / operations for function, count in most if count}


def count(program, pattern, threads, operations):
    """Without address space randomisation and with a fixed environment, so that addresses, and with them lines, are the same."""
    run = subprocess.run(["setarch", "-R", program, pattern, str(threads), str(operations)], capture_output=True, text=True,
                         env={name: str(ps) for name, ps in COSTS.items()}, cwd="/", timeout=600)
    if run.returncode:
        sys.exit(f"{pattern} with {threads} threads ended with {run.returncode}: {run.stderr.strip()}")
    return digest(program, run.stdout)


def measure(program, lib, pattern, threads, operations):
    env = allocators.environment()
    command = [program, pattern, str(threads), str(operations * MEASURED_OPERATIONS)]
    runs = [subprocess.run(command, env=env | {"LD_PRELOAD": lib.path}, capture_output=True, text=True, check=True).stdout
            for _ in range(MEASURED_RUNS)]
    return min(float(re.search(r"^ns (\S+)", run, re.M)[1]) for run in runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="at most 8 threads: shows that it works")
    parser.add_argument("--counts-only", action="store_true", help="measure nothing")
    parser.add_argument("--allocator", action="append", metavar="NAME[=PATH]", help="to measure")
    parser.add_argument("--results", help="folder of the CSV (default bench/results; none with --quick)")
    parser.add_argument("--work", default=os.path.join(ROOT, "build-bench"), help="folder of the compiled programs")
    args = parser.parse_args()
    if machine.platform.machine() != "x86_64":
        sys.exit("the costs and the pauses are those of x86-64")
    work = os.path.abspath(args.work)
    os.makedirs(work, exist_ok=True)
    simulated, real = build(work)
    libs = [] if args.counts_only else allocators.chosen(args.allocator)
    cores, rows = len(os.sched_getaffinity(0)), []
    for pattern, operations in PATTERNS.items():
        for threads in THREADS:
            if threads > (8 if args.quick else DEAR.get(pattern, THREADS[-1])) or threads == 1 and pattern in ("pairs", "gather", "scatter"):
                continue
            print(f"{pattern}, {threads} thread{'s' * (threads > 1)}", file=sys.stderr, flush=True)
            found = count(simulated, pattern, threads, operations)
            if threads <= cores:
                found |= {f"measured ns {lib.name}": measure(real, lib, pattern, threads, operations) for lib in libs}
            rows += [(pattern, threads, figure, value) for figure, value in found.items()]
    print(counted.scaling_text(rows))
    folder = args.results or (None if args.quick else os.path.join(ROOT, "bench", "results"))
    if folder:
        about = machine.describe() | {name.lower(): f"{ps} ps" for name, ps in COSTS.items()} | {"umalloc": allocators.commit()}
        path = counted.keep(folder, "scaling", about, {lib.name: lib.version for lib in libs},
                            ("pattern", "threads", "figure", "value"), rows)
        print(f"All figures: {os.path.relpath(path, ROOT)}")


if __name__ == "__main__":
    main()
