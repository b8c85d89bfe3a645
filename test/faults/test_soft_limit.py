#!/usr/bin/env python3
"""UMALLOC_SOFT_LIMIT: nothing fails beyond it, and what was freed beyond it goes back, though all other settings would
keep it; auto takes 90% of the limit of a real memory control group, which is made here. Usage: test_soft_limit.py
LIBRARY PROGRAM CASE
"""

import json
import os
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


def automatic():
    group, reason = make_group(300 << 20)
    if not group:
        print(f"SKIP: no memory control group can be made here: {reason}")
        return SKIP

    def enter():
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as f:
            f.write(str(os.getpid()))

    try:
        (peak, stays), _ = burst(285, {}, enter)
        assert stays > 280 * 1024, f"without a limit {stays} KiB of {peak} stay"
        (peak, end), report = burst(285, {"UMALLOC_SOFT_LIMIT": "auto"}, enter)
    finally:
        os.rmdir(group)
    assert report["options"]["soft_limit"]["value"] == "auto", report["options"]["soft_limit"]
    assert end < 270 * 1024 + SLACK_KIB < stays, f"{end} KiB stay beyond 90% of 300 MiB"
    assert report["counters"]["soft_limit_hits"] > 0, report["counters"]
    print(f"auto in a group of 300 MiB: {peak} KiB at the peak, {end} KiB at the end")
    return 0


if __name__ == "__main__":
    LIBRARY, PROGRAM = sys.argv[1:3]
    sys.exit({"fixed": fixed, "automatic": automatic}[sys.argv[3]]())
