"""Programs of this folder in odd surroundings: limits, closed descriptors, other preloads, auditors, sanitizers.

Usage: test_surroundings.py LIBRARY FOLDER CASE, FOLDER being where the programs were built. Each case is a function
case_*; `list` as CASE prints them. By default a run must succeed and leave stderr empty: the library says nothing
unasked. Status 77 is a skip with its reason. Bounds: nothing here measures speed.
"""

import glob
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

SKIP = 77
MIB = 1 << 20


class Failure(Exception):
    """What a case found wrong."""


class Skip(Exception):
    """Why a case cannot be judged here."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


def limited(kind, size):
    """For preexec_fn: both limits of a resource."""
    return lambda: resource.setrlimit(kind, (size, size))


class Place:
    """Where library and programs are, and how they are run together."""

    def __init__(self, library, folder):
        self.library = os.path.realpath(library)
        self.folder = os.path.abspath(folder)

    def program(self, name):
        for path in (name, "lifecycle_" + name, "liblifecycle_" + name + ".so"):
            path = os.path.join(self.folder, path)
            if os.path.exists(path):
                return path
        raise Failure("no program %s in %s" % (name, self.folder))

    def run(self, argv, env=None, preload=None, **more):
        """Runs a program of this folder, or any with a path, under the library."""
        argv = [argv[0] if "/" in argv[0] else self.program(argv[0])] + argv[1:]
        whole = {k: v for k, v in os.environ.items() if not k.startswith(("UMALLOC_", "LD_", "MALLOC_"))}
        whole["UMALLOC_LIB"] = self.library
        whole["LD_PRELOAD"] = self.library if preload is None else preload
        whole.update(env or {})
        # close_fds would allocate nothing, but keeps pipes of other tests out
        done = subprocess.run(argv, env=whole, capture_output=True, text=True, errors="replace", timeout=250,
                              check=False, **more)
        done.summary = "%s: status %d\nstdout: %s\nstderr: %s" % (argv, done.returncode, done.stdout, done.stderr)
        return done

    def succeed(self, argv, out=None, **more):
        done = self.run(argv, **more)
        if done.returncode == SKIP:
            raise Skip(done.stdout.strip())
        expect(done.returncode == 0 and done.stderr == "", done.summary)
        if out is not None:
            expect(re.fullmatch(out, done.stdout), "expected stdout like %r; %s" % (out, done.summary))
        return done


# Limits of memory


def case_address_space_limit(place):
    """ulimit -v 524288."""
    limit = limited(resource.RLIMIT_AS, 512 * MIB)
    place.succeed(["/bin/true"], preexec_fn=limit)
    place.succeed([shutil.which("python3", path="/usr/bin:/bin") or sys.executable, "-c", "print(sum(range(10)))"],
                  out="45\n", preexec_fn=limit)
    done = place.succeed(["exhaustion", "space", "600"], preexec_fn=limit)
    first = int(done.stdout.split()[0])
    expect(first >= 256, "only %d of 512 MiB could be used" % first)


def case_small_address_space_limit(place):
    """Barely enough for libc and a thread."""
    place.succeed(["exhaustion", "space", "100"], preexec_fn=limited(resource.RLIMIT_AS, 64 * MIB))


def case_scarce_addresses(place):
    """Near the least RLIMIT_AS in which programs run with libc's malloc, they need at most 8 MiB more: the library, its
    tables, and a slot for each size that they use. With less they may fail, but nothing is said in our name."""
    compiler = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=False).stdout.strip() \
        if shutil.which("gcc") else ""
    programs = [["/bin/true"], ["/bin/ls", "/"], ["/bin/sh", "-c", ":"], [shutil.which("git"), "--version"],
                [shutil.which("python3", path="/usr/bin:/bin"), "-S", "-c", "print(sum(range(10)))"],
                [os.path.exists(compiler) and compiler, "-quiet", "-O2", "-", "-o", "-"]]

    def run(argv, bytes_most, preload):
        try:
            return place.run(argv, preload=preload, input="int f(int *p) { return p[0] + p[1]; }\n",
                             preexec_fn=limited(resource.RLIMIT_AS, bytes_most))
        except (OSError, subprocess.SubprocessError) as e: # there was not even room to start it
            return subprocess.CompletedProcess(argv, 127, "", str(e))

    for argv in programs:
        if not argv[0]:
            continue
        low, high = MIB, 512 * MIB
        right = run(argv, high, "").stdout
        while high - low > MIB // 4:
            middle = (low + high) // 2
            low, high = (low, middle) if run(argv, middle, "").returncode == 0 else (middle, high)
        for more in range(0, 8 * MIB, MIB // 2):
            done = run(argv, high + more, place.library)
            expect(not re.search("^umalloc", done.stderr, re.M), "%s with %d bytes: %s" % (argv, high + more, done.stderr))
        done = run(argv, high + 8 * MIB, place.library)
        expect(done.returncode == 0 and done.stdout == right, "%s runs in %d KiB with libc's malloc; with 8 MiB more: %d %s" % (
            argv, high >> 10, done.returncode, done.stderr))
        print(argv[0], "runs in", high >> 10, "KiB with libc's malloc")


def case_data_limit(place):
    limit = limited(resource.RLIMIT_DATA, 128 * MIB)
    place.succeed(["/bin/true"], preexec_fn=limit)
    done = place.succeed(["exhaustion", "space", "200"], preexec_fn=limit)
    first = int(done.stdout.split()[0])
    expect(first >= 64, "only %d of 128 MiB could be used" % first)


def case_own_limit(place):
    """UMALLOC_LIMIT: what is held stays below it, most of it can be had, and again after a free."""
    done = place.succeed(["exhaustion", "space", "64"], env={"UMALLOC_LIMIT": "64M"})
    first = int(done.stdout.split()[0])
    expect(first >= 40, "only %d of 64 MiB could be used" % first)


def case_what_is_kept_serves_at_the_limit(place):
    for harden in ["off", "on", "full"]:
        place.succeed(["exhaustion", "kept"], env={"UMALLOC_LIMIT": "64M", "UMALLOC_HARDEN": harden})


def case_own_limit_with_threads(place):
    place.succeed(["ordinary"], env={"UMALLOC_LIMIT": "256M"})


def case_overcommit(place):
    """vm.overcommit_memory in each way, restored whatever happens."""
    knob = "/proc/sys/vm/overcommit_memory"
    with open("/proc/meminfo", encoding="ascii") as f:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in f}
    if not os.access(knob, os.W_OK):
        raise Skip("vm.overcommit_memory cannot be changed here")
    if kib["CommitLimit"] - kib["Committed_AS"] < 2 << 20:
        raise Skip("less than 2 GiB could still be committed under vm.overcommit_memory=2")
    with open(knob, encoding="ascii") as f:
        before = f.read()

    def change(value):
        with open(knob, "w", encoding="ascii") as f:
            f.write(value)
        with open(knob, encoding="ascii") as f:
            if f.read().strip() != value.strip():
                raise Skip(f"vm.overcommit_memory does not take the value {value} here")

    def restore():
        change(before)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: (restore(), os._exit(1)))
    try:
        for value in ("0", "1"):
            change(value)
            place.succeed(["ordinary"])
        change("2")
        place.succeed(["/bin/true"])
        place.succeed(["exhaustion", "commit"])
    finally:
        restore()


def case_mappings_exhausted(place):
    place.succeed(["exhaustion", "mappings"])


def case_locked_memory(place):
    place.succeed(["exhaustion", "locked"])


# Other things of the kernel


def case_last_cpu(place):
    last = max(os.sched_getaffinity(0))
    place.succeed(["threads", "producers", "5000"], preexec_fn=lambda: os.sched_setaffinity(0, {last}))
    place.succeed(["ordinary"], preexec_fn=lambda: os.sched_setaffinity(0, {last}))


def case_closed_descriptors(place):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "second")
        done = place.run(["ordinary", "fds", path], preexec_fn=lambda: os.closerange(0, 3))
        expect(done.returncode == 0, done.summary)
        with open(path, encoding="utf-8") as f:
            expect(f.read() == "", "something was written to the file that became descriptor 2")


def case_no_system_calls_when_steady(place):
    """Ageing is off: it gives memory back, which needs calls."""
    place.succeed(["sandbox", "steady"], env={"UMALLOC_DECAY_MS": "86400000"})


def case_prefaulted_memory_is_there(place):
    """Ageing is on and short: what is prefaulted or locked does not age."""
    for options in ({"PREFAULT": "192M"}, {"PREFAULT": "128M", "PREFAULT_THREAD": "32M"}, {"PREFAULT": "192M", "LOCK": "1"}):
        env = {f"UMALLOC_{name}": value for name, value in options.items()}
        place.succeed(["sandbox", "resident"], env={"UMALLOC_DECAY_MS": "20", **env})


def case_sandbox(place):
    for mode in ("eperm", "enosys", "kill"):
        place.succeed(["sandbox", mode])


def case_purge_fails(place):
    for mode in ("advise", "unmap", "all"):
        place.succeed(["sandbox", "purge", mode])


# Other things of the dynamic linker

LATE_WORDS = {
    "return": "on_exit atexit first-atexit destructor dso\n",
    "exit": "on_exit atexit first-atexit destructor dso\n",
    "quick": "at_quick_exit ",
}


def case_late_calls(place):
    for mode, words in LATE_WORDS.items():
        place.succeed(["late", mode], out=words)


def case_late_calls_linked(place):
    for mode, words in LATE_WORDS.items():
        place.succeed(["late_linked", mode], out=words, preload="")


def case_other_preload(place):
    """Beside one that wraps mmap, munmap, madvise and pthread_create and allocates in them; before it and after it."""
    wrap = place.program("wrap")
    for order in (place.library + ":" + wrap, wrap + ":" + place.library):
        place.succeed(["ordinary"], preload=order, env={"WRAP_PROOF": "1"}, out="wrapped threads yes, maps yes\n")
        place.succeed(["early"], preload=order)
        place.succeed(["late", "exit"], preload=order)
        place.succeed(["threads", "producers", "5000"], preload=order)
        place.succeed(["sandbox", "purge", "advise"], preload=order)


def case_bare_name(place):
    name = os.path.basename(place.library)
    place.succeed(["ordinary"], preload=name, env={"LD_LIBRARY_PATH": os.path.dirname(place.library)})


def case_audited(place):
    audit = {"LD_AUDIT": place.program("audit")}
    place.succeed(["ordinary"], env=audit)
    place.succeed(["early"], env=audit)
    place.succeed(["late", "exit"], env=audit)


def case_dlopened(place):
    """After libraries that took nearly 1 KiB of the reserve of static thread-local storage."""
    heavy = [place.program(name) for name in ("tls_1", "tls_2", "tls_3", "tls_4")]
    place.succeed(["dlopen_host", place.library], preload="")
    place.succeed(["dlopen_host", place.library] + heavy, preload="")


def case_thread_local_storage_is_small(place):
    """640 bytes at most, so that a late dlopen finds room."""
    done = subprocess.run(["readelf", "-lW", place.library], capture_output=True, text=True, check=True)
    rows = re.findall(r"^\s+TLS\s+\S+ \S+ \S+ \S+ (0x[0-9a-f]+)", done.stdout, re.M)
    expect(len(rows) <= 1, "several TLS segments")
    size = int(rows[0], 16) if rows else 0
    expect(size <= 640, "%d bytes of static thread-local storage" % size)


def case_deepbind(place):
    """Works, or dies by SIGABRT with one line that says so."""
    plugin = place.program("deepbind_plugin")
    place.succeed(["deepbind_host", "own", plugin])
    for mode in ("plugin-frees", "host-frees"):
        done = place.run(["deepbind_host", mode, plugin])
        died_clearly = done.returncode == -signal.SIGABRT and len(done.stderr.splitlines()) == 1
        expect(died_clearly or (done.returncode == 0 and done.stderr == ""), done.summary)
        if mode == "host-frees" and died_clearly:
            expect(re.fullmatch(r"umalloc: invalid free: 0x[0-9a-f]+ \(not allocated by umalloc\) in thread \d+\n",
                                done.stderr),
                   done.summary)


def case_static_program(place):
    expected = place.succeed(["static"], preload="").stdout
    expect("static" in expected, expected)
    place.succeed(["static"], out=re.escape(expected))


def sanitized(place, name, found):
    """A program with a sanitizer's own malloc runs, or is refused in one line; where it runs, it finds what it finds."""
    try:
        place.program(name)
    except Failure as e:
        raise Skip("this compiler builds no program with this sanitizer") from e
    done = place.run([name])
    refused = done.returncode > 0 and len(done.stderr.splitlines()) == 1 and done.stdout == ""
    expect(refused or (done.returncode == 0 and done.stderr == ""), done.summary)
    if not refused:
        done = place.run([name, "mistake"])
        expect(done.returncode > 0 and found in done.stderr, done.summary)


