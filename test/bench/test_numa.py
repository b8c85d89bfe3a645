#!/usr/bin/env python3
"""bench/numa.py: what it reads out of the lab's output, and one quick run there.

- lines of the locality program become rows under the allocator that was announced before them;
- a quick run in the lab has a percentage for each range of sizes and allocator, keeps nothing unless told where, and
  then keeps what it showed;
- where the lab ends with a status, so does it.
"""
import csv
import glob
import io
import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "bench"))
import numa  # noqa: E402

UNUSABLE = 77
LIB = os.environ["UMALLOC_LIB"]
SIZES = {"small", "medium", "large", "huge"}


class Reading(unittest.TestCase):
    def test_rows_belong_to_who_was_announced(self):
        text = "= glibc,0\nring,small,4096,82.5,LOW\n= umalloc,1\nring,small,4000,100.0,ok\nring,huge,10,99.5,ok\n"
        self.assertEqual(list(numa.measured(text, "never")), [
            ("never", "small", "ring", "glibc", "0", 82.5), ("never", "small", "ring", "umalloc", "1", 100.0),
            ("never", "huge", "ring", "umalloc", "1", 99.5)])

    def test_a_failing_lab_is_not_hidden(self):
        given = mock.Mock(quick=True, rounds=1)
        failed = subprocess.CompletedProcess([], 125, stdout="lost")
        with tempfile.TemporaryDirectory() as work, mock.patch.object(numa.subprocess, "run", return_value=failed), \
                mock.patch("sys.stdout", io.StringIO()), self.assertRaises(SystemExit) as end:
            list(numa.run(work, "program", [], given))
        self.assertEqual(end.exception.code, 125)


class Lab(unittest.TestCase):
    def test_quick_run(self):
        with tempfile.TemporaryDirectory() as results:
            run = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "numa.py"), "--quick", "--allocator", "glibc",
                                  "--allocator", f"umalloc={LIB}", "--results", results], capture_output=True, text=True)
            if run.returncode == UNUSABLE:
                self.skipTest(run.stderr.strip())
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            kept = glob.glob(os.path.join(results, "numa-*.csv"))
            self.assertEqual(len(kept), 1)
            with open(kept[0], encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        self.assertEqual({(row["allocator"], row["sizes"]) for row in rows},
                         {(name, sizes) for name in ("glibc", "umalloc") for sizes in SIZES})
        for row in rows:
            self.assertEqual((row["pattern"], row["huge pages"]), ("fresh", "never"))
            self.assertGreaterEqual(float(row["percent"]), 99 if row["allocator"] == "umalloc" else 0, row)
            self.assertIn(f"| fresh | {row['sizes']} |", run.stdout)


if __name__ == "__main__":
    unittest.main()
