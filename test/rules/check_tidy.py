#!/usr/bin/env python3
"""clang-tidy over src/ has nothing to say. The checks are chosen in .clang-tidy; an exception is written beside the code
with its reason. Usage: check_tidy.py BUILD-FOLDER, whose compile_commands.json tells how the files are compiled.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import tree

PROGRAM = "clang-tidy-14"


def findings(build, name):
    done = subprocess.run([PROGRAM, "-p", build, "--quiet", name], cwd=tree.ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if "warning:" in line or "error:" in line]
    return said or ([f"{name}: {PROGRAM} failed: {done.stderr.strip()}"] if done.returncode else [])


def main(build):
    names = tree.files(suffixes=(".c",), under=("src/",))
    if not shutil.which(PROGRAM):
        print(f"skipped: no {PROGRAM} here (package {PROGRAM})")
        sys.exit(77)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda name: findings(build, name), names)
        return sorted({line for lines in said for line in lines}), len(names)


if __name__ == "__main__":
    tree.finish(*main(sys.argv[1]))
