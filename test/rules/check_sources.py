#!/usr/bin/env python3
"""Every .c file of src/ is in the build exactly once, as the build itself says: a file that nobody compiles rots.
Usage: check_sources.py BUILD_FOLDER
"""

import collections
import json
import os
import sys

import tree


def core(name):
    """Whether a source is in both libraries as one object."""
    return not name.startswith("src/front/") or os.path.basename(name) in ("gather.c", "placement.c", "report.c", "harden.c")


def main(build):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    times = collections.defaultdict(set)
    for entry in entries:
        path = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        if entry["output"].startswith("libumalloc"):  # tests compile their own objects
            times[os.path.relpath(path, tree.ROOT)].add(os.path.dirname(entry["output"]))
    names = tree.files(suffixes=(".c",), under=("src/",))
    # What replaces malloc is compiled for the shared and for the static library, which differ before TLS exists.
    findings = [f"{name}: compiled {len(times[name])} times" for name in names
                if len(times[name]) != (1 if core(name) else 2)]
    return findings, len(names)


if __name__ == "__main__":
    tree.finish(*main(sys.argv[1]))
