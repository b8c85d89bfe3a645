#!/usr/bin/env python3
"""Every function of src/os that tells of a failure is one that tests make fail: a point of test/lib/os_faults.h."""

import re

import tree


def main():
    contract = "".join(tree.read(tree.ROOT, name) for name in tree.files(suffixes=(".h",), under=("src/os/",)))
    points = set(re.findall(r"^    X\((um_os_\w+),", tree.read(tree.ROOT, "test/lib/os_faults.h"), re.M))
    fallible = set(re.findall(r"^UM_HIDDEN (?:int|long) (um_os_\w+)\(", contract, re.M))
    findings = [f"src/os: {name} can fail and is no point of test/lib/os_faults.h" for name in fallible - points]
    findings += [f"test/lib/os_faults.h: {name} is no function of src/os that can fail" for name in points - fallible]
    return sorted(findings), len(fallible)


if __name__ == "__main__":
    tree.finish(*main())
