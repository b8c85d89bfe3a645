#!/usr/bin/env python3
"""What is told about placement is true: our view of the machine agrees with libnuma's, the report's nodes and
scripts/umalloc-numa with what a program of one pinned thread a processor must have, and with each other.

    test_view.py LIBRARY PROGRAM                            scripts/umalloc-numa on this machine
    test_view.py LIBRARY PROGRAM TOPOLOGY KERNEL SETTING FILE...
                                                            the same in the lab, with SETTING of transparent huge pages, and
                                                            what else runs in this boot: unit tests (unit_*), and
                                                            placement.sh with its programs
"""
import base64
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "scripts")
UNUSABLE = 77
MEMORY = {"quad": {0, 1, 2, 3}, "cxl": {0, 1}, "memless": {0, 1, 3}, "dual": {0, 1}, "cpuset": {0, 1}, "uma": {0}}


def expect(held, what, detail=""):
    print(f"{'ok' if held else 'FAILED'}: {what}")
    if not held:
        sys.exit(str(detail))


def look(who, *options):
    run = subprocess.run([os.path.join(SCRIPTS, "umalloc-numa"), *options, str(who)], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


def total(found, key):
    return sum(row[key] for row in found["nodes"])


def check_sums(found, ready):
    """Every block was touched, and little else is in memory; no page is counted twice."""
    cpus, at, each = int(ready[1]), int(ready[2], 16), int(ready[3])
    wanted, has = cpus * each, total(found, "intended")
    expect(wanted <= has <= wanted * 1.1, f"{has} bytes in memory for {wanted} allocated")
    expect(total(found, "actual") == has, "each page is on one node")
    expect(total(found, "mapped") >= has and total(found, "huge") <= has, "mapped, huge")
    base = int(found["window"], 16)
    expect(base <= at < base + total(found, "mapped") + (1 << 34), "a block lies in the window")
    expect(0 < found["records"] < has, f"records {found['records']}")


def here(library, program):
    run = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env=dict(os.environ, LD_PRELOAD=library))
    plain = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with run, plain:
        ready = run.stdout.readline().split()
        plain.stdout.readline()
        status, out, err = look(run.pid, "--json")
        if "numa_maps" in err:
            print(f"skipped: {err.strip()}")
            sys.exit(UNUSABLE)
        expect(status == 0, "a preloaded program", err)
        check_sums(json.loads(out), ready)
        status, text, _ = look(run.pid)
        expect(status == 0 and re.search(r"^ +\d+ +[\d.]+ \w+", text, re.M), "the table", text)
        status, out, err = look(plain.pid)
        expect((status, out) == (3, "") and "no memory from umalloc" in err, "a program without umalloc")
    expect(look(run.pid)[0] == 1, "a process that ended")
    expect(look("/nonexistent")[0] == 2, "neither a number nor a folder")


def check_nodes(who, rows, nodes):
    used = {row["node"] for row in rows if row["actual"]}
    expect(used == nodes, f"{who}: memory on nodes {sorted(nodes)}", sorted(used))
    for row in rows:
        if row["intended"]:
            share = row["intended_at_home"] / row["intended"]
            expect(share >= 0.99, f"{who}: node {row['node']} has {share:.4f} of its memory")


def lab(library, program, topology, kernel, setting, *files):
    run = subprocess.run([os.path.join(SCRIPTS, "numa-lab"), topology, "--env", f"LIBRARY={os.path.basename(library)}",
                          "--kernel", kernel, "--kernel-args", f"transparent_hugepage={setting}", "--timeout", "560",
                          os.path.join(HERE, "view.sh"), program, library, *files], capture_output=True, text=True)
    tests = [name for name in files if os.path.basename(name).startswith("unit_")]
    if run.returncode == UNUSABLE:
        print(f"skipped: {run.stderr.strip()}")
        sys.exit(UNUSABLE)
    expect(run.returncode == 0, f"status of the lab {run.returncode}", run.stdout[:20000] + run.stderr)
    expect(len(re.findall(r"^[1-9]\d* tests, 0 failed$", run.stdout, re.M)) == len(tests), "all unit tests ran")
    print(run.stdout.partition("\nfile ")[0])
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for part in re.split(r"^file ", run.stdout, flags=re.M)[1:]:
            name, _, text = part.partition("\n")
            files[name] = base64.b64decode(text)
            with open(os.path.join(folder, name), "wb") as file:
                file.write(files[name])
        status, out, err = look(folder, "--json")
    expect(status == 0, "umalloc-numa on copies of the files", err)
    found, report, ready = json.loads(out), json.loads(files["report"]), files["output"].decode().split()
    check_sums(found, ready)
    nodes = MEMORY[topology]
    check_nodes("/proc", found["nodes"], nodes)
    if topology == "uma":
        expect(report["placement"] == {"nodes_with_memory": 1}, "one node is one line", report["placement"])
        return
    expect(report["placement"]["policy"] == "local", "the policy in force", report["placement"])
    check_nodes("report", report["nodes"], nodes)
    for row in report["nodes"]:
        other = next(r for r in found["nodes"] if r["node"] == row["node"])
        near = abs(row["actual"] - other["actual"]) <= other["actual"] / 20
        expect(near, f"node {row['node']}: the report and /proc agree", (row, other))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        lab(*sys.argv[1:])
    else:
        here(*sys.argv[1:3])
