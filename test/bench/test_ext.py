#!/usr/bin/env python3
"""bench/ext.py as a user runs it. On made-up programs the ratios are known: they are the medians of the rounds' ratios, the
rows are kept and read back, and programs that break the rules end the run. Then every case of every real program runs for a
moment on all its backends. Usage: test_ext.py FOLDER-OF-PROGRAMS
"""
import glob
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DRIVER = os.path.join(ROOT, "bench", "ext.py")
sys.path.insert(0, os.path.join(ROOT, "bench", "lib"))
import counted  # noqa: E402

LINKED = """#!/bin/sh
case "$*" in
--list) printf 'take umalloc\\ntake malloc\\ntake apr\\nalone umalloc\\n' ;;
'take umalloc') echo 'ns_per_op=2 ops=10' ;;
'take malloc') echo 'ns_per_op=5 ops=10' ;;
'take apr') echo 'ns_per_op=60 ops=10' ;;
'alone umalloc') echo 'ns_per_op=1234.5 ops=10' ;;
*) exit 2 ;;
esac
"""
PLAIN = """#!/bin/sh
[ "$*" = --list ] && echo 'take malloc' || echo 'ns_per_op=7 ops=10'
"""
TABLE = """| case | umalloc, ns | umalloc's malloc | apr | glibc's malloc |
| --- | ---: | ---: | ---: | ---: |
| take | 2 | 2.5 | 30 | 3.5 |
| alone | 1234 | - | - | - |
"""


def driver(*args, want=0):
    done = subprocess.run([sys.executable, DRIVER, *args], capture_output=True, text=True)
    assert done.returncode == want, f"{args}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout if want == 0 else done.stderr


class MadeUp(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.folder = work.name

    def program(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        os.chmod(path, 0o755)

    def test_ratios_and_rows(self):
        self.program("ext_sample", LINKED)
        self.program("ext_sample_plain", PLAIN)
        said = driver("--quick", "--rounds", "3", "--programs", self.folder, "--results", self.folder)
        self.assertIn("### sample\n\n" + TABLE, said)
        about, versions, rows = counted.read(*glob.glob(self.folder + "/ext-*.csv"))
        self.assertEqual(about["rounds"], "3")
        self.assertIn("glibc", versions)
        self.assertEqual(len(rows), 3 * 5)
        self.assertIn(TABLE, counted.ext_text(rows))

    def test_quartiles(self):
        rows = [("f", "c", name, turn, ns) for turn, pair in enumerate([(10, 10), (10, 20), (10, 40)])
                for name, ns in zip(("umalloc", "apr"), pair)]
        self.assertIn("| c | 10 | 2 (1.5-3) |", counted.ext_text(rows))

    def test_program_that_breaks_the_rules(self):
        self.program("ext_sample", LINKED.replace("ns_per_op=60 ops=10", "ns_per_op=60"))
        self.assertIn("says 'ns_per_op=60\\n'", driver("--quick", "--programs", self.folder, want=1))
        self.program("ext_sample", LINKED.replace("'ns_per_op=60 ops=10' ;;", "broken; exit 3 ;;"))
        self.assertIn("ended with status 3", driver("--quick", "--programs", self.folder, want=1))
        self.program("ext_sample", LINKED)
        self.program("ext_sample_plain", PLAIN.replace("take malloc", "take apr"))
        self.assertIn("which it must not have", driver("--quick", "--programs", self.folder, want=1))
        driver("--quick", "--programs", self.folder, "nosuch", want=1)


class Real(unittest.TestCase):
    def test_all(self):
        if not glob.glob(PROGRAMS + "/ext_*"):
            self.skipTest("no programs were built")
        said = driver("--quick", "--programs", PROGRAMS)
        for path in glob.glob(PROGRAMS + "/ext_*_plain"):
            self.assertIn(f"### {os.path.basename(path)[len('ext_'):-len('_plain')]}\n", said)


if __name__ == "__main__":
    PROGRAMS = sys.argv.pop()
    unittest.main()
