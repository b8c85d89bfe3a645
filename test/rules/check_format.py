#!/usr/bin/env python3
"""Every C and C++ file is as clang-format with the tree's .clang-format leaves it. Version 14 is pinned: others break
lines elsewhere. `check_format.py --fix` formats instead.
"""

import shutil
import subprocess
import sys

import tree


def formatter():
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            if "version 14." in version:
                return name
    print("skipped: no clang-format of version 14")
    sys.exit(77)


def main(arguments):
    mode = ["-i"] if arguments == ["--fix"] else ["--dry-run", "-Werror", "--ferror-limit=1"]
    names = tree.files(suffixes=(".c", ".h", ".cc", ".cpp", ".hpp"))
    findings = []
    tool = formatter()
    for name in names:
        done = subprocess.run([tool] + mode + [name], cwd=tree.ROOT, capture_output=True, text=True)
        if done.returncode:
            findings.append(done.stderr.rstrip() or name)
    return findings, len(names)


if __name__ == "__main__":
    tree.finish(*main(sys.argv[1:]))
