#!/usr/bin/env python3
"""A machine with one node pays nothing for placement: of the kernel's calls about nodes each process makes at most one
get_mempolicy, which tells that there is one node, and opens no file about nodes.

    test_one_node.py LIBRARY
"""
import os
import re
import subprocess
import sys
import tempfile

SKIP = 77
ABOUT_NODES = ("get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "move_pages", "migrate_pages")
COMMANDS = (["true"], ["sh", "-c", ":"], [sys.executable, "-c", "pass"], ["sh", "-c", "true; ls / >/dev/null; exec cat /dev/null"])


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(SKIP)


def nodes():
    with open("/proc/self/status") as status:
        allowed = re.search(r"^Mems_allowed_list:\s*(\S+)", status.read(), re.M)
    return allowed[1] if allowed else "0"


def trace(library, command):
    """Of a command under preload: each process's calls, as (pid, name, text)."""
    with tempfile.NamedTemporaryFile("r") as log:
        run = subprocess.run(["strace", "-f", "-qq", "-e", f"trace={','.join(ABOUT_NODES)},open,openat,execve", "-o", log.name,
                              "-E", f"LD_PRELOAD={library}", *command], capture_output=True, text=True)
        if "ptrace" in run.stderr:
            skip(f"strace cannot trace here: {run.stderr.strip()}")
        calls = re.findall(r"^(\d+) +(\w+)\((.*)", log.read(), re.M)
    if run.returncode:
        sys.exit(f"FAILED: {command} ended with {run.returncode}: {run.stderr}")
    if not any(os.path.basename(library) in text for _, name, text in calls if name == "openat"):
        sys.exit(f"FAILED: {command} did not load {library}; so this test saw nothing")
    return calls


def judge(command, calls):
    findings, asked = [], {}
    for pid, name, text in calls:
        if name == "execve":
            asked[pid] = 0
        elif name == "get_mempolicy":
            asked[pid] = asked.get(pid, 0) + 1
        elif name in ABOUT_NODES or "/sys/devices/system/node" in text:
            findings.append(f"{name}({text}")
    findings += [f"process {pid} asked get_mempolicy {count} times" for pid, count in asked.items() if count > 1]
    print(f"{'FAILED' if findings else 'ok'}: {' '.join(command)}: get_mempolicy {sum(asked.values())}")
    for finding in findings:
        print("   ", finding)
    return not findings


def main(library):
    if not re.fullmatch(r"\d+", nodes()):
        skip(f"this machine has nodes {nodes()}")
    try:
        good = [judge(command, trace(library, command)) for command in COMMANDS]
    except FileNotFoundError:
        skip("no strace here; Debian's package is strace")
    sys.exit(not all(good))


if __name__ == "__main__":
    main(sys.argv[1])