def case_address_sanitizer(place):
    sanitized(place, "asan", "heap-use-after-free")


def case_thread_sanitizer(place):
    bare = place.run(["tsan"], preload="")
    if bare.returncode:
        raise Skip("ThreadSanitizer does not work here: " + bare.stderr.strip())
    sanitized(place, "tsan", "data race")


def case_valgrind(place):
    if not shutil.which("valgrind"):
        raise Skip("valgrind is not installed")
    done = place.run([shutil.which("valgrind"), "--tool=none", "-q", place.program("early")])
    expect(done.returncode == 0, done.summary)
    done = place.run([shutil.which("valgrind"), "--tool=none", "-q", place.program("late"), "exit"])
    expect(done.returncode == 0 and done.stdout.endswith("dso\n"), done.summary)


def case_memcheck(place):
    """valgrind puts its own malloc in place of any: a leak is found as without us."""
    if not shutil.which("valgrind"):
        raise Skip("valgrind is not installed")
    done = place.run([shutil.which("valgrind"), "--leak-check=full", "--error-exitcode=9", place.program("leak")])
    expect(done.returncode == 9 and re.search(r"12,345 bytes in 1 blocks are definitely lost", done.stderr), done.summary)


def case_embedded_allocators(place):
    """A library's malloc comes after ours, a program's own before it."""
    tried = 0
    for name, ours in {"jemalloc": True, "tcmalloc": True, "jemalloc_static": False}.items():
        try:
            program = place.program("embedded_" + name)
        except Failure:
            continue
        tried += 1
        place.succeed([program], preload="")
        done = place.succeed([program, "whose"])
        expect((done.stdout.strip() == place.library) == ours, done.summary)
        place.succeed([program], env={"UMALLOC_EXCLUDE": os.path.basename(program)})
    if not tried:
        raise Skip("none of these allocators is installed")


