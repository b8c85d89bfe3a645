#!/usr/bin/env python3
"""The functions that test/model/remote.pml says it mirrors are defined in the files it names, and each seeded bug of the
model is one that run_model.py requires to be found: a model of what is no longer there proves nothing."""

import re

import tree

MODEL = "test/model/remote.pml"


def mirrored(text):
    """(file, function) of each line "names   functions   file" of the opening comment."""
    opening = text[: text.index("*/")]
    for line in opening.splitlines():
        row = re.match(r"\s+[\w, ]+?\s{2,}([\w, ]+?)\s+(src/\S+\.c)$", line)
        for name in row[1].split(", ") if row else ():
            yield row[2], name


def main():
    text = tree.read(tree.ROOT, MODEL)
    pairs = list(mirrored(text))
    findings = [f"{MODEL}: {file} defines no {name}" for file, name in pairs
                if not re.search(rf"^[a-z].*\b{name}\(.*\{{$", tree.read(tree.ROOT, file), re.M)]
    run = tree.read(tree.ROOT, "test/model/run_model.py")
    bugs = set(re.findall(r"^#ifn?def (BUG_\w+)", text, re.M))
    required = set(re.findall(r'^    "(BUG_\w+)":', run, re.M))
    findings += [f"{MODEL}: nobody requires that {bug} is found" for bug in sorted(bugs - required)]
    findings += [f"test/model/run_model.py: {bug} is no bug of the model" for bug in sorted(required - bugs)]
    return findings, len(pairs) + len(bugs)


if __name__ == "__main__":
    tree.finish(*main())
