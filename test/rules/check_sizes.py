#!/usr/bin/env python3
"""Size and opening of source files: at most 800 lines a file and 60 a function, and a first comment that says what the
file is for. A longer one carries `long: reason` in a comment: a file in its first 30 lines, a function inside or in the
three lines above.

C functions are found by the format that check_format.py enforces: a body opens with a line that starts in column 0 and
ends with ") {" (or "{" alone), and closes with "}" in column 0. `--self-test` checks the finder itself.
"""

import ast
import re
import sys

import tree

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 60
REASON = re.compile(r"(/\*|//|#|\*)\s*long: \S+")
C_SUFFIXES = (".c", ".h", ".cc", ".cpp", ".hpp")


def c_functions(lines):
    """Yields (name, first, last): 0-based lines of every function body, signature line included."""
    first = None
    for i, line in enumerate(lines):
        if first is None:
            opens = re.match(r"[A-Za-z_\s].*\)[^;=]*\{$", line) or line == "{"
            continued = line.startswith(" ") and not signature_start(lines, i)
            if opens and not continued and not line.startswith(("struct ", "enum ", "union ", "#")):
                first = i
        elif line.startswith("}"):
            start = signature_start(lines, first) or first
            name = re.search(r"([\w:~]+)\s*\(", " ".join(lines[start : first + 1]))
            yield (name[1] if name else "?"), first, i
            first = None


def signature_start(lines, i):
    """The line in column 0 that a wrapped signature ending at line i began with; None if i continues something else."""
    while i > 0 and lines[i].startswith(" "):
        i -= 1
        if not re.match(r"[A-Za-z_ ].*[,(]$", lines[i]):
            return None
    return i


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno - 1, node.end_lineno - 1


def opening_missing(name, text, lines):
    if name.endswith(".py"):
        return not (ast.get_docstring(ast.parse(text)) or len(lines) > 1 and lines[1].startswith("# "))
    return not text.startswith(("/*", "//"))


def judge(name, text):
    lines = text.splitlines()
    if not lines:
        return
    if len(lines) > FILE_LINES_MAX and not REASON.search("\n".join(lines[:30])):
        yield f"{name}: {len(lines)} lines, more than {FILE_LINES_MAX}"
    if name.endswith(C_SUFFIXES + (".py",)) and opening_missing(name, text, lines):
        yield f"{name}:1: does not open with a comment that says what it is for"
    if name.endswith(C_SUFFIXES):
        functions = c_functions(lines)
    else:
        functions = python_functions(text) if name.endswith(".py") else ()
    for function, first, last in functions:
        length = last - first + 1
        if length > FUNCTION_LINES_MAX and not REASON.search("\n".join(lines[max(0, first - 3) : last])):
            yield f"{name}:{first + 1}: {function} has {length} lines, more than {FUNCTION_LINES_MAX}"


def self_test():
    body = "    x();\n" * 58
    long_body = "    x();\n" * 59
    cases = [
        ("/* a */\nint f(void) {\n" + body, 0),
        ("/* a */\nint f(void) {\n" + long_body, 1),
        ("/* a */\n/* long: a table */\nint f(void) {\n" + long_body, 0),
        ("/* a */\nTest(suite, name) {\n" + long_body, 1),
        ("/* a */\nstatic int f(int a,\n             int b) {\n" + long_body, 1),
        ("/* a */\nstatic int f(int a) __attribute__((cold))\n{\n" + long_body, 1),
        ("/* a */\nstatic struct s *f(int a) {\n    if (a) {\n" + long_body, 1),
        ("/* a */\nstatic const struct s a[] = {\n" + long_body, 0),
        ("/* a */\nstruct s {\n" + long_body, 0),
    ]
    for text, expected in cases:
        found = list(judge("a.c", text + "}\n"))
        assert len(found) == expected, (text[:60], found)
    assert len(list(judge("a.c", "int x;\n"))) == 1
    assert len(list(judge("a.c", "/* a */\n" + "int x;\n" * 800))) == 1
    assert not list(judge("a.c", "/* a */\n/* long: generated */\n" + "int x;\n" * 800))
    assert len(list(judge("a.py", '"""a"""\ndef f():\n' + "    pass\n" * 60))) == 1
    assert not list(judge("a.py", '"""a"""\ndef f():\n' + "    pass\n" * 59))
    print(f"{len(cases) + 5} cases hold")


def main():
    findings = []
    names = [n for n in tree.files() if n.endswith(C_SUFFIXES + (".py", ".sh")) or n.startswith(("scripts/", ".ci/"))]
    for name in names:
        findings += judge(name, tree.read(tree.ROOT, name))
    return findings, len(names)


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    else:
        tree.finish(*main())
