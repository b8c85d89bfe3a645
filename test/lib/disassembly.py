"""A library's instructions as objdump prints them, by address and by function."""
import re
import subprocess


def disassembly(lib):
    """{address: (function, instruction)} in the order of the addresses."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", lib], capture_output=True, text=True, check=True).stdout
    code, function = {}, ""
    for line in text.splitlines():
        if m := re.match(r"[0-9a-f]+ <(.*)>:", line):
            function = m[1]
        elif m := re.match(r"\s+([0-9a-f]+):\s+(.*)", line):
            code[int(m[1], 16)] = (function, m[2].strip())
    return code


def symbols(lib):
    """{name: address} of the dynamic functions that the library defines."""
    text = subprocess.run(["nm", "-D", "--defined-only", lib], capture_output=True, text=True, check=True).stdout
    return {name.split("@")[0]: int(address, 16) for address, kind, name in map(str.split, text.splitlines()) if kind in "TWi"}


def compiler(lib):
    """ "clang" or "gcc", as the library's comment says (the C runtime's own gcc objects are in it too)."""
    text = subprocess.run(["readelf", "-p", ".comment", lib], capture_output=True, text=True, check=True).stdout
    return "clang" if "clang version" in text else "gcc"


def is_locked(instruction):
    """An atomic read-modify-write: a lock prefix, or an xchg with memory, which implies it."""
    return re.search(r"\block\b|\bxchg\b.*\(", instruction) is not None
