#!/usr/bin/env python3
"""Bars on resident memory. Wall time is waited for in one place only: the decay time, which is the documented contract.

    test_memory.py BAR PROGRAM [--lib LIBRARY|none]

BAR names one of the bars below and PROGRAM is the program that measures it; each program says in its own head what it
does and what it prints. Every variant runs in a process of its own. Figures in the row of `no heap use` show what threads
cost by themselves.
"""
import argparse
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bars import Bars

# Past the default UMALLOC_DECAY_MS of 1000 and the grain of a coarse clock.
AFTER_DECAY_MS = "1100"


class Runner:
    """Runs the bar's program under the library; figures come back as a dictionary."""

    def __init__(self, program, lib, bars):
        self.program, self.lib, self.bars = program, lib, bars

    def output(self, *args, lib, options=None):
        env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith(("UMALLOC_", "MALLOC_"))}
        if lib:
            env["LD_PRELOAD"] = lib
        env.update(options or {})
        run = subprocess.run([self.program, *map(str, args)], env=env, capture_output=True, text=True)
        if run.returncode or run.stderr:
            self.bars.fail(f"{' '.join(map(str, args))} ended with {run.returncode}: {run.stderr.strip()}")
            return None
        return run.stdout

    def __call__(self, *args, **options):
        out = self.output(*args, lib=self.lib, options={f"UMALLOC_{name}": value for name, value in options.items()})
        return out and {name: float(value) for name, value in map(str.split, out.splitlines())}


def idle_threads(run, bars):
    """100 idle threads, each after 64 sizes: KiB a thread, stacks included, and MiB that outlive them."""
    bare = run(100, "none", 1024, 0)
    bars.row("no heap use: alive", bare["alive"], None, "KiB a thread")
    for order in ("turn", "together"):
        for largest in (1024, 32768):
            got = run(100, order, largest, AFTER_DECAY_MS)
            if got:
                name = f"{order}, sizes to {largest}"
                bars.row(f"{name}: alive", got["alive"], None if largest > 1024 else 64, "KiB a thread")
                bars.row(f"{name}: alive after decay", got["decayed"], 64, "KiB a thread")
                bars.row(f"{name}: after their exit", got["exited"], 4, "MiB")


def producers(run, bars):
    """16 producers, one thread that only frees."""
    for order in ("fifo", "shuffled"):
        for first in ("early", "late"):
            got = run(16, 256, 1024, order, first)
            if got:
                note = ", its first call is a free" if first == "late" else ""
                bars.row(f"freeing {order}{note}", got["worst"], 1.25, "RSS over live, worst")


def burst(run, bars):
    """1 GiB live, then nothing."""
    for name, low, high in (("small", 16, 1024), ("medium", 1024, 65536), ("large", 65536, 8 << 20)):
        for order in ("forward", "shuffled"):
            for threads in (0, 4):
                got = run(1024, low, high, order, AFTER_DECAY_MS, threads)
                if got:
                    by = f", from {threads} idle threads" if threads else ""
                    bars.row(f"{name}, freed {order}{by}", got["end"], 32, f"MiB (right after: {got['freed']:.0f})")


def realloc_growth(run, bars):
    """One block that grows from 1 KiB to 256 MiB."""
    got = run("append", 256 << 20, 1)
    if got:
        bars.row("to 256 MiB in steps of 1 MiB", got["peak_kib"] / (256 << 10), 1.1, "peak over final size")


def waste(run, bars):
    """What size classes give beyond the request."""
    for first, last, bar in ((1, 128, None), (129, 32768, 4), (129, 1024, None), (1025, 32768, None),
                             (32769, 262144, None)):
        got = run(first, last)
        if got:
            bars.row(f"{first} to {last} B", got["waste"], bar, "% over the request, mean")


def kernel_setting(name):
    try:
        with open(f"/sys/kernel/mm/transparent_hugepage/{name}") as f:
            return f.read().strip()
    except OSError:
        return ""


def own_kib(smaps, lib):
    """Private memory, and what is mapped of the library's file.

    Other files are left out: around a fault the kernel maps as much of them as its cache holds in one piece, so what
    the library adds there, by calls to further functions of libc, depends on the machine's past.
    """
    kib, ours = 0, False
    for line in smaps.splitlines():
        key, value = line.split()[:2]
        if not key.endswith(":"):  # a mapping begins
            ours = line.endswith(f" {lib}")
        elif key == ("Rss:" if ours else "Anonymous:"):
            kib += int(value)
    return kib


def start(run, bars):
    """A program that hardly allocates, cat: what the library adds. It prints its own memory map."""
    bare, under = (run.output("/proc/self/smaps", lib=lib) for lib in (None, run.lib))
    if bare and under:
        bare, under = own_kib(bare, run.lib), own_kib(under, run.lib)
        bars.row("nothing preloaded", bare, None, "KiB")
        bars.row("added by the library", under - bare, 180, "KiB")


def huge(run, bars):
    """Huge pages: how much of a heap they back, and what they add to it. Off beside auto."""
    mode = kernel_setting("enabled")
    if "[never]" in mode or kernel_setting("hpage_pmd_size") != "2097152":
        print(f"skipped: needs huge pages of 2 MiB, the kernel has {mode or 'none'}")
        sys.exit(77)
    small = run("grow", 24, 400)
    if small:
        bars.row("24 MiB of 400 B: in huge pages", small["huge"], 0, "MiB")
    plain, under = run("grow", 512, 400, HUGEPAGES="off"), run("grow", 512, 400)
    if plain and under:
        bars.row("512 MiB of 400 B: not in huge pages", 100 - 100 * under["huge"] / under["resident"], 10, "% of resident")
        bars.row("512 MiB of 400 B: peak", under["peak"] / plain["peak"], 1.06, "of that without")
    for mib, rounds in ((256, 1000000), (1024, 1500000)):
        got = run("churn", mib, rounds, AFTER_DECAY_MS)
        if got:
            name = f"burst of {mib} MiB, then churn"
            bars.row(f"{name}: after decay", got["decayed"] / got["live"], 1.15, "RSS over live")
            bars.row(f"{name}: after the kernel's collapse", got["collapsed"] / got["decayed"], 1.03, "RSS over that")
            bars.row(f"{name}: mappings", got["mappings"], 199, f"({got['huge']:.0f} MiB in huge pages)")


BARS = {f.__name__: f for f in (idle_threads, producers, burst, realloc_growth, waste, start, huge)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bar", choices=BARS)
    parser.add_argument("program")
    parser.add_argument("--lib", default=os.environ.get("UMALLOC_LIB"), help="library to preload, or none")
    args = parser.parse_args()
    if not args.lib:
        parser.error("no library: give --lib or set UMALLOC_LIB")
    lib = None if args.lib == "none" else os.path.realpath(args.lib)
    measure = BARS[args.bar]
    bars = Bars(measure.__doc__)
    measure(Runner(os.path.abspath(args.program), lib, bars), bars)
    return bars.status()


if __name__ == "__main__":
    sys.exit(main())
