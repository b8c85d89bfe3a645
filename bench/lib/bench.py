"""What the benchmarks share: the allocators to compare, building the programs, interleaved runs, CSV and tables.

Measurements of the allocators are interleaved (each round runs all of them once) so that what else happens on the machine
hits all alike, and medians are compared. Raw rows go to a CSV whose first lines describe the machine.
"""
import argparse
import csv
import datetime
import os
import platform
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, "bench")
# Debian's packages libjemalloc2, libmimalloc2.0, libtcmalloc-minimal4, libtbbmalloc2.
PEERS = {"jemalloc": "libjemalloc.so.2", "mimalloc": "libmimalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
         "tbbmalloc": "libtbbmalloc_proxy.so.2"}
PEER_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def parser(doc, rounds, quick_rounds):
    p = argparse.ArgumentParser(description=doc.split("\n")[0])
    p.add_argument("--lib", default=os.environ.get("UMALLOC_LIB", os.path.join(ROOT, "build", "libumalloc.so")))
    p.add_argument("--rounds", type=int, help=f"default {rounds}, with --quick {quick_rounds}")
    p.add_argument("--quick", action="store_true", help="few and short runs: shows that it works, no figures to keep")
    p.add_argument("--results", help="folder of the CSV (default bench/results; none is written with --quick)")
    p.add_argument("--work", default=os.path.join(ROOT, "build-bench"), help="folder of the compiled programs")
    p.set_defaults(all_rounds=(rounds, quick_rounds))
    return p


def parse(p):
    args = p.parse_args()
    if not os.path.exists(args.lib):
        sys.exit(f"no {args.lib}: build it first, or name another by --lib")
    args.lib = os.path.abspath(args.lib)
    args.rounds = args.rounds or args.all_rounds[args.quick]
    if not args.results and not args.quick:
        args.results = os.path.join(BENCH, "results")
    os.makedirs(args.work, exist_ok=True)
    return args


def allocators(args):
    """Path to preload by name; glibc is none. Peers are those installed."""
    found = {"glibc": "", "umalloc": args.lib}
    for name, file in PEERS.items():
        path = next((p for d in PEER_FOLDERS if os.path.exists(p := os.path.join(d, file))), None)
        if path:
            found[name] = path
    return found


def build(args, source, output=None, *flags):
    """Compiles bench/SOURCE unless that was done since it changed; returns the program's path."""
    source = os.path.join(BENCH, source)
    program = os.path.join(args.work, output or os.path.splitext(os.path.basename(source))[0])
    newest = max(os.path.getmtime(f) for f in (source, os.path.join(BENCH, "figures.h")))
    if not os.path.exists(program) or os.path.getmtime(program) < newest:
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-fno-builtin", "-pthread", *flags, source, "-o", program],
                       check=True)
    return program


def run(command, preload):
    """The figures that a program prints, one "name value" a line."""
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith(("UMALLOC_", "MALLOC_"))}
    if preload:
        env["LD_PRELOAD"] = preload
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} with LD_PRELOAD={preload} ended with {done.returncode}: {done.stderr.strip()}")
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


def interleaved(cases, libs, rounds):
    """Runs every case (name: command) under every allocator, in turn, so many times; rows (case, allocator, round, figures)."""
    rows = []
    for turn in range(rounds):
        for at, (case, command) in enumerate(cases.items()):
            progress(f"round {turn + 1}/{rounds}, case {at + 1}/{len(cases)}: {case}")
            rows += [(case, name, turn, run(command, path)) for name, path in libs.items()]
    progress("")
    return rows


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def medians(rows):
    """{case: {allocator: {figure: median}}}, in the order of the rows."""
    values = {}
    for case, name, _, figures in rows:
        for figure, value in figures.items():
            values.setdefault(case, {}).setdefault(name, {}).setdefault(figure, []).append(value)
    return {case: {name: {f: statistics.median(v) for f, v in by.items()} for name, by in names.items()}
            for case, names in values.items()}


def table(header, lines):
    """A Markdown table on stdout; columns after the first are right-aligned."""
    print("| " + " | ".join(header) + " |")
    print("|---" + "|---:" * (len(header) - 1) + "|")
    for line in lines:
        print("| " + " | ".join(map(str, line)) + " |")
    print(flush=True)


def machine(args):
    """What a reader must know to judge the figures."""
    def first(path, key):
        try:
            with open(path) as text:
                return next((line.split(":", 1)[1].strip() for line in text if line.startswith(key)), "unknown")
        except OSError:
            return "unknown"

    def git(*command):
        return subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True).stdout.strip()

    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as text:
            thp = text.read().strip()
    except OSError:
        thp = "unknown"
    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "umalloc": commit + (" with changes" if git("status", "--porcelain", "-uno") else ""),
            "cpu": first("/proc/cpuinfo", "model name"), "cpus": len(os.sched_getaffinity(0)),
            "memory": first("/proc/meminfo", "MemTotal"), "kernel": platform.release(), "libc": " ".join(platform.libc_ver()),
            "transparent_hugepage": thp, "load": " ".join(f"{x:.2f}" for x in os.getloadavg()), "rounds": args.rounds}


def keep(args, name, about, rows):
    """Writes the raw rows; returns the file's path, or None if none is wanted."""
    if not args.results:
        return None
    os.makedirs(args.results, exist_ok=True)
    stamp = about["date"].replace("-", "").replace(":", "")[:15]
    path = os.path.join(args.results, f"{name}-{stamp}.csv")
    with open(path, "w", newline="") as out:
        out.writelines(f"# {key}: {value}\n" for key, value in about.items())
        writer = csv.writer(out, lineterminator="\n")
        figures = list(rows[0][3])
        writer.writerow(["case", "allocator", "round", *figures])
        writer.writerows([case, allocator, turn, *(f"{got[f]:.6g}" for f in figures)] for case, allocator, turn, got in rows)
    return path


def report(args, name, title, about, rows, header, lines):
    """The end of each benchmark: table on stdout, rows to the CSV."""
    print(f"## {title}\n\n{about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}, {about['libc']}, "
          f"umalloc {about['umalloc']}, {about['rounds']} interleaved rounds, load {about['load']}.\n")
    table(header, lines)
    path = keep(args, name, about, rows)
    if path:
        print(f"Raw rows: {path.removeprefix(ROOT + os.sep)}\n")