def aside(place, names, argument="8", **more):
    return place.run(["aside", argument], env={"UMALLOC_EXCLUDE": names}, **more)


def case_excluded(place):
    """Neither the first call nor the last is ours, and nothing is said or reported."""
    served = place.run(["aside", "0"])
    expect(served.returncode == 0, served.summary)
    expect(place.run(["aside", "8"]).returncode == 4, "our own blocks were not told from libc's")
    for names in ("lifecycle_aside", "sh,lifecycle_aside", "lifecycle_aside,,x"):
        done = aside(place, names)
        expect((done.returncode, done.stdout, done.stderr) == (0, "", ""), done.summary)
    for name, argv in (("early", []), ("late", ["exit"]), ("threads", ["producers", "5000"]), ("fork", ["spawn", "4", "50"]),
                       ("thread_end", ["100"])):
        done = place.run([name] + argv, env={"UMALLOC_EXCLUDE": "true,lifecycle_" + name, "UMALLOC_STATS": "text"})
        expect(done.returncode == 0 and done.stderr == "", done.summary)
    done = place.run(["aside"], env={"UMALLOC_EXCLUDE": "lifecycle_aside", "UMALLOC_VERBOSE": "1", "UMALLOC_NOPE": "1",
                                     "UMALLOC_STRICT": "1"})
    expect((done.returncode, done.stdout, done.stderr) == (0, "", ""), done.summary)


