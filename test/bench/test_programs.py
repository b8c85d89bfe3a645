#!/usr/bin/env python3
"""The suite's own programs: every one prints figures, and notices an allocator that is wrong. Takes no time into account."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))
import own  # noqa: E402
import runner  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TAG, ZERO, CONTENT = "a block lost its tag", "calloc gave bytes that are not zero", "realloc lost what a block held"
# Where each mistake shows. Not in tight loops, which hold one block at a time.
NOTICES = {
    "twice": (TAG, ("lifo 64", "fifo 64", "random 1K", "replace 16-1K", "aligned 16-1K", "server 1K, 2 threads", "queue 1:1 64",
                    "exchange 1K, 2 threads", "sizes of gcc", "phases 32M", "burst 128M and decay",
                    "idle 64 threads, 1 of 16 blocks kept", "fork with a heap of 64M", "latency steady 16-1K")),
    "dirty": (ZERO, ("calloc 64", "calloc 16K")),
    "forgets": (CONTENT, ("realloc vectors 64K", "realloc append 64K")),
}


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.work, cls.cases = folder.name, {case.name: case for case in own.CASES}
        cls.library = os.path.join(cls.work, "broken.so")
        subprocess.run([*own.COMPILE, "-fPIC", "-shared", os.path.join(HERE, "broken.c"), "-o", cls.library], check=True)

    def run_case(self, case, **more):
        case.prepare(self.work)
        return subprocess.run(case.command(self.work, True), env=os.environ | more, capture_output=True, text=True)

    def test_every_case_prints_figures(self):
        for case in own.CASES:
            if case.missing and case.missing():
                continue
            with self.subTest(case.name):
                done = self.run_case(case)
                self.assertEqual(done.returncode, 0, done.stderr)
                figures, _ = runner.parse(done.stdout)
                self.assertTrue({"ns", "seconds"} & set(figures))
                self.assertGreater(figures["peak_kib"], 0)

    def test_a_wrong_allocator_is_noticed(self):
        for mistake, (message, names) in NOTICES.items():
            for name in names:
                with self.subTest(f"{mistake}: {name}"):
                    done = self.run_case(self.cases[name], LD_PRELOAD=self.library, BROKEN=mistake)
                    self.assertEqual((done.returncode, message in done.stderr), (1, True), done.stderr)


if __name__ == "__main__":
    unittest.main()
