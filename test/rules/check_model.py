#!/usr/bin/env python3
"""The functions that the models of test/model say they mirror are defined in the files they name, and each seeded bug of
a model is one that run_model.py requires to be found: a model of what is no longer there proves nothing."""

import re

import tree

RUN = "test/model/run_model.py"


def mirrored(text):
    """(file, function) of each line "names   functions   file" of the opening comment."""
    opening = text[: text.index("*/")]
    for line in opening.splitlines():
        row = re.match(r"\s+[\w, ]+?\s{2,}([\w, ]+?)\s+(src/\S+\.c)$", line)
        for name in row[1].split(", ") if row else ():
            yield row[2], name


def main():
    findings, checked, bugs = [], 0, set()
    for model in tree.files(suffixes=(".pml",), under=("test/model/",)):
        text = tree.read(tree.ROOT, model)
        pairs = list(mirrored(text))
        checked += len(pairs)
        findings += [f"{model}: {file} defines no {name}" for file, name in pairs
                     if not re.search(rf"^[a-z].*\b{name}\(.*\{{$", tree.read(tree.ROOT, file), re.M)]
        bugs |= {(model, bug) for bug in re.findall(r"^#ifn?def (BUG_\w+)", text, re.M)}
    required = set(re.findall(r'^    "(BUG_\w+)":', tree.read(tree.ROOT, RUN), re.M))
    findings += [f"{model}: nobody requires that {bug} is found" for model, bug in sorted(bugs) if bug not in required]
    findings += [f"{RUN}: {bug} is no bug of a model" for bug in sorted(required - {bug for _, bug in bugs})]
    return findings, checked + len(bugs)


if __name__ == "__main__":
    tree.finish(*main())
