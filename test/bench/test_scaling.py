#!/usr/bin/env python3
"""The counting of bench/scaling.py counts, equally on every run, and umalloc's local path moves nothing between cores.

- pairs with two threads: the program alone must move a line for each block that it hands over, or nothing is seen;
- the same run twice: the same figures;
- churn with two threads: a lock that is taken is held for a while, or its end is not seen;
- local with four threads: no lock, next to no transfer and atomic instruction an operation; ordinary bounds that
  any sharing between threads on the local paths would break by far.
"""
import os
import platform
import shutil
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "bench"))
import scaling  # noqa: E402


class Scaling(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.work.cleanup)
        cls.program, _ = scaling.build(cls.work.name)

    def test_hand_over_is_seen(self):
        first, second = (scaling.count(self.program, "pairs", 2, 512) for _ in range(2))
        self.assertEqual(first, second)
        self.assertGreater(first["program transfers"], 1)
        self.assertGreater(first["transfers"], first["program transfers"])
        self.assertGreater(first["simulated ns"], first["transfers of the busiest line"] * scaling.counted.SIMULATED_NS)

    def test_held_locks_are_seen(self):
        found = scaling.count(self.program, "churn", 2, 256)
        for name in ("registry", "um_spaces[0]"):
            self.assertGreater(found[f"takes of {name}"], 0)
            self.assertGreater(found[f"ns held of {name}"], found[f"takes of {name}"])  # a nanosecond each at least

    def test_local_moves_nothing(self):
        found = scaling.count(self.program, "local", 4, 2048)
        self.assertLess(found["transfers"], 0.05)
        self.assertLess(found["atomics"], 0.05)
        self.assertEqual(found["lock takes"], 0)


if __name__ == "__main__":
    if platform.machine() != "x86_64":
        print(f"skipped: pauses and costs are those of x86-64, this is {platform.machine()}")
        sys.exit(77)
    for tool in ("gcc", "addr2line", "setarch"):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here")
            sys.exit(77)
    unittest.main()
