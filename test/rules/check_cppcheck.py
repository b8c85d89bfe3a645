#!/usr/bin/env python3
"""cppcheck over src/ has nothing to say; an exception is written beside the code with its reason."""

import shutil
import subprocess
import sys

import tree

COMMAND = ["cppcheck", "--enable=warning,performance,portability", "--inline-suppr", "--std=c11", "--quiet", "-I", "src", "-I", "include",
           "--suppress=missingIncludeSystem", "--template={file}:{line}: {id}: {message}"]


def main():
    names = tree.files(suffixes=(".c",), under=("src/",))
    if not shutil.which("cppcheck"):
        print("skipped: no cppcheck here (package cppcheck)")
        sys.exit(77)
    done = subprocess.run([*COMMAND, *names], cwd=tree.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return done.stdout.splitlines(), len(names)


if __name__ == "__main__":
    tree.finish(*main())