def case_start_refused(place):
    """What cannot be had at the start is one line that names its option, and stops the program only if asked to."""
    true = shutil.which("true")
    for env, status, said in (
            ({"UMALLOC_HARDEN": "on", "UMALLOC_LIMIT": "64K"}, 0, "umalloc: UMALLOC_HARDEN: no memory for it (errno 12); "
             "going on without\n"),
            ({"UMALLOC_NUMA": "bind:1023", "UMALLOC_NUMA_STRICT": "1"}, 2, "umalloc: UMALLOC_NUMA=bind:1023 cannot be had; "
             "stopping, as UMALLOC_NUMA_STRICT asks\n"),
            ({"UMALLOC_NUMA": "nowhere", "UMALLOC_NUMA_STRICT": "1"}, 2, "umalloc: UMALLOC_NUMA cannot be had; stopping, as "
             "UMALLOC_NUMA_STRICT asks\n"),
            ({"UMALLOC_NOPE": "1", "UMALLOC_NUMA_STRICT": "1"}, 0, "umalloc: unknown option UMALLOC_NOPE\n"),
            ({"UMALLOC_NOPE": "1", "UMALLOC_STRICT": "1"}, 2, "umalloc: unknown option UMALLOC_NOPE\n")):
        done = place.run([true], env=env)
        expect(done.returncode == status and done.stderr.endswith(said), done.summary)


