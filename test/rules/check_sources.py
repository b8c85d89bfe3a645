#!/usr/bin/env python3
"""Every .c file of src/ is in the build exactly once, as the build itself says: a file that nobody compiles rots.
Usage: check_sources.py BUILD_FOLDER
"""

import collections
import json
import os
import sys

import tree


def main(build):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    times = collections.Counter()
    for entry in entries:
        path = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        if entry["output"].startswith("libumalloc"):  # tests compile their own objects
            times[os.path.relpath(path, tree.ROOT)] += 1
    names = tree.files(suffixes=(".c",), under=("src/",))
    findings = [f"{name}: compiled {times[name]} times" for name in names if times[name] != 1]
    return findings, len(names)


if __name__ == "__main__":
    tree.finish(*main(sys.argv[1]))
