#!/usr/bin/env python3
"""Verifies a model exhaustively in a few small configurations, and requires that each seeded bug is found: a model
that finds nothing wrong with a wrong protocol proves nothing about the right one. Needs spin and a C compiler.
Usage: run_model.py MODEL [NAME]...  (remote, epoch or depot; of its runs below, all of them by default)
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_MIB = 3500

TRUE_RUNS = {
    "one slab, two owners, two freers": ["SLABS=1", "OPS=3", "FREES=2"],
    "two slabs": ["SLABS=2", "OPS=2", "FREES=1"],
    "a visitor of idle owners": ["SLABS=1", "OPS=3", "OPS2=2", "FREES=1", "VISITS=1"],
    "a busy owner": ["SLABS=1", "OPS=6", "OPS2=1", "FREES=1"],
    "parked heaps": ["PARK", "SLABS=1", "OPS=3", "OPS2=2", "FREES=1"],
    "parked heaps, two slabs": ["PARK", "SLABS=2", "OPS=2", "FREES=1"],
    "parked heaps and a visitor": ["PARK", "SLABS=1", "OPS=2", "FREES=1", "VISITS=1"],
}
SMALL = TRUE_RUNS["one slab, two owners, two freers"]
VISITED = TRUE_RUNS["a visitor of idle owners"]
BUG_RUNS = {
    "BUG_NO_TOKEN": SMALL,  # deliver does not look again after it found a closed stack and a changed word
    "BUG_NO_LOOK": SMALL,  # nobody looks at the orphan whose token has come in
    "BUG_GIVE_BACK_PENDING": SMALL,  # an orphan goes back while its token is out
    "BUG_EMPTY_PENDING": TRUE_RUNS["a busy owner"],  # an owner's slab does
    "BUG_NO_CLOSE": SMALL,  # an exit leaves the stack open
    "BUG_LATE_EMPTIES": SMALL,  # an exit gives empty slabs back after it made them orphans
    "BUG_WRONG_STACK": SMALL,  # drain takes every slab on its stack for its own
    "BUG_PURGE_UNCLAIMED": VISITED,  # pages go while their blocks are on the word
    "BUG_ORPHAN_NOT_BUSY": VISITED,  # an exit forgets that the pages are under way
    "BUG_PARKED_TWICE": TRUE_RUNS["parked heaps"],  # two threads take one parked heap
    "BUG_NO_EPOCH": SMALL,  # a word looks the same after the slab changed hands twice
}

EPOCH_RUNS = {
    "two sections, two writers": ["SECTIONS=2", "WRITERS=2", "WRITES=1"],
    "two readers": ["READERS=2", "SECTIONS=1", "WRITERS=1", "WRITES=2"],
    "two writes": ["SECTIONS=3", "WRITERS=1", "WRITES=2"],
    "sections with fences": ["FENCED", "SECTIONS=2", "WRITERS=2", "WRITES=1"],
    "hazard pointers": ["HAZARDS=2", "WRITERS=2", "WRITES=1"],
    "two hazard pointers": ["READERS=2", "HAZARDS=1", "WRITERS=1", "WRITES=2"],
    "hazard pointers with fences": ["FENCED", "HAZARDS=2", "WRITERS=2", "WRITES=1"],
}
SECTIONS = EPOCH_RUNS["two sections, two writers"]
EPOCH_BUGS = {
    "BUG_NO_ENTER": SECTIONS,  # a section leaves no trace
    "BUG_NO_ORDER": SECTIONS,  # who looks does not make others pass a fence
    "BUG_ORDER_AFTER_LOOK": SECTIONS,  # or too late
    "BUG_COUNT_AFTER_ORDER": SECTIONS,  # what is told to others covers what was closed after the fence
    "BUG_STAMP_BEFORE_UNLINK": SECTIONS,  # a batch is closed while one of its objects can be found
    "BUG_STAMP_IS_OLD": SECTIONS,  # readers that entered at the stamp's epoch are not waited for
    "BUG_NO_SECOND_LOOK": EPOCH_RUNS["hazard pointers"],  # a hazard pointer is taken for good at once
}
DEPOT_RUNS = {
    "two threads": ["OPS=5"],
    "three threads": ["THREADS=3", "OPS=3"],
}
DEPOT_BUGS = {
    "BUG_NO_COUNT": DEPOT_RUNS["two threads"],  # a magazine that went and came back is taken for one that stayed
    "BUG_LINK_LATE": DEPOT_RUNS["two threads"],  # a push shows the magazine before it leads to those below
}
MODELS = {
    "remote": (TRUE_RUNS, BUG_RUNS),
    "epoch": (EPOCH_RUNS, EPOCH_BUGS),
    "depot": (DEPOT_RUNS, DEPOT_BUGS),
}


def verify(model, defines, folder, optimise):
    """Compiles and runs the verifier; returns its output."""
    flags = ["-D" + d for d in defines]
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(["spin", "-a", *flags, os.path.join(HERE, model + ".pml")], cwd=folder, check=True, stdout=subprocess.PIPE)
    build = [optimise, "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan", "pan.c"]
    subprocess.run([*compiler, *build], cwd=folder, check=True)
    run = subprocess.run(["./pan", "-m100000"], cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    return run.stdout


def judge(model, name, defines, bug):
    with tempfile.TemporaryDirectory() as folder:
        out = verify(model, defines, folder, "-O0" if bug else "-O2")  # bugs are found before the compiler is done
    errors = re.search(r"errors: (\d+)", out)
    states = re.search(r"(\S+) states, stored", out)
    unfinished = re.search(r"max search depth too small|Search not completed|out of memory|reached -DMEMLIM", out)
    found = re.search(r"pan:\d+: (.*)", out)
    if not errors or not states:
        verdict = "FAILED: the verifier gave no result\n" + out
    elif bug:
        verdict = "found" if int(errors[1]) else "FAILED: not found"
    elif int(errors[1]):
        verdict = "FAILED: " + (found[1] if found else out)
    elif unfinished:
        verdict = "FAILED: not exhaustive: " + unfinished[0]
    else:
        verdict = "holds"
    print(f"{name}: {verdict} ({states[1] if states else 'no'} states)", flush=True)
    return not verdict.startswith("FAILED")


def main(model, *wanted):
    if not shutil.which("spin"):
        print("skipped: no spin here (package spin)")
        return 77
    true_runs, bug_runs = MODELS[model]
    runs = [(name, defines, False) for name, defines in true_runs.items()]
    runs += [(name, [*defines, name], True) for name, defines in bug_runs.items()]
    good = [judge(model, *run) for run in runs if not wanted or run[0] in wanted]
    print(f"{sum(good)} of {len(good)} as they should be")
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
