"""What the rule checks share: the files of the tree, and one way to print findings and exit.

The files are those git tracks plus new ones it does not ignore, so a rule holds before the commit too; outside of a
git checkout (a release archive) it is every file but those of build folders.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(root=ROOT, suffixes=("",), under=("",)):
    """Sorted paths relative to root that end in one of the suffixes and lie below one of the folders."""
    git = ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if os.path.exists(os.path.join(root, ".git")):
        names = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
    else:
        names = walk(root)
    found = set()
    for name in names:
        if name.endswith(tuple(suffixes)) and name.startswith(tuple(under)):
            if os.path.isfile(os.path.join(root, name)):
                found.add(name)
    return sorted(found)


def walk(root):
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [d for d in subfolders if not d.startswith(("build", ".git", "__pycache__"))]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), root)


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def finish(findings, checked):
    """Prints the findings and exits: 1 if there are any, or if nothing was there to check."""
    for finding in findings:
        print(finding)
    print(f"{checked} checked, {len(findings)} findings")
    sys.exit(1 if findings or not checked else 0)
