#!/usr/bin/env python3
"""Where memory lies on a machine with four nodes, under umalloc and its peers.

    numa.py [--allocator NAME[=PATH]]... [--quick] [--rounds N] [--results FOLDER] [--work FOLDER]

Runs test/numa/locality.c in the lab (scripts/numa-lab, topology quad), with and without transparent huge pages: ten
patterns, four ranges of sizes, one thread pinned to each node. Keeps in FOLDER/numa-DATE.csv, for each round, how many percent
of the pages of the live blocks are on the node of the thread that allocated them; docs/numa.md shows them, renewed by
scripts/bench --pages. With --quick one pattern runs once, and nothing is kept unless --results is given.
"""
import argparse
import os
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, "bench", "lib"))
import allocators
import counted
import machine

LAB = os.path.join(ROOT, "scripts", "numa-lab")
KERNEL, TOPOLOGY = "6.12", "quad"
SETTINGS = ("never", "always")  # of transparent huge pages
SECONDS_MAX = "900"  # for one boot


def build(work):
    program = os.path.join(work, "locality")
    command = ["gcc", "-O2", "-std=gnu17", "-fno-builtin", "-I", os.path.join(ROOT, "bench", "programs"),
               os.path.join(ROOT, "test", "numa", "locality.c"), "-o", program, "-pthread", "-lnuma"]
    subprocess.run(command, check=True)
    return program


def payload(work, chosen, rounds, patterns):
    """A script that runs all of them in one boot, so that they find the same machine."""
    path = os.path.join(work, "all.sh")
    with open(path, "w", encoding="utf-8") as script:
        script.write("#!/bin/sh\n")
        for number in range(rounds):
            for allocator in chosen:
                preload = f"LD_PRELOAD=/lab/{os.path.basename(allocator.path)} " if allocator.path else ""
                script.write(f"echo {shlex.quote(f'= {allocator.name},{number}')}\n{preload}./locality --show {patterns}\n")
    return path


def measured(text, setting):
    """Rows (huge pages, sizes, pattern, allocator, round, percent)."""
    name = number = None
    for line in text.splitlines():
        if line.startswith("= "):
            name, number = line[2:].split(",")
        else:
            pattern, sizes, _, percent, *_ = line.split(",")
            yield setting, sizes, pattern, name, number, float(percent)


def run(work, program, chosen, given):
    script = payload(work, chosen, given.rounds, "fresh" if given.quick else "")
    libraries = sorted({allocator.path for allocator in chosen if allocator.path})
    for setting in SETTINGS[:1] if given.quick else SETTINGS:
        done = subprocess.run([LAB, TOPOLOGY, "--kernel", KERNEL, "--kernel-args", f"transparent_hugepage={setting}",
                               "--timeout", SECONDS_MAX, script, program, *libraries], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(done.stdout)
            sys.exit(done.returncode)
        yield from measured(done.stdout, setting)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--allocator", action="append", default=[], metavar="NAME[=PATH]")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", metavar="FOLDER")
    parser.add_argument("--work", metavar="FOLDER")
    given = parser.parse_args()
    if given.quick:
        given.rounds = 1
    chosen = allocators.chosen(given.allocator or ["glibc", "jemalloc", "mimalloc", "umalloc"])
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        rows = list(run(work, build(work), chosen, given))
    print(counted.numa_text(rows))
    if given.results or not given.quick:
        about = {**machine.describe(), "lab": f"{TOPOLOGY}, kernel {KERNEL} of Debian"}
        print(counted.keep(given.results or os.path.join(ROOT, "bench", "results"), "numa", about,
                           {allocator.name: allocator.version for allocator in chosen},
                           ("huge pages", "sizes", "pattern", "allocator", "round", "percent"), rows))


if __name__ == "__main__":
    main()
