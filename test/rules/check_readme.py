#!/usr/bin/env python3
"""The README's commands work as printed: each line of its ```sh blocks runs, in order, in a fresh copy of the tree.

scripts/check is what runs this test, so there it is asked for --help only, and scripts/run must be there as a command
of its own. Programs, the ```c blocks, are saved before under the name that their first comment begins with; what
`meson install` installed is then found as if it were in its place. Paths in links must exist too. The copy takes the place of a
clone: it holds what is not yet committed.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
PROGRAM = re.compile(r"^```c\n(/\* (\w+\.c)\b.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)#:]+)\)")
SECONDS_MAX = 600  # for one command; ends a hang


def commands(text):
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            line = line.split(" #")[0].strip()
            if line and not line.startswith(("#", "git clone ", "cd ")):
                yield line


def runnable(line):
    return re.sub(r"^scripts/check\b.*", "scripts/check --help", line)


def copy_tree(target):
    for name in tree.files():
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy2(os.path.join(tree.ROOT, name), path, follow_symlinks=False)


def save_programs(text, folder):
    for program, name in PROGRAM.findall(text):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(program)


def installed(destination):
    """Where compilers, pkg-config and the linker find what was installed below the destination."""
    for folder in glob.glob(destination + "/**/pkgconfig", recursive=True):
        return {"PKG_CONFIG_PATH": folder, "PKG_CONFIG_SYSROOT_DIR": destination, "LD_LIBRARY_PATH": os.path.dirname(folder)}
    return {}


def main():
    text = tree.read(tree.ROOT, "README.md")
    lines = list(commands(text))
    findings = [f"README.md links to {link}, which is missing" for link in LINK.findall(text)
                if not os.path.exists(os.path.join(tree.ROOT, link))]
    for wanted in ("scripts/run", "scripts/check"):
        if wanted not in lines:
            findings.append(f"README.md does not name the command {wanted}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("UMALLOC_", "LD_PRELOAD", "MESON"))}
    with tempfile.TemporaryDirectory() as copy:
        copy_tree(copy)
        environment["DESTDIR"] = os.path.join(copy, "build", "installed")  # for `meson install`
        save_programs(text, copy)
        for line in map(runnable, lines):
            print("+ " + line, flush=True)
            found = installed(environment["DESTDIR"])
            done = subprocess.run(["sh", "-ec", line], cwd=copy, env=environment | found, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS_MAX)
            if done.returncode:
                findings.append(f"{line}: exit status {done.returncode}\n{done.stdout[-4000:]}")
    return findings, len(lines)


if __name__ == "__main__":
    tree.finish(*main())
