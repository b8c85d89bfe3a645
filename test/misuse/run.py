"""Runs the corpus of misuse under allocators and levels, and keeps its table in docs/security.md true.

Usage: run.py LIBRARY PROGRAM --check PAGE     the columns of umalloc must be what they are on the page
       run.py LIBRARY PROGRAM --write PAGE     measures all columns and writes the table there
       run.py LIBRARY PROGRAM [NAME...]        prints how umalloc judges each program, or those named, with its words

A program is stopped if it dies by a signal after it said "armed", or if its mistake has no effect that it can see
(status 0: an impossible request answered with NULL, contents that read as zero). A cell of the table has a letter for
each size of a family that is stopped, in three runs out of three, and a dash for each that gets away. Peers that are not
installed keep their columns empty. A death must be a clear one for umalloc: one line of its own (and indented ones,
where stacks are known), or SIGSEGV or SIGBUS with nothing on stderr.
"""

import collections
import glob
import os
import re
import signal
import subprocess
import sys

BEGIN, END = "<!-- misuse: begin. Written by scripts/misuse-table. -->", "<!-- misuse: end -->"
SIZES = {"any": "x", "small": "s", "medium": "m", "large": "l", "64k": "1", "1m": "2", "64m": "3"}
LEVELS = ["off", "on", "full"]
PEERS = {"glibc": "", "jemalloc": "libjemalloc.so.2", "mimalloc": "libmimalloc.so.2",
         "tcmalloc-minimal": "libtcmalloc_minimal.so.4"}
RUNS = 3
CHANCE = {"off": 0, "on": 6, "full": 6} # cells that may differ: the hardened levels place blocks at random
LINE = re.compile(r"umalloc: [a-z_ ,]+: 0x[0-9a-f]+( \([^()]*\))? in thread \d+\n(umalloc:   [^\n]+\n)*")


def environment(library, level=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("UMALLOC_", "LD_", "MALLOC_"))}
    if library:
        env["LD_PRELOAD"] = library
    if level and level != "off":
        env["UMALLOC_HARDEN"] = level
    return env


def run(program, name, env):
    return subprocess.run([program, name], env=env, capture_output=True, text=True, errors="replace", timeout=120,
                          check=False)


def judge(done):
    """Whether the program was stopped; None if it never came to its mistake."""
    if not done.stdout.startswith("armed\n"):
        return None
    return done.returncode <= 0


def unclear(done):
    """What is wrong with the way in which umalloc ended a program, or None."""
    if done.returncode >= 0 or re.search(LINE.pattern + "$", done.stderr):
        return None
    if done.returncode in (-signal.SIGSEGV, -signal.SIGBUS) and not done.stderr:
        return None
    return "died with %s and said %r" % (signal.Signals(-done.returncode).name, done.stderr)


def column(program, names, env, ours):
    """For each program whether it is stopped in each of the runs. Stops at a program that does not work."""
    stopped = {}
    for name in names:
        stopped[name] = True
        for _ in range(RUNS):
            done = run(program, name, env)
            verdict = judge(done)
            if verdict is None:
                sys.exit("%s did not come to its mistake: status %d, %r" % (name, done.returncode, done.stderr))
            if ours and unclear(done):
                sys.exit("%s %s" % (name, unclear(done)))
            stopped[name] = stopped[name] and verdict
            if not stopped[name]:
                break
    return stopped


def has_level(library, level):
    """Whether the library knows it: an option or value that it does not know is complained about."""
    done = subprocess.run(["/bin/true"], env=environment(library, level), capture_output=True, text=True, check=False)
    return level == "off" or not done.stderr


def ours(library, program, names):
    return {"umalloc, " + level: column(program, names, environment(library, level), True)
            for level in LEVELS if has_level(library, level)}


def peers(program, names):
    columns = {}
    for name, file in PEERS.items():
        found = glob.glob("/usr/lib/*-linux-gnu/" + file) if file else [""]
        if found:
            columns[name] = column(program, names, environment(found[0]), False)
    return columns


def cells(stopped):
    """The cell of each family."""
    families = collections.OrderedDict()
    for name in stopped:
        family, size = name.rsplit("-", 1)
        families.setdefault(family, []).append(SIZES[size] if stopped[name] else "-")
    return {family: "".join(letters) for family, letters in families.items()}


def table(columns):
    rows = {title: cells(stopped) for title, stopped in columns.items()}
    families = list(next(iter(rows.values())))
    lines = ["| program | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    total = len(next(iter(columns.values())))
    lines.append("| **stopped of %d** | " % total + " | ".join(
        "**%d**" % sum(stopped.values()) for stopped in columns.values()) + " |")
    for family in families:
        lines.append("| %s | " % family.replace("_", " ") + " | ".join(
            "`%s`" % rows[title][family] for title in columns) + " |")
    return "\n".join(lines) + "\n"


def read_table(page):
    """Title to family to cell, as they stand on the page."""
    with open(page, encoding="utf-8") as f:
        text = f.read().split(BEGIN)[1].split(END)[0]
    rows = [[c.strip(" `*") for c in line.strip("|").split("|")] for line in text.split("\n") if line.startswith("|")]
    titles = rows[0][1:]
    return {title: {row[0]: row[1 + i] for row in rows[2:]} for i, title in enumerate(titles)}


def check(library, program, names, page):
    wrong = []
    on_page = read_table(page)
    for title, stopped in ours(library, program, names).items():
        column_of_page = on_page.get(title, {})
        differ = ["%s under %s: the page says %s, it is %s" % (family, title, column_of_page.get(family.replace("_", " ")), cell)
                  for family, cell in cells(stopped).items() if column_of_page.get(family.replace("_", " ")) != cell]
        if len(differ) > CHANCE[title.split(", ")[1]]:
            wrong += differ
        print("%s: %d of %d stopped" % (title, sum(stopped.values()), len(stopped)))
    print("\n".join(wrong))
    return 1 if wrong else 0


def write(library, program, names, page):
    columns = ours(library, program, names)
    columns.update(peers(program, names))
    with open(page, encoding="utf-8") as f:
        head, rest = f.read().split(BEGIN)
    with open(page, "w", encoding="utf-8") as f:
        f.write(head + BEGIN + "\n" + table(columns) + END + rest.split(END)[1])
    for title, stopped in columns.items():
        print("%-20s %d of %d" % (title, sum(stopped.values()), len(stopped)))
    return 0


def show(library, program, names):
    for level in LEVELS:
        if not has_level(library, level):
            continue
        for name in names:
            done = run(program, name, environment(library, level))
            verdict = {None: "BROKEN", True: "stopped", False: "got away"}[judge(done)]
            print("%-5s %-32s %-9s %4d %s" % (level, name, verdict, done.returncode, done.stderr.strip()))
    return 0


def main():
    library, program = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    if "--check" in sys.argv:
        return check(library, program, names, sys.argv[-1])
    if "--write" in sys.argv:
        return write(library, program, names, sys.argv[-1])
    return show(library, program, sys.argv[3:] or names)


if __name__ == "__main__":
    sys.exit(main())