def case_excluded_next_preload(place):
    """The next allocator is the one that is preloaded behind us."""
    paths = glob.glob("/usr/lib/*-linux-gnu/libjemalloc.so.2")
    if not paths:
        raise Skip("jemalloc is not installed")
    place.succeed(["ordinary"], preload=place.library + ":" + paths[0], env={"UMALLOC_EXCLUDE": "lifecycle_ordinary"})
    done = place.run([shutil.which("python3"), "-c", "print(2)"], preload=place.library + ":" + paths[0],
                     env={"UMALLOC_EXCLUDE": "python3", "MALLOC_CONF": "stats_print:true"})
    expect(done.returncode == 0 and "jemalloc" in done.stderr, done.summary)


def case_excluded_by_name(place):
    """Whole names only; of the file or of argv[0]; not the children; not the programs of others."""
    for names in ("aside", "lifecycle_asid", "lifecycle_aside2", "ifecycle_aside", "LIFECYCLE_ASIDE", ","):
        done = aside(place, names, "0")
        expect((done.returncode, done.stderr) == (0, ""), names + ": " + done.summary)
    whole = dict(os.environ, UMALLOC_EXCLUDE="another", LD_PRELOAD=place.library)
    done = subprocess.run(["another", "8"], executable=place.program("aside"), env=whole, check=False)
    expect(done.returncode == 0, "argv[0] does not count")
    done = place.run(["/bin/sh", "-c", "%s 0" % place.program("aside")], env={"UMALLOC_EXCLUDE": "sh"})
    expect(done.returncode == 0, done.summary)
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "script")
        with open(script, "w", encoding="utf-8") as f:
            f.write("#!%s 8\n" % place.program("aside"))
        os.chmod(script, 0o755)
        for names, status in (("script", 0), ("lifecycle_aside", 0), ("8", 4)):
            done = place.run([script], env={"UMALLOC_EXCLUDE": names})
            expect(done.returncode == status, done.summary)


def active(place, argv, status, words, **more):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "umalloc-active")
    done = place.run([sys.executable, script] + argv, **more)
    expect(done.returncode == status and re.search(words, done.stderr), done.summary)


def waiting_cat(place, env):
    """A cat that has allocated and waits for input."""
    child = subprocess.Popen(["cat"], env=dict(os.environ, **env), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(b"x\n")
    child.stdin.flush()
    expect(child.stdout.readline() == b"x\n", "cat does not answer")
    return child


def case_active(place):
    preload = {"LD_PRELOAD": place.library}
    for env, status, words in ((preload, 0, r"yes: \S*libumalloc\.so\S* serves cat "),
                               (dict(preload, UMALLOC_EXCLUDE="cat"), 1, r"no: it steps aside in cat "),
                               ({"LD_PRELOAD": ""}, 1, r"no: the library is not in cat ")):
        child = waiting_cat(place, env)
        try:
            active(place, [str(child.pid)], status, words, preload="")
        finally:
            child.communicate()
    active(place, ["/bin/ls", "/"], 0, r"yes: umalloc served /bin/ls, which ended with status 0; \d+ blocks")
    active(place, ["/bin/ls", "/"], 1, r"no: /bin/ls ended with status 0 and left no report", preload="")
    active(place, ["/bin/ls", "/"], 1, "no: /bin/ls ended", env={"UMALLOC_EXCLUDE": "ls"})
    active(place, ["/no/such/program"], 2, "cannot tell: ")
    active(place, [str(1 << 30)], 2, "cannot tell: no process ")


def case_exit_status_and_silence(place):
    done = place.run(["ordinary", "status"])
    expect((done.returncode, done.stdout, done.stderr) == (5, "", ""), done.summary)


def main():
    cases = {name[5:]: fn for name, fn in globals().items() if name.startswith("case_")}
    if sys.argv[-1] == "list":
        print("\n".join(cases))
        return 0
    library, folder, name = sys.argv[1:]
    try:
        cases[name](Place(library, folder))
    except Skip as e:
        print("skipped: %s" % e)
        return SKIP
    except Failure as e:
        print("FAILED: %s" % e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
