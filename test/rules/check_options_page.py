#!/usr/bin/env python3
"""docs/options.md equals what scripts/options-page prints from the table in src/conf/options.h."""

import difflib
import os
import subprocess

import tree

PAGE = "docs/options.md"


def main():
    generator = os.path.join(tree.ROOT, "scripts", "options-page")
    wanted = subprocess.run([generator], check=True, capture_output=True, text=True).stdout
    have = tree.read(tree.ROOT, PAGE) if os.path.exists(os.path.join(tree.ROOT, PAGE)) else ""
    lines = difflib.unified_diff(have.splitlines(), wanted.splitlines(), PAGE, "scripts/options-page", lineterm="")
    findings = list(lines)
    if findings:
        findings.append(f"to renew it: scripts/options-page > {PAGE}")
    return findings, len(wanted.splitlines())


if __name__ == "__main__":
    tree.finish(*main())
