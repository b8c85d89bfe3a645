#!/usr/bin/env python3
"""Runs a real program once under BENCH_PRELOAD, checks what it wrote, and prints seconds, cpu_s and peak_kib.

What a program must write is known from itself: the first time, it runs once more before, without preload, and the hash of
its output is kept. The hash is bound to the command and to the files it names, so a new version of the program or a new
input makes a new one. Every run must end with status 0 and write the same, and not nothing. Of a program that also writes
how long it took, only what --keep matches counts.

WORK/launch is bench/lib/launch.c, which the driver has compiled there.
Usage: once.py WORK NAME [--stdin FILE] [--env NAME=VALUE]... [--keep REGULAR_EXPRESSION] -- PROGRAM [ARGUMENT...]
"""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile


def identity(argv, stdin):
    """A hash over the command and the size and age of each file in it."""
    parts = [repr(argv)]
    for name in (shutil.which(argv[0]) or argv[0], *argv[1:], *([stdin] if stdin else [])):
        if os.path.isfile(name):
            at = os.stat(name)
            parts.append(f"{name} {at.st_size} {at.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run(launcher, preload, args, environment):
    """One run: the hash of its output, and its figures as launch.c wrote them."""
    what = f"{args.name} under '{preload}'"
    with tempfile.TemporaryDirectory(dir=os.path.abspath(args.work)) as folder:
        figures, output = os.path.join(folder, "figures"), os.path.join(folder, "output")
        with open(args.stdin or os.devnull, "rb") as source, open(output, "wb") as sink:
            done = subprocess.run([launcher, figures, preload, *args.argv], stdin=source, stdout=sink,
                                  env=environment | {"TMPDIR": folder, "TEST_TMPDIR": folder})
        if done.returncode:
            sys.exit(f"{what}: exit status {done.returncode}")
        with open(output, "rb") as f, open(figures, encoding="ascii") as g:
            text, usage = f.read(), g.read()
        if args.keep:
            text = b"\n".join(re.findall(args.keep.encode(), text))
        if not text:
            sys.exit(f"{what}: wrote nothing")
        return hashlib.sha256(text).hexdigest(), usage


def expected(path, key, measure):
    """The hash that is kept in path for key; measured without preload if there is none."""
    if os.path.exists(path):
        with open(path, encoding="ascii") as f:
            known, _, output = f.read().partition(" ")
        if known == key:
            return output
    output, _ = measure("")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"{key} {output}")
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work")
    parser.add_argument("name")
    parser.add_argument("--stdin")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--keep")
    parser.add_argument("argv", nargs="+")
    args = parser.parse_args()
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"LC_ALL": "C"}
    environment |= dict(e.split("=", 1) for e in args.env)

    def measure(preload):
        return run(os.path.join(args.work, "launch"), preload, args, environment)

    wanted = expected(os.path.join(args.work, args.name + ".expected"), identity(args.argv, args.stdin), measure)
    output, usage = measure(os.environ.get("BENCH_PRELOAD", ""))
    if output != wanted:
        sys.exit(f"{args.name}: the output differs from that without preload")
    print(usage, end="")


if __name__ == "__main__":
    main()
