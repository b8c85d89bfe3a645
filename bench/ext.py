#!/usr/bin/env python3
"""The families of the -lumalloc API beside malloc and beside libraries that do the same.

    ext.py [--quick] [--rounds N] [--seed N] [--programs FOLDER] [--results FOLDER] [FAMILY]...

Runs the programs of bench/ext, which scripts/bench --ext builds: each case on umalloc's family, on umalloc's malloc, on
glibc's, and on the peers that the program was built with. Each round runs all of them once, in an order that the seed
shuffles anew for each case. Prints Markdown tables of ratios and keeps all rows in FOLDER/ext-DATE.csv; docs/ext-performance.md
shows them, renewed by scripts/bench --pages. With --quick runs are short, there is one round, and nothing is kept unless
--results is given.
"""
import argparse
import os
import random
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, "bench", "lib"))
import allocators
import counted
import machine
import runner

PROGRAM, PLAIN = "ext_", "_plain"
ROUNDS = 7
SECONDS, QUICK_SECONDS = "0.3", "0.01"  # that a run lasts
SECONDS_MAX = 120  # ends a hang
LINE = re.compile(r"ns_per_op=(\S+) ops=(\d+)\n")
# Backends as programs name them; malloc is that of the process.
NAMES = {False: {"malloc": "umalloc's malloc"}, True: {"malloc": "glibc's malloc"}}
PACKAGES = {"liburcu": "liburcu-dev", "boost": "libboost-dev", "apr": "libapr1-dev"}


def environment(quick):
    return allocators.environment() | {"BENCH_SECONDS": QUICK_SECONDS if quick else SECONDS}


def said(command, env):
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS_MAX)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}\n{done.stderr}")
    return done.stdout


def families(folder, wanted):
    found = sorted(name.removeprefix(PROGRAM) for name in os.listdir(folder)
                   if re.fullmatch(PROGRAM + r"\w+", name) and not name.endswith(PLAIN) and os.path.isfile(os.path.join(folder, name)))
    for name in wanted:
        if name not in found:
            sys.exit(f"no family {name}; there are: {', '.join(found)}")
    return [name for name in found if not wanted or name in wanted]


def cases(folder, family, env):
    """{case: [(name of the backend, command)]}"""
    found = {}
    for plain, suffix in ((False, ""), (True, PLAIN)):
        program = os.path.join(folder, PROGRAM + family + suffix)
        if not os.path.exists(program):
            continue
        for line in said([program, "--list"], env).splitlines():
            case, backend = line.split()
            if plain and backend != "malloc":
                sys.exit(f"{program} lists the backend {backend}, which it must not have")
            found.setdefault(case, []).append((NAMES[plain].get(backend, backend), [program, case, backend]))
    return found


def measure(command, env):
    text = said(command, env)
    line = LINE.fullmatch(text)
    if not line or float(line[1]) <= 0 or int(line[2]) < 1:
        sys.exit(f"{' '.join(command)} says {text!r}")
    return float(line[1])


def run(folder, given, shuffled):
    """Rows (family, case, backend, round, ns), by family and case."""
    env = environment(given.quick)
    runs = {(family, case): backends for family in families(folder, given.families)
            for case, backends in cases(folder, family, env).items()}
    rows = []
    for number in range(given.rounds):
        for (family, case), backends in runs.items():
            print(f"round {number + 1} of {given.rounds}: {family}, {case}", file=sys.stderr)
            ns = {name: measure(command, env) for name, command in shuffled(backends)}
            rows += [(family, case, name, number, ns[name]) for name, _ in backends]
    places = list(runs)
    return sorted(rows, key=lambda row: places.index(row[:2]))


def versions(rows):
    """Of umalloc, glibc and the peers that ran."""
    found = {"umalloc": allocators.commit(), "glibc": allocators.package_version("libc6")}
    for name in dict.fromkeys(row[2] for row in rows):
        if name in PACKAGES:
            found[name] = allocators.package_version(PACKAGES[name])
    return found


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench --ext", description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="default all")
    parser.add_argument("--quick", action="store_true", help="one round of short runs: shows that all works")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick 1")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of the backends; default the time")
    parser.add_argument("--programs", default=os.path.join(ROOT, "build-bench", "ext", "bench", "ext"), metavar="FOLDER")
    parser.add_argument("--results", metavar="FOLDER", help="of the CSV; default bench/results for a full run of all families")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else ROUNDS)
    order = random.Random(given.seed)
    rows = run(given.programs, given, lambda backends: order.sample(backends, len(backends)))
    if not rows:
        sys.exit("no programs to run")
    print(counted.ext_text(rows))
    if given.results or not (given.quick or given.families):
        about = machine.describe() | {"rounds": str(given.rounds), "seed": str(given.seed)}
        print(counted.keep(given.results or os.path.join(ROOT, "bench", "results"), "ext", about, versions(rows),
                           ("family", "case", "backend", "round", "ns"), rows))


if __name__ == "__main__":
    main()
