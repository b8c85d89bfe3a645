#!/usr/bin/env python3
"""git clones, collects and checks this repository, and one that it makes, under the library.

The sources may have come without their repository, and it may be small: the second one is built from the files of this
tree by commits with fixed dates, so its object names must be equal in both runs.
"""
import os
import random
import shutil
import subprocess
import sys

from real import Real

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMITS, FILES = 25, 120
WORDS = "span slab heap page block free list bin cache node batch purge decay fork thread class".split()


def make_repository(real, under):
    """A repository of many files over many commits; returns its folder and the name of its last commit."""
    folder = real.folder(f"made-{'under' if under else 'alone'}")
    real.run(["git", "init", "-q", "-b", "main"], under, cwd=folder)
    rng = random.Random(2)
    for commit in range(COMMITS):
        for _ in range(FILES if commit == 0 else 12):
            name = os.path.join(folder, f"d{rng.randrange(12)}", f"f{rng.randrange(FILES)}.txt")
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "a") as out:
                out.write("\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(rng.randrange(200))))
        when = f"{1700000000 + commit * 3600} +0000"
        real.run(["git", "add", "-A"], under, cwd=folder)
        real.run(["git", "commit", "-q", "-m", f"Step {commit}"], under, cwd=folder,
                 GIT_AUTHOR_DATE=when, GIT_COMMITTER_DATE=when)
    head = real.run(["git", "rev-parse", "HEAD"], under, cwd=folder).stdout
    return folder, head


def work(real, source, name, under):
    """Clone by the pack protocol, collect, check; what the clone then holds is the outcome."""
    clone = real.path(f"{name}-{'under' if under else 'alone'}")
    real.run(["git", "clone", "-q", "--no-local", source, clone], under)
    real.run(["git", "gc", "-q", "--aggressive", "--prune=now"], under, cwd=clone)
    real.run(["git", "fsck", "--full", "--strict"], under, cwd=clone)
    objects = real.run(["git", "rev-list", "--objects", "--all"], under, cwd=clone).stdout
    history = real.run(["git", "log", "-p", "--stat", "--all"], under, cwd=clone).stdout
    blame = real.run(["git", "grep", "-n", "-e", "free", "HEAD"], under, cwd=clone, want=None).stdout
    shutil.rmtree(clone)
    return objects, history, blame


def main():
    real = Real(__doc__.split("\n")[0], ["git"])
    with open(os.path.join(real.home, ".gitconfig"), "w") as config:
        config.write("[user]\nname = Test\nemail = test@example.com\n[safe]\ndirectory = *\n[pack]\nthreads = 2\n"
                     "[core]\nfsync = none\n[gc]\nauto = 0\n")
    made = {under: make_repository(real, under) for under in (False, True)}
    real.equal("last commit made", made[False][1], made[True][1])
    sources = {"made-clone": made[False][0]}
    if subprocess.run(["git", "rev-parse", "--verify", "-q", "HEAD"], cwd=ROOT, env=real.env(False),
                      capture_output=True).returncode == 0:
        # A copy first: somebody may commit between the runs.
        sources["own-clone"] = real.path("own.git")
        real.run(["git", "clone", "-q", "--mirror", ROOT, sources["own-clone"]], False)
    else:
        print("these sources have no repository: only the made one is cloned")
    for name, source in sources.items():
        outcomes = [work(real, source, name, under) for under in (False, True)]
        for what, alone, under in zip(("objects", "history", "grep"), *outcomes):
            real.equal(f"{name}: {what}", alone, under)
        real.true(f"{name} holds objects", len(outcomes[1][0]) > 1000)
    real.ran_under("git")
    real.end()


if __name__ == "__main__":
    sys.exit(main())
