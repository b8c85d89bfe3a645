#!/usr/bin/env python3
"""Every header compiles alone and twice, without a warning: those of src/ as C17, the public ones also as strict C11 and
as C++17, those of C++ with exceptions and RTTI and without. The compilers are $CC and $CXX, or cc and c++.
"""

import os
import subprocess
import sys

import tree

WARNINGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
C = os.environ.get("CC", "cc").split()
CXX = os.environ.get("CXX", "c++").split()
INTERNAL = [C + ["-x", "c", "-std=gnu17"]]
PUBLIC = [
    C + ["-x", "c", "-std=gnu17"],
    C + ["-x", "c", "-std=c11", "-pedantic"],
    CXX + ["-x", "c++", "-std=c++17", "-pedantic"],
]
CXX_ONLY = [PUBLIC[-1], PUBLIC[-1] + ["-fno-exceptions", "-fno-rtti"]]


def compiles(compiler, folder, header):
    include = f'#include "{header}"\n'
    command = compiler + WARNINGS + ["-I", os.path.join(tree.ROOT, folder)]
    if folder == "src":
        command += ["-I", os.path.join(tree.ROOT, "include")]
    # A declaration of our own: an empty translation unit is not strict C.
    source = include + include + "extern int um_header_check;\n"
    done = subprocess.run(command + ["-"], input=source, capture_output=True, text=True)
    return done.returncode == 0, done.stderr


def main():
    findings, checked = [], 0
    for folder, suffix, compilers in (("src", ".h", INTERNAL), ("include", ".h", PUBLIC), ("include", ".hpp", CXX_ONLY)):
        for name in tree.files(suffixes=(suffix,), under=(folder + "/",)):
            header = os.path.relpath(name, folder)
            for compiler in compilers:
                checked += 1
                good, errors = compiles(compiler, folder, header)
                if not good:
                    findings.append(f"{name} with {' '.join(compiler)}:\n{errors}")
    return findings, checked


if __name__ == "__main__":
    tree.finish(*main())
