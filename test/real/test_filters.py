#!/usr/bin/env python3
"""sort --parallel, xz -T2 and zstd -T2 under the library: same bytes as without, and back to what went in."""
import random
import sys

from real import Real

LINES = 150_000


def main():
    real = Real(__doc__, ["sort", "xz", "zstd"])
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randrange(1, 12))) for _ in range(3000)]
    data = "\n".join(f"{rng.randrange(10**9)} {' '.join(rng.choices(words, k=rng.randrange(8)))}" for _ in range(LINES)).encode()
    # A small buffer makes sort write and merge runs, which is where it has threads.
    real.same("sort", ["sort", "--parallel=2", "-S", "4M", "-k2,2", "-k1,1n"], input=data)
    real.same("sort in memory", ["sort", "--parallel=2", "-S", "200M", "-u"], input=data)
    for packer, level in (("xz", ["-T2", "-3", "--block-size=2MiB"]), ("zstd", ["-T2", "-9", "-q"])):
        packed = real.same(f"{packer} packed", [packer, *level, "-c"], input=data)
        unpacked = real.same(f"{packer} unpacked", [packer, "-d", "-T2", "-c"] + (["-q"] if packer == "zstd" else []), input=packed)
        real.true(f"{packer} gave back what went in", unpacked == data)
    real.ran_under("sort", "xz", "zstd")
    real.end()


if __name__ == "__main__":
    sys.exit(main())
