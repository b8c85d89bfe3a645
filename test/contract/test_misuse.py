"""Each misuse of free ends the process by SIGABRT and one line on stderr that names the kind and the address.

Usage: test_misuse.py LIBRARY MISUSE_PROGRAM. The program lists its cases; each must be in the table below, so a case
cannot drop out unseen. Kinds are compared as regular expressions on the whole line, ADDRESS standing for the pointer
that the case printed. Not judged: which frame called free, or what a debugger would show.
"""

import os
import re
import signal
import subprocess
import sys

DOUBLE = r"umalloc: double free: ADDRESS \(\d+-byte block, it is on the free list twice\)"
FREED = r"umalloc: double free: ADDRESS \(the memory is free\)"
ANY_DOUBLE = r"umalloc: double free: 0x[0-9a-f]+ \(\d+-byte block, [^()]+\)"
FOREIGN = r"umalloc: invalid free: ADDRESS \(not allocated by umalloc\)"
NOTHING = r"umalloc: invalid free: ADDRESS \((not allocated by umalloc|no block starts here)\)"
INTERIOR = r"umalloc: invalid free: ADDRESS \(\d+-byte block, not the start of a block\)"
MISMATCH = r"umalloc: mismatched sized free: ADDRESS \(%d-byte block, allocated with another size or alignment\)"
UNCUT = r"umalloc: invalid free: ADDRESS \(\d+-byte block, never handed out\)"
LARGE_INTERIOR = r"umalloc: invalid free: ADDRESS \(%d-byte block, not the start of the block\)"

EXPECTED = {
    "double_16": DOUBLE,
    "double_24": DOUBLE,
    "double_100": DOUBLE,
    "double_1000": DOUBLE,
    "double_8k": DOUBLE,
    "double_30k": DOUBLE,
    "double_100k": FREED,
    "double_1m": FREED,
    "double_64m": FREED,
    "double_lone": DOUBLE,
    "double_aligned": DOUBLE,
    "double_interleaved_48": ANY_DOUBLE,
    "double_interleaved_2k": ANY_DOUBLE,
    "double_late": ANY_DOUBLE,
    "double_warm_64": ANY_DOUBLE,
    "double_warm_1000": ANY_DOUBLE,
    "double_warm_interleaved_64": ANY_DOUBLE,
    "double_remote_then_local": ANY_DOUBLE,
    "double_local_then_remote": ANY_DOUBLE,
    "double_remote_large": FREED,
    "realloc_freed": r"umalloc: invalid realloc: ADDRESS \(64-byte block, it is free\)",
    "realloc_freed_large": FREED.replace("double free", "invalid realloc"),
    "usable_freed_large": FREED.replace("double free", "invalid malloc_usable_size"),
    "double_merged": FREED,
    "interior_freed": FREED.replace("double", "invalid"),
    "foreign_stack": FOREIGN,
    "foreign_static": FOREIGN,
    "foreign_constant": FOREIGN,
    "foreign_mapping": FOREIGN,
    "foreign_no_access": FOREIGN,
    "foreign_low": FOREIGN,
    "foreign_high": FOREIGN,
    "foreign_noncanonical": FOREIGN,
    "foreign_realloc": FOREIGN.replace("free", "realloc"),
    "foreign_never_given": NOTHING,
    "interior_small": INTERIOR,
    "interior_medium": INTERIOR,
    "interior_large": LARGE_INTERIOR % (300 * 1024),
    "interior_large_64k": LARGE_INTERIOR % (3 << 20),
    "interior_huge": LARGE_INTERIOR % (64 << 20),
    "interior_huge_realloc": (LARGE_INTERIOR % (64 << 20)).replace("invalid free", "invalid realloc"),
    "uncut_small": UNCUT,
    "uncut_medium": UNCUT,
    "double_handled": ANY_DOUBLE,
    "misaligned_1": INTERIOR,
    "misaligned_8": INTERIOR,
    "misaligned_large": LARGE_INTERIOR % (300 * 1024),
    "delete_less": MISMATCH % 112,
    "delete_more": MISMATCH % 112,
    "delete_medium": MISMATCH % 5120,
    "delete_large": MISMATCH % 102400,
    "delete_small_as_large": MISMATCH % 112,
    "delete_minus_one": MISMATCH % 112,
    "delete_warm": MISMATCH % 64,
    "delete_array": MISMATCH % 400,
    "delete_aligned": MISMATCH % 128,
    "delete_interior": INTERIOR,
    "delete_tail_elsewhere": INTERIOR,
    "free_sized_more": MISMATCH % 1024,
    "free_sized_aligned": MISMATCH % 256,
    "usable_freed": r"umalloc: invalid malloc_usable_size: ADDRESS \(64-byte block, it is free\)",
    "realloc_freed_warm": r"umalloc: invalid realloc: ADDRESS \(64-byte block, it is free\)",
    "double_empty_slab": r"umalloc: double free: ADDRESS \(5120-byte block, no block of its slab is in use\)",
    "double_looked_at": DOUBLE,
    "written_looked_at": r"umalloc: freed memory was written to: ADDRESS \(64-byte block, its free-list link is damaged\)",
}


def judge(name, done):
    """What is wrong with how a case ended, or None."""
    address, said = done.stdout.split("\n", 1)
    if name == "double_handled" and said != "handler\n":
        return "expected that the handler runs once"
    if done.returncode != -signal.SIGABRT:
        return "ended with status %d, expected death by SIGABRT" % done.returncode
    lines = done.stderr.splitlines()
    if len(lines) != 1:
        return "expected one line on stderr"
    pattern = EXPECTED[name].replace("ADDRESS", re.escape(address)) + r" in thread \d+"
    if not re.fullmatch(pattern, lines[0]):
        return "expected a line like %s" % pattern
    return None


def main():
    library, program = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    env = dict(os.environ, LD_PRELOAD=library, UMALLOC_LIB=library)
    listed = subprocess.run([program], env=env, capture_output=True, text=True, check=True).stdout.split()
    if sorted(listed) != sorted(EXPECTED):
        sys.exit("cases and table differ: %s" % sorted(set(listed) ^ set(EXPECTED)))
    failed = 0
    for name in listed:
        done = subprocess.run([program, name], env=env, capture_output=True, text=True, errors="replace", timeout=120)
        problem = judge(name, done)
        print("%-26s %s" % (name, "ok: " + done.stderr.strip() if not problem else "FAILED: " + problem))
        if problem:
            failed += 1
            print("    stdout: %r\n    stderr: %r" % (done.stdout, done.stderr))
    print("%d cases, %d failed" % (len(listed), failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
