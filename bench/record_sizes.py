#!/usr/bin/env python3
"""Records what real programs ask of malloc, and prints it as the table bench/programs/sizes.csv:

    bench/record_sizes.py > bench/programs/sizes.csv

The programs are cases of bench/real.py with their full inputs, preloaded with programs/record_sizes.c. A line says how many
blocks of a program were of a size class (its upper end, in bytes) and lived for 2^age to 2^(age+1)-1 further allocations;
age -1 is blocks that were never freed. sizes.c allocates by this table.
"""
import collections
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import own  # noqa: E402
import real  # noqa: E402
import runner  # noqa: E402

CLASSES, AGES = 512, 48
ROW = struct.Struct(f"={2 + AGES}Q")
# Case of bench/real.py: the program among its processes, the name in the table, Debian's package.
RECORDED = {"gcc": ("cc1", "gcc", "gcc-12"), "python json": ("python3", "python", "python3.11"),
            "redis types": ("redis-server", "redis", "redis-server"), "sqlite in memory": ("sqlite3", "sqlite", "sqlite3")}


def library(work):
    path = os.path.join(work, "record_sizes.so")
    subprocess.run([*own.COMPILE, "-fPIC", "-shared", os.path.join(own.PROGRAMS, "record_sizes.c"), "-o", path], check=True)
    return path


def record(case, program, work, preload):
    """{(bytes, age): blocks} of all processes of that program in one run of the case."""
    case.prepare(work)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"BENCH_PRELOAD": preload, "RECORD_SIZES": folder}
        subprocess.run(case.command(work, False), env=environment, stdout=subprocess.DEVNULL, check=True)
        for file in os.listdir(folder):
            if file.rsplit(".", 1)[0] == program:
                with open(os.path.join(folder, file), "rb") as rows:
                    for size, births, *deaths in ROW.iter_unpack(rows.read()):
                        counts += {(size, age): deaths[age] for age in range(AGES)}
                        counts += {(size, -1): births - sum(deaths)}
    return counts


def version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True, text=True)
    return done.stdout or f"{package}, not from Debian"


def main():
    cases = {case.name: case for case in real.CASES}
    print("# Written by bench/record_sizes.py, which says what it means. Recorded:")
    lines = []
    with tempfile.TemporaryDirectory() as work:
        preload = library(work)
        runner.build_launcher(work)
        for name, (program, label, package) in RECORDED.items():
            counts = record(cases[name], program, work, preload)
            if not counts:
                sys.exit(f"{name}: nothing was recorded of {program}")
            print(f"# {label}: {program} in the case '{name}', {version(package)}; {sum(counts.values())} blocks")
            lines += [f"{label},{size},{age},{counts[size, age]}" for size, age in sorted(counts)]
    print("program,bytes,age,blocks", *lines, sep="\n")


if __name__ == "__main__":
    main()
