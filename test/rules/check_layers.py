#!/usr/bin/env python3
"""Layers of src/: a file includes only its own layer or lower ones, by the name "layer/file.h"; never a .c file; and
the headers of the kernel interface only in os. `--self-test` plants each violation in a copy and expects to find it.
"""

import os
import re
import sys
import tempfile

import tree

LAYERS = ["base", "os", "conf", "space", "slab", "hard", "heap", "front", "ext"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
KERNEL_HEADERS = {"sys/mman.h", "sys/syscall.h", "linux/futex.h", "sys/auxv.h"}


def judge(layer, bracket, target):
    """Why this include breaks a rule, or None."""
    if target.endswith(".c"):
        return "includes a .c file"
    if bracket == "<":
        if target in KERNEL_HEADERS and layer != "os":
            return "only the os layer talks to the kernel"
        return None
    top, slash, _ = target.partition("/")
    if top == "umalloc" or not slash and target == "umalloc.h":
        return None  # the public headers, in include/
    if not slash or top not in LAYERS:
        return 'is not of the form "layer/file.h"'
    if LAYERS.index(top) > LAYERS.index(layer):
        return f"goes up, from {layer} to {top}"
    return None


def check(root):
    findings = []
    names = tree.files(root, (".c", ".h"), ("src/",))
    for name in names:
        layer = name.split("/")[1]
        if layer not in LAYERS or name.count("/") < 2:
            findings.append(f"{name}: not in a layer")
            continue
        text = tree.read(root, name)
        for match in INCLUDE.finditer(text):
            reason = judge(layer, match[1], match[2])
            if reason:
                line = text.count("\n", 0, match.start(2)) + 1
                findings.append(f"{name}:{line}: include of {match[2]}: {reason}")
    return findings, len(names)


def self_test():
    """Every planted violation is found, and the clean tree has none."""
    clean = {
        "src/base/base.h": "#include <stddef.h>\n",
        "src/heap/heap.c": '#include "base/base.h"\n#include "heap/heap.h"\n',
        "src/heap/heap.h": "",
        "src/os/os.c": "#include <sys/mman.h>\n",
    }
    planted = {
        "src/base/up.c": '#include "heap/heap.h"\n',
        "src/slab/indented.h": '  #  include "front/front.h"\n',
        "src/heap/local.c": '#include "heap.h"\n',
        "src/heap/dots.c": '#include "../base/base.h"\n',
        "src/heap/body.c": '#include "heap/heap.c"\n',
        "src/space/kernel.c": "#include <sys/mman.h>\n",
        "src/stray.c": "",
    }
    with tempfile.TemporaryDirectory() as root:
        for name, text in clean.items():
            write(root, name, text)
        findings, checked = check(root)
        assert not findings and checked == len(clean), findings
        for name, text in planted.items():
            write(root, name, text)
            findings, _ = check(root)
            assert len(findings) == 1 and findings[0].startswith(name), (name, findings)
            os.remove(os.path.join(root, name))
    print(f"{len(planted)} planted violations found")


def write(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        tree.finish(*check(tree.ROOT))
