"""Real programs under a kernel that refuses a system call of the allocator's once the program has started (filter.c).
Calls that the allocator can do without: the output must be that of the run without library and filter. Where it gets no
memory any more, the program may say so and fail, but not crash or hang. Usage: test_refused_calls.py LIBRARY FILTER CASE
"""

import errno
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

SKIP = 77
ERRORS = ["ENOMEM", "EPERM", "ENOSYS", "EAGAIN"]
RARE = "mbind,get_mempolicy,move_pages,membarrier,mincore,mlock,process_vm_writev"

PYTHON = """
import json, threading
sums = []
def work(n):
    kept = [bytearray(i * 97 % 60000) for i in range(600)]
    kept = [b + b"x" for b in kept[::2]]
    grown = bytearray()
    for i in range(300):
        grown += bytes(5000)
    sums.append(len(json.dumps([len(b) for b in kept])) + len(grown))
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for t in threads: t.start()
for t in threads: t.join()
print(sums, len(" ".join(str(i) for i in range(300000))))
"""
SQL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
SELECT count(*), sum(length(x)), length(group_concat(x)) FROM (SELECT i % 97 AS g, printf('%d-%d', i * 7919 % 4001, i) AS x FROM n ORDER BY x);
"""
C = "\n".join("struct s%d { int a[%d]; }; int f%d(struct s%d *p, int n) { int s = 0; while (n--) s += p->a[n %% %d]; return s; }"
              % (i, i + 1, i, i, i + 1) for i in range(80))
LINES = "".join("%d %s\n" % (i * 7919 % 100003, "z" * (i % 60)) for i in range(60000))

PROGRAMS = {
    "python3": (["/usr/bin/python3", "-c", PYTHON], ""),
    "sqlite3": (["sqlite3", ":memory:"], SQL),
    "sort": (["sort", "-S", "20M", "--parallel=2"], LINES),
    "gcc": (["gcc", "-O1", "-S", "-x", "c", "-", "-o", "-"], C),
}


class Runner:
    def __init__(self, library, filter_, folder):
        self.library, self.filter, self.folder = library, filter_, folder
        self.alone, self.served, self.failures, self.runs = {}, set(), [], 0

    def run(self, name, env):
        argv, text = PROGRAMS[name]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("UMALLOC_", "LD_", "MALLOC_"))}
        return subprocess.run(argv, input=text, env={**clean, "PYTHONMALLOC": "malloc", "TMPDIR": self.folder, **env},
                              capture_output=True, text=True, errors="replace", timeout=200, check=False)

    def refused(self, name, calls, error, may_fail, level):
        if not shutil.which(PROGRAMS[name][0][0]):
            return
        if name not in self.alone:
            self.alone[name] = self.run(name, {})
        report = os.path.join(self.folder, "%n.%p.json")
        done = self.run(name, {
            "LD_PRELOAD": self.library + ":" + self.filter, "UMALLOC_HARDEN": level, "UMALLOC_DECAY_MS": "5",
            "UMALLOC_STATS": "json", "UMALLOC_STATS_FILE": report, "FAULT_CALLS": calls, "FAULT_ERRNO": str(getattr(errno, error))})
        if "SKIP" in done.stdout:
            print(done.stdout.strip())
            sys.exit(SKIP)
        self.runs += 1
        self.read_reports()
        right = (done.returncode, done.stdout) == (self.alone[name].returncode, self.alone[name].stdout)
        if not right and not (may_fail and said_so(done)):
            self.failures.append("%s, %s refused with %s, level %s: status %d\n%s\n%s" % (
                name, calls, error, level, done.returncode, done.stdout[-300:], done.stderr[-600:]))
        return right

    def read_reports(self):
        for path in glob.glob(os.path.join(self.folder, "*.json")):
            with open(path, encoding="utf-8") as f:
                text = f.read()
            os.remove(path)
            if text and json.loads(text)["small"]["allocs"] > 0:
                self.served.add(os.path.basename(path).split(".")[0])


def said_so(done):
    """It ended by itself and named memory as the reason, or in the way its runtime ends a program that has none: python3
    where it cannot even start, C++ where there is no memory for an exception either."""
    if "Fatal Python error" in done.stderr or "terminate called" in done.stderr:
        return True
    return done.returncode > 0 and ("memory" in done.stderr.lower() or "can't start new thread" in done.stderr)


def optional(runner):
    for calls in ("madvise", "munmap", "mremap", RARE):
        for error in ERRORS:
            for name in PROGRAMS if error in ("ENOMEM", "EPERM") else ("sqlite3", "sort"):
                runner.refused(name, calls, error, False, "off")


def hardened(runner):
    for level, name in (("on", "sqlite3"), ("full", "sort"), ("full", "python3")):
        for calls in ("madvise", "munmap", "mremap", "mprotect_none"):
            for error in ("ENOMEM", "EPERM"):
                runner.refused(name, calls, error, False, level)
        if name != "python3": # threads' stacks need it
            runner.refused(name, "mprotect_access", "ENOMEM", True, level)


def memory(runner):
    right = [runner.refused(name, "mmap", error, True, level)
             for name in PROGRAMS for error in ("ENOMEM", "EPERM") for level in ("off", "full")]
    if all(right):
        runner.failures.append("no program noticed that there is no memory: the filter tells nothing")


def main():
    library, filter_ = (os.path.realpath(path) for path in sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="umalloc-refused-") as folder:
        runner = Runner(library, filter_, folder)
        {"optional": optional, "hardened": hardened, "memory": memory}[sys.argv[3]](runner)
    if not runner.served & {"python3", "sqlite3", "sort"}:
        runner.failures.append("no program left a report: who served them?")
    print("%d runs, %d failures; served: %s" % (runner.runs, len(runner.failures), ", ".join(sorted(runner.served))))
    print("\n".join(runner.failures))
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
