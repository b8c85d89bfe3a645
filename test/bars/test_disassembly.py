#!/usr/bin/env python3
"""The instructions of the local fast paths of malloc, free, sized delete and read sections, read off the library: how
many, and which.

    test_disassembly.py [--lib LIBRARY] [--update]

A local path is every way through the function's machine code, from its first instruction to a `ret`, that leaves it
neither by a call nor by a jump elsewhere: what is rare lives in functions of its own, so no such way is. The longest is
the figure, and above its bar the test fails. It also fails where such a path holds a locked instruction, an xchg or a
fence, or where there is none.

fast_paths.golden holds the listing, without addresses. A listing that differs is printed as a diff, for the reader of
the change to judge; it does not fail, since another compiler may order instructions in another way. --update writes it.

The bars hold for gcc. clang 14 needs one instruction more for free (18): it is printed and not judged.
"""
import argparse
import difflib
import os
import platform
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from bars import Bars
from disassembly import compiler, disassembly, is_locked, symbols

GOLDEN = os.path.join(HERE, "fast_paths.golden")
BARS = {"malloc": 12, "free": 17, "_ZdlPvm": 21, "um_epoch_enter": 14, "um_epoch_leave": 13, "um_pool_alloc": 12,
        "um_pool_free": 13}
STEPS_MAX = 64  # a longer one, or a loop, is no fast path and above every bar


def normalised(instruction):
    """Without what another link changes: addresses, offsets into the library's data, names of targets."""
    text = re.sub(r"\s+", " ", instruction.split("#")[0]).strip()
    text = re.sub(r"-?0x[0-9a-f]+\(%rip\)", "DATA(%rip)", text)
    return re.sub(r"^(j\w+) .*", r"\1", text)


def local_paths(code, entry):
    """Every call-free way from the entry to a `ret` inside the function, as lists of instructions."""
    following = dict(zip(code, list(code)[1:]))
    function = code[entry][0]
    found, open_ways = [], [(entry, [])]
    while open_ways:
        at, way = open_ways.pop()
        name, instruction = code.get(at, ("", ""))
        if name != function or instruction.startswith(("call", "notrack", "ud2", "hlt")):
            continue
        way = way + [instruction]
        if len(way) > STEPS_MAX:
            return [way]
        if instruction.startswith("ret"):
            found.append(way)
            continue
        if jump := re.match(r"j(\w+)\s+([0-9a-f]+)\b", instruction):
            open_ways.append((int(jump[2], 16), way))
        if not re.match(r"jmp\b", instruction):
            open_ways.append((following.get(at), way))
    return found


def listing(paths):
    lines = []
    for name, path in paths.items():
        lines += [f"{name}: {len(path)} instructions"] + ["    " + normalised(i) for i in path]
    return lines


def compare(now):
    """Prints how the listing differs from the golden one."""
    with open(GOLDEN, encoding="utf-8") as f:
        golden = f.read().splitlines()
    diff = list(difflib.unified_diff(golden, now, "fast_paths.golden", "this library", lineterm=""))
    if diff:
        print("the listing has changed; test_disassembly.py --update takes it over:\n" + "\n".join(diff))
    else:
        print("the listing is the golden one")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lib", default=os.environ.get("UMALLOC_LIB"))
    parser.add_argument("--update", action="store_true", help="write the golden listing")
    args = parser.parse_args()
    if platform.machine() != "x86_64":
        print(f"skipped: the bars are x86-64 instructions, this is {platform.machine()}")
        return 77
    for tool in ("objdump", "nm", "readelf"):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here")
            return 77
    if not args.lib:
        parser.error("no library: give --lib or set UMALLOC_LIB")

    code, entries, by = disassembly(args.lib), symbols(args.lib), compiler(args.lib)
    bars = Bars(f"Instructions from the first one to ret, {by}{'' if by == 'gcc' else ' (no bars)'}")
    longest = {}
    for name, bar in BARS.items():
        paths = local_paths(code, entries[name])
        if not paths:
            bars.fail(f"{name} has no local path: every way through it calls or leaves")
            continue
        longest[name] = max(paths, key=len)
        bars.row(name, len(longest[name]), bar if by == "gcc" else None)
        for instruction in longest[name]:
            if is_locked(instruction) or re.match(r"[lms]fence", instruction):
                bars.fail(f"{name}'s local path has `{instruction}`")
    now = listing(longest)
    if args.update:
        with open(GOLDEN, "w", encoding="utf-8") as f:
            f.write("\n".join(now) + "\n")
    elif by == "gcc":
        compare(now)
    return bars.status()


if __name__ == "__main__":
    sys.exit(main())
