#!/usr/bin/env python3
"""Two programs of our own: C++ with exceptions and threads, served by the library; a static one, which must not notice it.

    test_programs.py CXX_PROGRAM STATIC_PROGRAM
"""
import os
import sys

from real import Real


def main():
    real = Real(__doc__.split("\n")[0])
    cxx, static = real.programs
    out = real.same("C++", [cxx])
    real.true("it reached its end", out.endswith(b"done\n"))
    real.ran_under(os.path.basename(cxx))
    out = real.same("static", [static])
    real.true("it reached its end", out.endswith(b"done\n"))
    real.true("no report came from it", real.served(os.path.basename(static)) == 0)
    real.end()


if __name__ == "__main__":
    sys.exit(main())
