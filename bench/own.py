"""The cases of our own programs, bench/programs: one known pattern of allocation each, parameters in the arguments.

The top of each source says what it does and what its figures mean. Full runs last about half a second, quick ones a tenth.
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))
from case import Case  # noqa: E402

PROGRAMS = os.path.join(HERE, "programs")
HEADERS = [os.path.join(PROGRAMS, f) for f in os.listdir(PROGRAMS) if f.endswith(".h")]
SIZES = os.path.join(PROGRAMS, "sizes.csv")
FULL_MS, QUICK_MS = 400, 50
# -fno-builtin: a compiler that knows malloc may drop calls to it.
COMPILE = [os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-fno-builtin", "-pthread"]
K, M = 1 << 10, 1 << 20


def compiled(name):
    """A prepare function that compiles programs/NAME.c to work/NAME unless that was done since it changed."""
    def prepare(work):
        source, program = os.path.join(PROGRAMS, name + ".c"), os.path.join(work, name)
        newest = max(os.path.getmtime(f) for f in (source, *HEADERS))
        if not os.path.exists(program) or os.path.getmtime(program) < newest:
            subprocess.run([*COMPILE, source, "-o", program, "-lm"], check=True)
    return prepare


def case(name, group, program, *arguments, full=FULL_MS, quick=QUICK_MS, prefix=(), **more):
    """A Case of programs/PROGRAM.c. Its last arguments are the run's length: milliseconds, or what full and quick say."""
    def command(work, is_quick):
        length = quick if is_quick else full
        length = length if isinstance(length, tuple) else (length,)
        return [*prefix, os.path.join(work, program), *map(str, [*arguments, *length])]
    return Case(name, group, compiled(program), command, **more)


def loops(group, pattern, sizes, threads=1):
    """Cases of one pattern of loop.c by size: a size, or a pair of the least and the most."""
    for name, size in sizes.items():
        least, most = size if isinstance(size, tuple) else (size, size)
        yield case(f"{pattern} {name}" + (f", {threads} threads" if threads > 1 else ""), group, "loop", pattern, least, most,
                   threads)


SMALL = [
    *loops("small", "tight", {"16": 16, "64": 64, "256": 256, "1K": K}),
    *loops("small", "lifo", {"64": 64, "1K": K}),
    *loops("small", "fifo", {"64": 64, "1K": K}),
    *loops("small", "random", {"64": 64, "1K": K}),
    *loops("small", "replace", {"64": 64, "1K": K, "16-1K": (16, K)}),
    *loops("small", "calloc", {"64": 64, "1K": K}),
    *loops("small", "aligned", {"16-1K": (16, K)}),
]
MEDIUM = [
    *loops("medium", "tight", {"16K": 16 * K}),
    *loops("medium", "lifo", {"4K": 4 * K, "16K": 16 * K}),
    *loops("medium", "fifo", {"16K": 16 * K}),
    *loops("medium", "random", {"16K": 16 * K}),
    *loops("medium", "replace", {"16K": 16 * K, "1K-64K": (K, 64 * K)}),
    *loops("medium", "calloc", {"16K": 16 * K}),
    *loops("medium", "aligned", {"1K-16K": (K, 16 * K)}),
    case("realloc vectors 64K", "medium", "realloc", "vectors", 64 * K),
    case("realloc append 64K", "medium", "realloc", "append", 64 * K),
]
LARGE = [
    *loops("large", "tight", {"128K": 128 * K, "1M": M, "32M": 32 * M}),
    *loops("large", "lifo", {"128K": 128 * K, "1M": M}),
    *loops("large", "replace", {"16K-1M": (16 * K, M), "1M-32M": (M, 32 * M)}),
    *loops("large", "calloc", {"1M": M}),
    case("realloc append 16M", "large", "realloc", "append", 16 * M),
    case("realloc append 256M", "large", "realloc", "append", full=(256 * M, 1), quick=(16 * M, 1)),
    case("realloc vectors 1M", "large", "realloc", "vectors", M),
    case("realloc shrink 1M", "large", "realloc", "shrink", M),
]
THREADS = [
    *loops("threads", "tight", {"64": 64}, threads=2),
    *loops("threads", "replace", {"16-1K": (16, K), "16K-1M": (16 * K, M)}, threads=2),
    *(case(f"server 1K, {threads} threads", "threads", "server", K, threads) for threads in (2, 8)),
    *(case(f"queue {p}:{c} {name}", "threads", "queue", p, c, *sizes) for p, c, name, sizes in (
        (1, 1, "64", (64, 64)), (1, 1, "16-1K", (16, K)), (1, 1, "16K", (16 * K, 16 * K)), (1, 3, "16-1K", (16, K)),
        (3, 1, "16-1K", (16, K)), (2, 2, "16-1K", (16, K)))),
    case("exchange 1K, 2 threads", "threads", "exchange", K, 2),
    *(case(f"sharing {pattern} 16, 2 threads", "threads", "sharing", pattern, 16, 2) for pattern in ("active", "passive")),
    *(case(f"threads short-lived, {n} at once", "threads", "threads", n, 100) for n in (1, 8)),
]


def no_prefault():
    """Why umalloc cannot be asked to take its memory in advance: its page of options does not know the option."""
    with open(os.path.join(os.path.dirname(HERE), "docs", "options.md"), encoding="utf-8") as page:
        return "" if "### UMALLOC_PREFAULT\n" in page.read() else "umalloc has no option UMALLOC_PREFAULT yet"


MEMORY = [
    *(case(f"sizes of {program}", "memory", "sizes", SIZES, program, full=full, quick=200000)
      for program, full in (("gcc", 3000000), ("python", 1500000), ("redis", 3000000), ("sqlite", 3000000))),
    case("grow 16-1K to 256M", "memory", "grow", 16, K, full=256, quick=32),
    case("grow 16-64 to 128M", "memory", "grow", 16, 64, full=128, quick=16),
    case("phases 32M", "memory", "phases", full=(32, 1), quick=(8, 1)),
    case("burst 128M and decay", "memory", "burst", full=(128, 2000), quick=(32, 100)),
    case("idle 64 threads, 1 of 16 blocks kept", "memory", "idle", full=(64, 2048, 16), quick=(16, 1024, 16)),
    case("idle 64 threads, nothing kept", "memory", "idle", full=(64, 2048, 0), quick=(16, 1024, 0)),
]
PROCESS = [
    case("start of true", "process", "spawn", full=(FULL_MS, "/bin/true"), quick=(QUICK_MS, "/bin/true"), heavy=False),
    case("fork with a heap of 64M", "process", "fork", full=(64, FULL_MS), quick=(8, QUICK_MS), heavy=False),
]
GROW, GROW_QUICK = (200000, 1), (20000, 1)  # growth past 100 MiB
LATENCY = [
    case("latency steady 16-1K", "latency", "latency", "steady", full=(10000, 1000000), quick=(10000, 100000), heavy=False),
    case("latency grow 16-1K", "latency", "latency", "grow", full=GROW, quick=GROW_QUICK, heavy=False),
    case("latency regrow 16-1K", "latency", "latency", "regrow", full=GROW, quick=GROW_QUICK, heavy=False),
    # The other allocators run it too, as they are: the variable means nothing to them.
    case("latency regrow 16-1K, prefaulted", "latency", "latency", "regrow", full=GROW, quick=GROW_QUICK, heavy=False,
         prefix=("env", "UMALLOC_PREFAULT=256M"), missing=no_prefault),
]

CASES = [*SMALL, *MEDIUM, *LARGE, *THREADS, *MEMORY, *PROCESS, *LATENCY]
