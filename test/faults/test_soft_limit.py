#!/usr/bin/env python3
"""UMALLOC_SOFT_LIMIT: nothing fails beyond it, and what was freed beyond it goes back, though all other settings would
keep it; auto takes 90% of the limit of a real memory control group, which is made here, and keeps a program alive there
that dies without it. Usage: test_soft_limit.py LIBRARY BURST CHURN CASE
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

SKIP = 77
KEEP = {"UMALLOC_DECAY_MS": "86400000", "UMALLOC_DIRTY_MAX": "1T"}  # nothing goes back by itself
SLACK_KIB = 6 * 1024  # the program, libc, the allocator's records


def burst(mib, settings, before=None):
    """Resident KiB at the peak and at the end, and the report."""
    with tempfile.NamedTemporaryFile("r") as report:
        env = {**os.environ, "LD_PRELOAD": LIBRARY, "UMALLOC_LIB": LIBRARY, **KEEP, **settings}
        env |= {"UMALLOC_STATS": "json", "UMALLOC_STATS_FILE": report.name}
        done = subprocess.run([PROGRAM, str(mib)], env=env, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=before)
        return [int(n) for n in done.stdout.split()], json.load(report)


def fixed():
    (peak, end), report = burst(200, {})
    assert end > 190 * 1024 and report["counters"]["soft_limit_hits"] == 0, f"without a limit {end} KiB of {peak} stay"
    (peak, end), report = burst(200, {"UMALLOC_SOFT_LIMIT": "64M"})
    assert peak > 200 * 1024 - SLACK_KIB, f"peak {peak} KiB"
    assert end < 64 * 1024 + SLACK_KIB, f"{end} KiB stay beyond 64 MiB"
    assert report["counters"]["soft_limit_hits"] > 0, report["counters"]
    assert report["counters"]["failed_allocs"] == 0, report["counters"]
    print(f"64 MiB: {peak} KiB at the peak, {end} KiB at the end")


def make_group(limit):
    """The folder of a new memory control group, or the reason why there is none."""
    for folder, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = f"{folder}/umalloc-test-{os.getpid()}"
        try:
            os.mkdir(group)
        except OSError as error:
            reason = f"{group}: {error.strerror}"
            continue
        try:
            with open(f"{group}/{name}", "w", encoding="ascii") as f:
                f.write(str(limit))
            return group, None
        except OSError as error:
            reason = f"{group}/{name}: {error.strerror}"
            os.rmdir(group)
    return None, reason


class Group:
    """A memory control group with a hard limit; the test is skipped where none can be made."""

    def __init__(self, limit):
        self.path, reason = make_group(limit)
        if not self.path:
            print(f"SKIP: no memory control group can be made here: {reason}")
            sys.exit(SKIP)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        os.rmdir(self.path)

    def enter(self):
        """For preexec_fn."""
        with open(f"{self.path}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(os.getpid()))


def automatic():
    with Group(300 << 20) as group:
        (peak, stays), _ = burst(285, {}, group.enter)
        assert stays > 280 * 1024, f"without a limit {stays} KiB of {peak} stay"
        (peak, end), report = burst(285, {"UMALLOC_SOFT_LIMIT": "auto"}, group.enter)
    assert report["options"]["soft_limit"]["value"] == "auto", report["options"]["soft_limit"]
    assert end < 270 * 1024 + SLACK_KIB < stays, f"{end} KiB stay beyond 90% of 300 MiB"
    assert report["counters"]["soft_limit_hits"] > 0, report["counters"]
    print(f"auto in a group of 300 MiB: {peak} KiB at the peak, {end} KiB at the end")


def churn():
    """Pinned memory keeps umalloc from moving what is free in pieces to where it is wanted, so it has to give it back."""
    env = {**os.environ, "LD_PRELOAD": LIBRARY, "UMALLOC_LIB": LIBRARY, **KEEP, "UMALLOC_PREFAULT": "1M"}
    with Group(96 << 20) as group:
        without, auto = (subprocess.run([CHURN, "64"], env=env | more, preexec_fn=group.enter, stdout=subprocess.PIPE,
                                        check=False)
                         for more in ({}, {"UMALLOC_SOFT_LIMIT": "auto"}))
    assert auto.returncode == 0, f"status {auto.returncode} with auto"
    print(f"status {without.returncode} without a limit, 0 with auto and {auto.stdout.decode().strip()} KiB at the end")
    with open("/proc/swaps", encoding="ascii") as swaps:
        swapless = len(swaps.readlines()) < 2
    assert without.returncode == -signal.SIGKILL or not swapless, "it lives without the limit too: nothing is shown"


if __name__ == "__main__":
    LIBRARY, PROGRAM, CHURN = sys.argv[1:4]
    {"fixed": fixed, "automatic": automatic, "churn": churn}[sys.argv[4]]()
