#!/usr/bin/env python3
"""The benchmark suite: runs the cases of bench/own.py and bench/real.py under several allocators and compares them.

scripts/bench builds the library, installs what is needed and calls this. The tables go to stdout, progress to stderr, the
raw rows to a CSV in the folder of results (none with --quick), the plots to the work folder.
"""
import argparse
import fnmatch
import importlib
import os
import signal
import sys
import tempfile
import time

import allocators
import machine
import pages
import results
import runner
import tables
from case import GROUPS
from summary import Summary

BENCH = os.path.join(allocators.ROOT, "bench")
ROUNDS = 5


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; --help tells\n")


def positive(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def own_cpu(text):
    allowed = os.sched_getaffinity(0)
    if int(text) not in allowed:
        raise argparse.ArgumentTypeError(f"{text} is none of the cpus that this process may use, {', '.join(map(str, sorted(allowed)))}")
    return int(text)


def arguments():
    parser = Parser(prog="scripts/bench", description="Compares umalloc with other allocators.",
                                     epilog="Leave the machine alone meanwhile: the full run takes most of an hour.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="name of a case, * and ? match any text; default all")
    parser.add_argument("--group", action="append", choices=GROUPS, help="cases of this group only; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument("--allocator", action="append", metavar="NAME[=PATH]", dest="allocators",
                        help="an allocator to run, by its name or as a library; may be repeated; default "
                             + ", ".join(allocators.DEFAULT))
    parser.add_argument("--quick", action="store_true",
                        help="one round of short runs, under three minutes: shows that all works, the figures mean little")
    parser.add_argument("--rounds", type=positive, help=f"default {ROUNDS}, with --quick 1")
    parser.add_argument("--pin", type=own_cpu, default=-1, metavar="CPU", help="pin the cases of one thread to this cpu")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of the allocators; default the time")
    parser.add_argument("--results", help="folder of the raw rows; default bench/results for a full run of all cases and the "
                             "default allocators, else none")
    parser.add_argument("--work", default=os.path.join(allocators.ROOT, "build-bench"),
                        help="folder of programs, inputs and plots; default build-bench")
    parser.add_argument("--pages", action="store_true",
                        help="run nothing: make docs/performance.md, its plots and the README's table from the newest full run")
    parser.add_argument("--packages", action="store_true", help="print the Debian packages that this run needs, and end")
    args = parser.parse_args()
    allocators.named(args.allocators)  # ends here for a wrong one
    args.rounds = args.rounds or (1 if args.quick else ROUNDS)
    if not (args.quick or chosen_some(args)):
        args.results = args.results or os.path.join(BENCH, "results")  # where the pages take their figures from
    return args


def chosen_some(args):
    """Whether the command line leaves out cases or allocators."""
    return bool(args.cases or args.group or args.allocators)


def chosen_cases(args):
    sys.path.insert(0, BENCH)  # the lists of cases import case.py from here
    found = [case for name in ("own", "real") for case in importlib.import_module(name).CASES]
    twice = {case.name for case in found if sum(case.name == other.name for other in found) > 1}
    if twice:
        sys.exit(f"cases of the same name: {', '.join(sorted(twice))}")
    if args.group:
        found = [case for case in found if case.group in args.group]
    for pattern in args.cases:
        if not any(fnmatch.fnmatchcase(case.name, pattern) for case in found):
            sys.exit(f"no case {pattern}; --list shows all")
    if args.cases:
        found = [case for case in found if any(fnmatch.fnmatchcase(case.name, pattern) for pattern in args.cases)]
    return found


def packages(args, cases):
    """What must be installed, without repetition."""
    needed = ["python3-matplotlib"]
    if not args.pages:
        needed += allocators.packages(args.allocators) + [package for case in cases for package in case.packages]
    return list(dict.fromkeys(needed))


def prepared(cases, work):
    """Those of the cases that can run here, and why others cannot."""
    ready, failures = [], []
    for case in cases:
        missing = case.missing() if case.missing else ""
        if missing:
            print(f"left out: {case.name}: {missing}", file=sys.stderr)
            continue
        try:
            case.prepare(work)
            ready.append(case)
        except Exception as why:  # whatever one case raises must not end the others
            failures.append(f"{case.name} cannot be prepared: {why}")
    return ready, failures


def claim(option, folder):
    """Makes the folder and writes to it, so that this cannot fail when all has been measured."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as why:
        sys.exit(f"cannot write to {option} {folder}: {why.strerror}")


def draw(summary, folder, scaling=None):
    """Plots, if matplotlib is here."""
    try:
        import plots
    except ImportError:
        print("no plots: python3-matplotlib is not installed", file=sys.stderr)
        return
    plots.draw(summary, folder)
    if scaling:
        plots.draw_predicted(scaling, folder)
    print(f"plots: {folder}", file=sys.stderr)


def measure(args, cases):
    """Runs the cases, prints and keeps what they gave; the exit status."""
    claim("--work", args.work)
    if args.results:
        claim("--results", args.results)
    libraries = allocators.chosen(args.allocators)
    pinning = f"cases of one thread pinned to cpu {args.pin}" if args.pin >= 0 else "not pinned"
    about = machine.describe() | {"rounds": str(args.rounds), "seed": str(args.seed), "pinning": pinning,
                                  "kind": "quick" if args.quick else "part" if chosen_some(args) else "full"}
    print(f"seed {args.seed}; allocators: " + "; ".join(f"{lib.name}: {lib.version}" for lib in libraries), file=sys.stderr)
    run_one = runner.Runner(args.work, args.pin)
    ready, unprepared = prepared(cases, run_one.work)
    rows, failures = runner.measure(run_one, ready, libraries, args.rounds, args.seed, args.quick)
    run = results.Run(about, {lib.name: lib.version for lib in libraries}, rows, unprepared + failures)
    if args.results and rows:
        print(f"raw rows: {results.write(args.results, run)}", file=sys.stderr)
    summary = Summary(run)
    print(tables.whole(run, summary), flush=True)
    if rows:
        draw(summary, os.path.join(run_one.work, "plots"))
    for failure in run.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if run.failures or not rows else 0


def main():
    args = arguments()
    cases = [] if args.pages else chosen_cases(args)
    if args.packages:
        print(" ".join(packages(args, cases)))
    elif args.list:
        for case in cases:
            print(f"{case.group:10} {case.name}")
    elif args.pages:
        run = pages.newest_run(allocators.ROOT)
        for page in pages.write(allocators.ROOT, run):
            print(f"wrote {page}")
        if run:
            draw(Summary(run), os.path.join(allocators.ROOT, pages.PLOTS), pages.scaling_series(allocators.ROOT))
    else:
        return measure(args, cases)
    return 0


def stop(number, _):
    """Ends with what is running; rows are kept only when all have been taken."""
    start = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{start}stopped by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)


def run():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        sys.exit(main())
    except runner.Failure as why:
        sys.exit(str(why))


if __name__ == "__main__":
    run()
