#!/usr/bin/env python3
"""The built library as the dynamic linker sees it: the exported names of the malloc family equal
exports.golden, those beginning with um_ are what the public headers declare, it needs libc only, it has
its SONAME, its static TLS leaves room for a dlopen (640 bytes), it binds at load, and no stack or text is made writable
code. Usage: check_exports.py LIBRARY
"""

import os
import re
import subprocess
import sys

import tree

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exports.golden")
TLS_BYTES_MAX = 640
NEEDED_ALLOWED = re.compile(r"libc\.so\.6|ld-linux[-\w]*\.so\.\d+")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared():
    """The functions and objects that the public headers say the library exports."""
    names = set()
    for header in tree.files(suffixes=(".h",), under=("include/",)):
        text = re.sub(r"/\*.*?\*/|^\s*#.*?(?<!\\)$", "", tree.read(tree.ROOT, header), flags=re.S | re.M)
        for declaration in re.findall(r"\bUM_API\b([^;{]*)", text):
            names.update(re.findall(r"\b(um_\w+)\s*(?:\(|$)", declaration)[:1])
    return names


def exported(library):
    return {line.split()[-1] for line in output("nm", "-D", "--defined-only", library).splitlines() if line}


def tls_bytes(program_headers):
    for line in program_headers.splitlines():
        fields = line.split()
        if fields and fields[0] == "TLS":
            return int(fields[5], 16)  # Type Offset VirtAddr PhysAddr FileSiz MemSiz Flg Align
    return 0


def main(library):
    findings = []
    with open(GOLDEN, encoding="ascii") as f:
        golden = set(f.read().split()) | declared()
    names = exported(library)
    findings += [f"not exported: {name}" for name in sorted(golden - names)]
    findings += [f"exported without leave: {name}" for name in sorted(names - golden)]

    dynamic = output("readelf", "-dW", library)
    for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not NEEDED_ALLOWED.fullmatch(needed):
            findings.append(f"needs {needed}")
    if re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) != ["libumalloc.so.0"]:
        findings.append("SONAME is not libumalloc.so.0")
    if not re.search(r"\(FLAGS_1\).*\bNOW\b", dynamic):
        findings.append("does not bind at load")
    if "TEXTREL" in dynamic:
        findings.append("has text relocations")

    headers = output("readelf", "-lW", library)
    if tls_bytes(headers) > TLS_BYTES_MAX:
        findings.append(f"static TLS is {tls_bytes(headers)} bytes, more than {TLS_BYTES_MAX}")
    if re.search(r"^\s*GNU_STACK\s.*\bRWE\b", headers, re.M):
        findings.append("asks for an executable stack")
    return findings, len(names)


if __name__ == "__main__":
    tree.finish(*main(sys.argv[1]))
