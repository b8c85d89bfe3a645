"""The cases of real programs: from Debian, or in C++ of our own in the manner of such programs; all in bench/real.

Each is a script case. real/once.py runs one program on a generated input and demands that its output is the same in every
run; servers have a script of their own, which loads them by a client that is not preloaded. The inputs are made by
real/inputs.py, the same on every machine.

Allocation-heavy are those that allocate more than half a million blocks a second of cpu time, as UMALLOC_STATS counts them.
The others are here because what an allocator costs where little is allocated is worth knowing too: start-up and peak.
"""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REAL = os.path.join(HERE, "real")
sys.path[:0] = [os.path.join(HERE, "lib"), REAL]
import inputs  # noqa: E402
from case import Case  # noqa: E402

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's; another may lie before it in PATH


def script(name):
    return os.path.join(REAL, name)


def need(*programs):
    """A function that says which of the programs is not here."""
    def missing():
        absent = [p for p in programs if not shutil.which(p)]
        return f"no {', '.join(absent)}" if absent else ""
    return missing


def once(name, argv, packages=(), text=None, sizes=(0, 0), stdin=False, env=(), keep="", heavy=True, prepare=None):
    """A case of real/once.py. argv may hold {input}, the path of the input that the generator `text` makes, {n}, the size
    itself, and {work}. sizes: of the full and of the quick run.
    """
    def file(size):
        return f"input-{size}.{text.__name__}"

    def prepare_all(work):
        for size in sizes if text else ():
            inputs.make(work, file(size), text, size)
        if prepare:
            prepare(work)

    def command(work, quick):
        size = sizes[quick]
        path = os.path.join(work, file(size)) if text else ""
        options = [f"--env={e}" for e in env] + ([f"--keep={keep}"] if keep else []) + ([f"--stdin={path}"] if stdin else [])
        label = "".join(c if c.isalnum() else "-" for c in name) + ("-quick" if quick else "")
        return [sys.executable, script("once.py"), work, label, *options, "--",
                *(a.format(input=path, n=size, work=work) for a in argv)]
    missing = need(argv[0]) if "{" not in argv[0] else None
    return Case(name, "real", prepare_all, command, heavy, script=True, packages=packages, missing=missing)


def server(name, script_name, arguments, requests, packages, programs, heavy=True):
    """A case of a script of its own. requests: of the full and of the quick run."""
    def command(_, quick):
        return [sys.executable, script(script_name), *arguments, str(requests[quick])]
    return Case(name, "real", lambda work: None, command, heavy, script=True, packages=packages,
                missing=need(*programs))


def python(part, text, sizes):
    return once(f"python {part}", [SYSTEM_PYTHON, script("objects.py"), part, "{input}"], ("python3",), text, sizes,
                env=("PYTHONMALLOC=malloc", "PYTHONHASHSEED=0"))


def cxx(name, sizes, *arguments):
    """A C++ program of ours, real/NAME.cc."""
    def compile_it(work):
        source, program = script(name + ".cc"), os.path.join(work, name)
        if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
            subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O2", "-pthread", source, "-o", program], check=True)
    return once(f"c++ {name}", [os.path.join("{work}", name), "{n}", *arguments], ("g++",), sizes=sizes, prepare=compile_it)


CASES = [
    server("redis strings", "redis_load.py", ["keys"], (250_000, 20_000), ("redis-server", "redis-tools"),
           ("redis-server", "redis-benchmark")),
    server("redis types", "redis_load.py", ["types"], (80_000, 8_000), ("redis-server", "redis-tools"),
           ("redis-server", "redis-benchmark")),
    server("nginx ssi gzip", "nginx_load.py", [], (20_000, 2_000), ("nginx-light", "apache2-utils"), ("nginx", "ab"),
           heavy=False),
    once("sqlite in memory", ["sqlite3", ":memory:"], ("sqlite3",), inputs.sql, (30_000, 3_000), stdin=True),
    once("rocksdb", ["db_bench", "--benchmarks=fillrandom,readrandom,readseq,overwrite,seekrandom", "--num={n}", "--threads=2",
                     "--seed=1", "--compression_type=none", "--disable_wal=1", "--write_buffer_size=1000000",
                     "--cache_size=2000000"],
         ("rocksdb-tools",), sizes=(30_000, 6_000), keep=r"\w+ +: .* (\d+ operations|\(\d+ of \d+ found\))"),
    python("json", inputs.json, (20_000, 1_000)),
    python("ast", inputs.python, (1_000, 100)),
    python("html", inputs.xml, (12_000, 1_000)),
    python("pickle", inputs.json, (20_000, 1_000)),
    once("lua", ["lua5.4", script("trees.lua"), "{n}"], ("lua5.4",), sizes=(100, 8)),
    once("ruby", ["ruby", "--disable-gems", script("records.rb"), "{input}"], ("ruby",), inputs.text, (25_000, 3_000)),
    once("perl", ["perl", script("words.pl"), "{input}"], ("perl",), inputs.text, (25_000, 4_000), env=("PERL_HASH_SEED=0",)),
    once("jq", ["jq", "-f", script("totals.jq"), "{input}"], ("jq",), inputs.json, (40_000, 3_000)),
    once("xmllint", ["xmllint", "--format", "{input}"], ("libxml2-utils",), inputs.xml, (100_000, 5_000)),
    once("ghostscript", ["gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-r72", "-sDEVICE=ppmraw", "-sOutputFile=%stdout",
                         "{input}"], ("ghostscript",), inputs.postscript, (300, 15), heavy=False),
    once("z3", ["z3", "{input}"], ("z3",), inputs.smt2, (18, 12), heavy=False),
    once("gcc", ["gcc", "-O1", "-S", "-o", "-", "{input}"], ("gcc",), inputs.c, (200, 15)),
    once("g++", ["g++", "-std=c++17", "-O0", "-S", "-o", "-", "{input}"], ("g++",), inputs.cxx, (5, 1)),
    cxx("containers", (600_000, 50_000)),
    cxx("service", (400_000, 40_000), "2"),
    once("xz", ["xz", "-T2", "-1", "--block-size=2MiB", "-c", "{input}"], ("xz-utils",), inputs.text, (120_000, 20_000),
         heavy=False),
]
