"""The report at exit and the options, as a user meets them: what arrives where, and that nothing else is printed.

Usage: test_report.py LIBRARY REPORT_PROGRAM [CASE...]. Each case is a function case_*; all run unless some are named.
The program (report_program.c) does known deeds, so figures are compared with what it did. Not judged: how the gauges
come about, only that they agree with each other and with the deeds.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile

SECTIONS = ["memory", "activity", "size classes in use", "nodes", "options"]
GAUGES = ["allocated", "active", "resident", "mapped", "retained", "metadata"]
TOP = {
    "schema_version", "program", "pid", "gauges", "dirty", "peak", "kernel_resident", "threads", "fragmentation",
    "thread_cache_hit_rate", "remote_batch_mean", "small", "large", "system_calls", "counters", "classes", "nodes",
    "placement", "huge_pages", "modules", "options",
}
CLASS_KEYS = ["block_bytes", "allocs", "frees", "live", "slabs", "slab_bytes", "waste_bytes", "refills", "flushes"]


class Failure(Exception):
    """What a case found wrong."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


def close_stderr():
    os.close(2)


class Bench:
    """Runs the program under the library with the options given and nothing of ours left in the environment."""

    def __init__(self, library, program, folder):
        self.library, self.program, self.folder = library, program, folder

    def environment(self, options):
        env = {k: v for k, v in os.environ.items() if not k.startswith("UMALLOC_") and k != "LD_PRELOAD"}
        env["LD_PRELOAD"] = self.library
        env.update({"UMALLOC_" + name: value for name, value in options.items()})
        return env

    def run(self, *deeds, status=0, before=None, stderr=subprocess.PIPE, **options):
        process = subprocess.Popen([self.program, *deeds], env=self.environment(options), stdout=subprocess.PIPE,
                                   stderr=stderr, preexec_fn=before)
        out, err = process.communicate(timeout=120)
        expect(process.returncode == status, f"status {process.returncode}, expected {status}; stderr {err!r}")
        return process.pid, out.decode(), (err or b"").decode()

    def path(self, name):
        return os.path.join(self.folder, name)


def unique(pairs):
    keys = [key for key, _ in pairs]
    expect(len(keys) == len(set(keys)), f"a key twice among {keys}")
    return dict(pairs)


