#!/usr/bin/env python3
"""The generated parts of docs/performance.md and README.md are what the newest full run in bench/results gives, and the plots
that they show are there. Plots are not compared: another version of matplotlib draws them otherwise.
"""

import difflib
import os
import re
import sys

import tree

sys.path.insert(0, os.path.join(tree.ROOT, "bench", "lib"))
import pages

IMAGE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


def main():
    wanted = pages.render(tree.ROOT, pages.newest_run(tree.ROOT))
    if not wanted:
        print(f"skipped: no rows of the suite in {pages.RESULTS} yet")
        sys.exit(77)
    findings = []
    for page, text in wanted.items():
        have = tree.read(tree.ROOT, page)
        findings += difflib.unified_diff(have.splitlines(), text.splitlines(), page, "scripts/bench --pages", lineterm="")
        folder = os.path.dirname(os.path.join(tree.ROOT, page))
        findings += [f"{page} shows {image}, which is missing" for image in IMAGE.findall(text)
                     if not os.path.exists(os.path.join(folder, image))]
    if findings:
        findings.append("to renew them: scripts/bench --pages")
    return findings, len(wanted)


if __name__ == "__main__":
    tree.finish(*main())
