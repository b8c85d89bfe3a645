"""The demonstration of scripts/run: one Python workload on the system's malloc and on umalloc, side by side.

Usage: demo.py LIBRARY. Runs take turns so that both meet the same machine; the figures are medians of five. Peak
memory is what the kernel counts for the child (ru_maxrss). PYTHONMALLOC=malloc sends every object to malloc.
"""

import os
import statistics
import sys
import time

TURNS = 5


def workload():
    """Documents parsed and printed, words counted, rows sorted: many small blocks of mixed life."""
    import json
    import random

    random.seed(1)
    rows = [{"id": i, "name": f"row {i}", "tags": [str(i * k) for k in range(6)], "score": random.random()}
            for i in range(30000)]
    for _ in range(3):
        text = json.dumps(rows)
        rows = json.loads(text)
        counts = {}
        for word in text.split():
            counts[word] = counts.get(word, 0) + 1
        rows.sort(key=lambda row: row["score"])
        random.shuffle(rows)
    chunks = [bytes(random.randrange(20000)) for _ in range(5000)]
    assert len(rows) == 30000 and counts and chunks


def run(library, stats):
    """Runs the workload once; returns (seconds, peak bytes)."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment["PYTHONMALLOC"] = "malloc"
    if library:
        environment["LD_PRELOAD"] = library
        environment["UMALLOC_STATS"] = stats
    start = time.monotonic()
    pid = os.posix_spawn(sys.executable, [sys.executable, os.path.abspath(__file__), "--workload"], environment)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"the workload failed with wait status {status}")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def main(library):
    print(f"== a Python workload ({sys.executable}), {TURNS} runs each, in turns", flush=True)
    allocators = {"system malloc": None, "umalloc": library}
    results = {name: [] for name in allocators}
    for _ in range(TURNS):
        for name, path in allocators.items():
            results[name].append(run(path, "off"))
    print(f"{'':15}{'seconds':>10}{'peak MiB':>12}")
    for name, runs in results.items():
        seconds, peak = (statistics.median(column) for column in zip(*runs))
        print(f"{name:15}{seconds:10.2f}{peak / 2**20:12.1f}")
    print("== the same once more, with the report that umalloc prints at exit", flush=True)
    run(library, "text")


if __name__ == "__main__":
    if sys.argv[1:] == ["--workload"]:
        workload()
    else:
        main(sys.argv[1])