def walk(value, where=""):
    """Every figure is a plain number that cannot have wrapped."""
    if isinstance(value, dict):
        for key, inner in value.items():
            walk(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            walk(inner, f"{where}[{index}]")
    elif not isinstance(value, (bool, str)):
        expect(0 <= value < 2**62, f"{where} is {value}")


def parse(text):
    try:
        report = json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        raise Failure(f"not JSON: {error}: {text[:300]!r}") from error
    walk(report)
    return report


def is_text_report(text, pid):
    lines = text.splitlines()
    expect(lines and re.fullmatch(rf"umalloc report: report_program \(pid {pid}\)", lines[0]), f"head: {lines[:1]}")
    found = [line for line in lines if line in SECTIONS]
    expect(found == SECTIONS, f"sections {found}")
    expect(text.count("umalloc report:") == 1, "one report")


def class_of(report, size):
    """The row of the smallest class that fits, which must have been used."""
    return min((row for row in report["classes"] if row["block_bytes"] >= size), key=lambda row: row["block_bytes"])


def case_silent_by_default(b):
    _, out, err = b.run("work", "remote", "hello", "fork", "return")
    expect(out.startswith("hello\nchild ") and err == "", f"{out!r} {err!r}")


def case_text_on_stderr(b):
    pid, out, err = b.run("work", "hello", "return", STATS="text")
    expect(out == "hello\n", out)
    is_text_report(err, pid)


def case_json_agrees_with_the_deeds(b):
    pid, out, err = b.run("work", "remote", "hello", "return", STATS="json", DECAY_MS="1000")
    expect(out == "hello\n", out)
    r = parse(err)
    expect(set(r) == TOP, f"members {set(r) ^ TOP}")
    expect(r["schema_version"] == 1 and r["pid"] == pid and r["program"] == "report_program", "head")
    g = r["gauges"]
    expect(list(g) == GAUGES, f"gauges {list(g)}")
    expect(g["allocated"] >= 600 * 100 + (8 << 20), f"allocated {g}")
    expect(g["allocated"] <= g["active"] <= g["resident"] <= g["mapped"], f"order of gauges {g}")
    expect(g["active"] + r["dirty"] + g["metadata"] == g["resident"], f"resident is a sum {g} {r['dirty']}")
    expect(g["retained"] <= g["mapped"] and g["metadata"] > 0, f"gauges {g}")
    expect(g["allocated"] <= (9 << 20) + (8 << 20) // 4, f"allocated far above the deeds {g}")
    expect(r["peak"] >= g["active"], "peak below active")
    expect(abs(r["fragmentation"] - g["resident"] / g["allocated"]) < 1e-5, "fragmentation")
    row = class_of(r, 100)
    expect(list(row) == CLASS_KEYS, f"class row {row}")
    expect(row["allocs"] >= 1000 and row["frees"] >= 400 and row["live"] >= 600, f"class of 100 bytes {row}")
    expect(row["allocs"] < 1200, f"class of 100 bytes counted too much {row}")
    for row in r["classes"]:  # nothing was inherited
        expect(row["live"] == row["allocs"] - row["frees"], f"live {row}")
        expect(row["slab_bytes"] >= row["live"] * row["block_bytes"], f"slab bytes {row}")
        expect(row["waste_bytes"] == row["slab_bytes"] - row["live"] * row["block_bytes"], f"waste {row}")
    small = r["small"]
    expect(small["allocs"] == sum(row["allocs"] for row in r["classes"]), "sum of allocs")
    rate = 1 - small["refills"] / small["allocs"]
    expect(abs(r["thread_cache_hit_rate"] - rate) < 1e-5 and rate > 0.9, f"hit rate {rate}")
    c = r["counters"]
    row = class_of(r, 64)
    expect(5000 <= row["allocs"] < 5050, f"class of 64 bytes {row}")
    expect(4900 <= row["frees"] <= 5000, f"class of 64 bytes, some frees still in transit {row}")
    expect(4900 <= c["remote_frees"] <= 5000, f"remote frees {c['remote_frees']}")
    expect(1 <= c["remote_batches"] <= 5000 // 4, f"remote batches {c['remote_batches']}")
    expect(c["large_allocs"] >= 1 and r["large"]["live"] >= 1, "the large block")
    expect(r["large"]["live_bytes"] >= 8 << 20, "bytes of the large block")
    expect(r["system_calls"]["mmap"] >= 1, "mmap calls")
    expect(r["threads"] == 1 and c["heaps_created"] + c["heaps_reused"] == 2, f"heaps {r['threads']} {c}")
    expect(r["nodes"] and r["nodes"][0]["node"] == 0 and r["nodes"][0]["mapped"] > 0, f"nodes {r['nodes']}")
    one = {"nodes_with_memory": 1}
    expect(r["placement"] == one or r["placement"]["nodes_with_memory"] > 1, f"placement {r['placement']}")
    expect(r["huge_pages"]["measured"] % 4096 == 0, f"huge pages {r['huge_pages']}")
    expect(r["options"]["stats"] == {"value": "json", "source": "environment"}, "options")
    expect(r["options"]["decay_ms"] == {"value": 1000, "source": "environment"}, "options")
    expect(r["options"]["strict"] == {"value": False, "source": "default"}, "options")


def case_blocks_of_ended_threads_count_once(b):
    _, _, err = b.run("orphans", "return", STATS="json")
    row = class_of(parse(err), 64)
    expect(8000 <= row["allocs"] < 8050, f"allocs {row}")
    expect(5900 <= row["frees"] <= 6000, f"frees, some still in transit {row}")
    expect(2000 <= row["live"] < 2100, f"live {row}")


def case_every_way_to_end(b):
    for how in ["return", "exit", "_exit", "_Exit", "quick_exit", "pthread_exit"]:
        pid, out, err = b.run("work", "hello", how, STATS="text")
        expect(out == "hello\n", out)
        try:
            is_text_report(err, pid)
        except Failure as failure:
            raise Failure(f"{how}: {failure}") from failure
    pid, _, err = b.run("late", "exit7", status=7, STATS="json")
    expect(parse(err)["pid"] == pid, "status kept")


def case_after_closing_the_streams(b):
    for how in ["return", "_exit", "quick_exit"]:
        pid, out, err = b.run("hello", "work", "close", how, STATS="text")
        expect(out == "hello\n", out)
        is_text_report(err, pid)


def case_never_into_a_file_of_the_program(b):
    for deed in ["take_stderr", "take_descriptors"]:
        for how in ["return", "_exit"]:
            data = b.path(f"{deed}{how}")
            pid, _, err = b.run("close", "work", deed, data, how, STATS="text")
            with open(data, encoding="utf-8") as file:
                expect(file.read() == "data\n", f"{deed}: the report is in the program's file")
            if deed == "take_stderr":
                is_text_report(err, pid)
    data = b.path("closed")
    _, _, err = b.run("take_stderr", data, "return", before=close_stderr, STATS="text")
    with open(data, encoding="utf-8") as file:
        expect(file.read() == "data\n", "born without stderr: the report is in the program's file")
    expect(err == "", err)


def case_stats_file(b):
    pattern = b.path("r-%p-%n-100%%.json")
    pid, _, err = b.run("hello", "work", "chdir", "return", STATS="json", STATS_FILE=pattern)
    expect(err == "", err)
    with open(b.path(f"r-{pid}-report_program-100%.json"), encoding="utf-8") as file:
        expect(parse(file.read())["pid"] == pid, "pid")
    with open(b.path("old"), "w", encoding="utf-8") as file:
        file.write("x" * 100000)
    for deeds in [["_exit"], ["close", "return"], ["take_descriptors", b.path("data"), "return"]]:
        pid, _, err = b.run("work", *deeds, STATS="text", STATS_FILE=b.path("old"))
        expect(err == "", err)
        with open(b.path("old"), encoding="utf-8") as file:
            is_text_report(file.read(), pid)


def case_stats_file_that_cannot_be_made(b):
    _, out, err = b.run("hello", "return", STATS="text", STATS_FILE=b.path("no/such/folder"))
    expect(out == "hello\n", out)
    expect(re.match(r"umalloc: [^\n]*no/such/folder[^\n]*\n", err), f"a complaint: {err!r}")
    long = b.path("long" * 225)
    _, out, err = b.run("hello", "return", STATS="text", STATS_FILE=long + "/" + "%n" * 50)
    expect(re.match(r"umalloc: [^\n]*longlong[^\n]*\n", err), f"a complaint: {err!r}")


def no_file_may_grow():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def case_no_signal_comes_of_writing(b):
    """Python gives SIGPIPE and SIGXFSZ their defaults back for its children, which is to end them."""
    for how in ["return", "_exit"]:
        for bad in [{}, {"DECAY_MS": "abc"}]:
            reader, writer = os.pipe()
            os.close(reader)
            _, out, _ = b.run("hello", "work", how, stderr=writer, STATS="text", **bad)
            os.close(writer)
            expect(out == "hello\n", out)
        _, out, err = b.run("hello", "work", how, before=no_file_may_grow, STATS="json", STATS_FILE=b.path("full"))
        expect(out == "hello\n" and os.path.getsize(b.path("full")) == 0, out)
        expect(re.fullmatch(r"umalloc: cannot write the report to UMALLOC_STATS_FILE=[^\n]*full. \(error 27\)\n", err), err)
        with open(b.path("limited"), "wb") as file:
            b.run("work", how, before=no_file_may_grow, stderr=file, STATS="text", STAT="text")


def case_children_are_silent(b):
    for deed in ["fork", "fork_exit", "vfork", "bare_child"]:
        pid, out, err = b.run("work", deed, "hello", "return", STATS="text")
        expect(out.endswith("hello\n"), out)
        is_text_report(err, pid)


def case_children_report_themselves_if_asked(b):
    for deed in ["fork", "fork_exit"]:
        path = b.path(deed + "-%p")
        pid, out, err = b.run("work", deed, "return", STATS="json", STATS_FORK="1", STATS_FILE=path)
        expect(err == "", err)
        child = int(out.split()[1])
        reports = {}
        for process in [pid, child]:
            with open(b.path(f"{deed}-{process}"), encoding="utf-8") as file:
                reports[process] = parse(file.read())
            expect(reports[process]["pid"] == process, "pid")
        row = class_of(reports[child], 3000)
        expect(50 <= row["allocs"] < 60, f"the child's deeds: {row}")
        others = [r for r in reports[child]["classes"] if r["block_bytes"] < 200]
        expect(sum(r["allocs"] for r in others) < 100, f"the parent's deeds in the child's report: {others}")
        expect(class_of(reports[child], 100)["live"] >= 600, "blocks it inherited are live")
        expect(reports[child]["gauges"]["allocated"] >= 8 << 20, "memory it inherited is allocated")
        expect(class_of(reports[pid], 100)["allocs"] >= 1000, "the parent's report")
        expect(not [r for r in reports[pid]["classes"] if 3000 <= r["block_bytes"] < 4000 and r["allocs"] >= 50],
               "the child's deeds in the parent's report")


def case_exec_is_a_new_program(b):
    pid, out, err = b.run("work", "exec", "return", STATS="json")
    expect(out == "hello\n", out)
    report = parse(err)
    expect(report["pid"] == pid and report["gauges"]["allocated"] < 8 << 20, "the report of the second program alone")


def case_bad_options_are_one_line_each(b):
    _, out, err = b.run("hello", "return", STATS="xml", DECAY_MS="abc", STAT="text", LIMIT="1Q", THREAD_CACHE="64K")
    expect(out == "hello\n", out)
    expect(sorted(err.splitlines()) == sorted([
        'umalloc: UMALLOC_STATS="xml" is not one of off|text|json; using the default off',
        'umalloc: UMALLOC_DECAY_MS="abc" is not a number from 0 to 86400000; using the default 1000',
        "umalloc: unknown option UMALLOC_STAT; did you mean UMALLOC_STATS?",
        'umalloc: UMALLOC_LIMIT="1Q" is not a size from 0 to 64T (suffixes K, M, G, T); using the default 0',
    ]), err)


def case_good_options_say_nothing(b):
    _, out, err = b.run("work", "hello", "return", STATS="off", DECAY_MS="0", DIRTY_MAX="1M", THREAD_CACHE="0",
                        LIMIT="1G", HUGEPAGES="off", STRICT="1", VERBOSE="0", STATS_FORK="no")
    expect(out == "hello\n" and err == "", f"{out!r} {err!r}")


def case_strict_stops_before_the_program(b):
    _, out, err = b.run("hello", "return", status=2, STRICT="1", DECAY_MS="abc")
    expect(out == "", out)
    expect('umalloc: UMALLOC_DECAY_MS="abc" is not' in err, err)
    _, out, err = b.run("hello", "return", status=2, STRICT="1", NOPE="1")
    expect(out == "" and "umalloc: unknown option UMALLOC_NOPE" in err, f"{out!r} {err!r}")
    expect("umalloc report" not in err, err)


def case_verbose_says_who_serves(b):
    _, out, err = b.run("hello", "return", VERBOSE="1", DECAY_MS="77")
    expect(out == "hello\n", out)
    lines = err.splitlines()
    expect(lines and lines[0].startswith("umalloc"), err)
    expect(re.search(r"^ *UMALLOC_DECAY_MS +environment +77$", err, re.M), err)
    expect("umalloc report" not in err, err)


def case_strange_names_stay_valid(b):
    """The program's name and the options reach the JSON and a file's name whatever bytes they hold."""
    name = os.path.join(os.fsencode(b.folder), b'a"b\\\xff\n\xc3\xa9')
    with open(b.program, "rb") as source, open(name, "wb") as copy:
        copy.write(source.read())
    os.chmod(name, 0o755)
    done = subprocess.run([name, "return"], env=b.environment({"STATS": "json"}), capture_output=True, check=True)
    report = parse(done.stderr.decode())
    expect(report["program"] == 'a"b\\\ufffd\n\u00e9', f"program {report['program']!r}")
    done = subprocess.run([name, "return"], env=b.environment({"STATS": "text"}), capture_output=True, check=True)
    expect(done.stderr.decode("ascii").count("\numalloc") == 0, "one line is the head")


def main():
    library, program, wanted = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]
    cases = {name[5:]: f for name, f in globals().items() if name.startswith("case_")}
    unknown = set(wanted) - set(cases)
    if unknown:
        sys.exit(f"no case {unknown}")
    failed = 0
    for name in wanted or cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                cases[name](Bench(library, program, folder))
                print(f"ok      {name}")
            except (Failure, subprocess.SubprocessError, OSError, KeyError, ValueError) as problem:
                failed += 1
                print(f"FAILED  {name}: {type(problem).__name__}: {problem}")
    print(f"{len(wanted or cases)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
