#!/usr/bin/env python3
"""The parts of the benchmark driver that can be wrong without showing it: means, verdicts, the CSV, what counts as figures,
what a failing run leaves, the memory that a run is charged with.
"""
import contextlib
import io
import math
import os
import shutil
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench", "lib"))
import allocators
import pages
import pictures
import results
import runner
import tables
from case import Case
from results import Row, Run
from summary import Summary, geometric_mean

NAMES = ("glibc", "umalloc", "jemalloc", "mimalloc", "tcmalloc-minimal")
GLIBC = allocators.Allocator("glibc", "", "test")
ABOUT = {"date": "2026-01-02T03:04:05+00:00", "cpu": "a cpu: fast", "cpus": "2", "virtual": "no", "memory": "1 kB", "kernel": "6",
         "compiler": "cc", "transparent_hugepage": "never", "rounds": "3", "seed": "1", "pinning": "not pinned", "load": "0 0 0"}


def rows(case, times, peaks=None, group="small", heavy=True, series=None):
    """Three rounds of each allocator with times (a list of three, or one figure for all) by the order of NAMES."""
    made = []
    for at, name in enumerate(NAMES):
        for turn in range(3):
            time = times[at][turn] if isinstance(times[at], list) else times[at]
            figures = {"wall_s": 0.5, "cpu_s": 0.25, "peak_kib": (peaks or [1024] * 5)[at], "ns": time}
            made.append(Row(case, group, heavy, name, turn + 1, figures, {k: v[at] for k, v in (series or {}).items()}))
    return made


def run_of(*cases, failures=()):
    return Run(dict(ABOUT), {name: f"{name} 1.0" for name in NAMES}, [row for case in cases for row in case], list(failures))


def by_bar(run, start):
    return next(v for v in Summary(run).verdicts() if v.bar.startswith(start))


class Means(unittest.TestCase):
    def test_geometric_mean(self):
        self.assertAlmostEqual(geometric_mean([1, 2, 4]), 2)
        self.assertAlmostEqual(geometric_mean([0.5, 2]), 1)
        self.assertTrue(math.isnan(geometric_mean([])))

    def test_spread(self):
        self.assertEqual(results.spread([5]), results.Spread(5, 5, 5))
        self.assertEqual(results.spread([1, 2, 3, 4, 5]), results.Spread(2, 3, 4))

    def test_ratio_over_what_both_completed(self):
        run = run_of(rows("a", [10, 5, 10, 10, 10]), rows("b", [10, 20, 10, 10, 10]))
        self.assertAlmostEqual(Summary(run).mean_ratio("umalloc", "glibc", "time", "all"), 1)
        run.rows = [row for row in run.rows if (row.case, row.allocator) != ("b", "umalloc")]
        self.assertAlmostEqual(Summary(run).mean_ratio("umalloc", "glibc", "time", "all"), 0.5)

    def test_kinds(self):
        run = run_of(rows("a", [1] * 5), rows("b", [1] * 5, heavy=False), rows("c", [1] * 5, group="real"),
                     rows("d", [1] * 5, group="latency", heavy=False))
        summary = Summary(run)
        self.assertEqual([summary.cases(kind) for kind in ("heavy", "real", "all")], [["a", "c"], ["c"], ["a", "b", "c"]])
        self.assertIn("2 allocation-heavy cases, 1 real programs (1 of them allocation-heavy", tables.means(summary))


class Verdicts(unittest.TestCase):
    def test_best_single_peer(self):
        """mimalloc has the least mean although glibc is best in one case."""
        run = run_of(rows("a", [10, 8, 40, 20, 40]), rows("b", [100, 8, 40, 5, 40]))
        verdict = by_bar(run, "time: geometric mean of heavy")
        self.assertEqual((verdict.figure, verdict.holds), ("0.800 (mimalloc)", True))
        worse = by_bar(run_of(rows("a", [10, 9.1, 40, 10, 40])), "time: geometric mean of heavy")
        self.assertIs(worse.holds, False)

    def test_nothing_to_judge(self):
        run = run_of(rows("a", [1] * 5))
        run.rows = [row for row in run.rows if row.allocator == "umalloc"]
        self.assertEqual({verdict.holds for verdict in Summary(run).verdicts()}, {None})

    def test_no_bar_is_met_with_a_failed_case(self):
        """Whether another allocator completed the case, or umalloc failed a later round only."""
        for failures, keep, count in ((["a under umalloc: why"], lambda row: row.case != "a", "1 case"),
                                      (["a under umalloc: why"], lambda row: True, "1 case"),
                                      (["a under umalloc: x", "b: c under umalloc: y"], lambda row: row.round == 1, "2 cases")):
            run = run_of(rows("a", [10, 5, 40, 20, 40]), rows("b", [10, 5, 40, 20, 40]), failures=failures)
            run.rows = [row for row in run.rows if keep(row)]
            verdicts = Summary(run).verdicts()
            self.assertEqual({verdict.holds for verdict in verdicts}, {False})
            self.assertTrue(all(verdict.figure.endswith(f"; umalloc failed {count}") for verdict in verdicts), verdicts)
        others = run_of(rows("a", [10, 5, 40, 20, 40]), failures=["a under jemalloc: ended under umalloc: why"])
        self.assertIs(by_bar(others, "time: geometric mean of heavy").holds, True)

    def test_lost_case_beyond_the_spread(self):
        clear = by_bar(run_of(rows("a", [10, [10.8, 11, 11.2], 20, 20, 20])), "time: no case")
        self.assertEqual((clear.holds, clear.cases), (False, ("a 1.10 (glibc)",)))
        near = by_bar(run_of(rows("a", [10, 10.4, 20, 20, 20])), "time: no case")
        self.assertEqual((near.holds, near.cases), (True, ()))
        noisy = by_bar(run_of(rows("a", [[9, 10, 14], [9, 11, 12], 20, 20, 20])), "time: no case")
        self.assertEqual((noisy.holds, noisy.cases), (True, ("a 1.10 (glibc, within the spread)",)))
        once = run_of([row for row in rows("a", [10, 11, 20, 20, 20]) if row.round == 1])
        self.assertEqual((by_bar(once, "time: no case").holds, by_bar(once, "time: no case").cases), (None, ("a 1.10 (glibc)",)))

    def test_memory(self):
        run = run_of(rows("a", [1] * 5, [100, 120, 200, 110, 300]))
        self.assertEqual(by_bar(run, "memory: geometric mean of all cases <= 1.00").figure, "1.091 (mimalloc)")
        self.assertIs(by_bar(run, "memory: geometric mean of all cases <= 1.10").holds, False)
        self.assertIs(by_bar(run, "memory: no case").holds, True)  # the median peer has 155
        fat = run_of(rows("a", [1] * 5, [100, 200, 200, 110, 300]))
        self.assertEqual(by_bar(fat, "memory: no case").cases, ("a 1.29",))

    def test_latency(self):
        def run(*ours):
            made = rows("a steady set", [1] * 5, group="latency", heavy=False)
            for row in made:
                values = ours if row.allocator == "umalloc" else (10, 20, 30, 40, 50)
                row.figures |= dict(zip(("malloc_p50", "malloc_p99", "malloc_p99.9", "malloc_p99.99", "malloc_max"), values))
            return by_bar(run_of(made), "latency")
        self.assertIs(run(9, 20, 30, 40, 900).holds, True)  # the maximum has no bar
        verdict = run(10, 21, 30, 41, 50)
        self.assertEqual((verdict.holds, verdict.figure), (False, "2 of 4 above"))
        self.assertEqual(verdict.cases[0], "a steady set, malloc p99: 21 ns (glibc 20 ns)")


class Files(unittest.TestCase):
    def test_round_trip(self):
        run = run_of(rows("tight 64, 2 threads", [1.5, 2, 3, 4, 5e-7],
                          series={"rss_mib": [[(0, 1.5), (0.25, 7)]] * 5}), failures=["x under y: ended with: z, \"q\""])
        run.rows[0].figures |= {"ops": 123456789, "tries": 0}
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(results.kept(folder), [])
            path = results.write(folder, run)
            self.assertEqual(path, os.path.join(folder, "suite-20260102T030405.csv"))
            self.assertEqual(results.kept(folder), [path])
            self.assertEqual(sorted(os.listdir(folder)), ["suite-20260102T030405.csv", "suite-20260102T030405.series.csv"])
            self.assertEqual(results.read(path), run)

    def test_a_file_that_is_not_whole_has_another_name(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(ZeroDivisionError), results.whole_file(os.path.join(folder, "suite-1.csv")) as out:
                out.write("case\n")
                raise ZeroDivisionError
            self.assertEqual(results.kept(folder), [])

    def test_pages_pass_over_what_is_no_full_run(self):
        """Quick runs, a few allocators, a few cases, files that are cut or lack the other."""
        def full(date, **about):
            made = run_of(*(rows(f"case of {group}", [1] * 5, group=group) for group in pages.GROUPS))
            made.versions = {name: "1.0" for name in allocators.DEFAULT}
            made.about |= {"date": date, "kind": "full"} | about
            return made

        def cut(path, size):
            os.truncate(path, os.path.getsize(path) - size)
        with tempfile.TemporaryDirectory() as root:
            folder = os.path.join(root, pages.RESULTS)
            wanted, fewer, part = full("2026-01-01"), full("2026-01-03"), full("2026-01-04")
            del fewer.versions["tbbmalloc"]
            part.rows = [row for row in part.rows if row.group != "real"]
            for run in (wanted, fewer, part, full("2026-01-02", kind="quick"), full("2026-01-02T1", kind="part")):
                results.write(folder, run)
            cut(results.write(folder, full("2026-01-05")), 1)
            cut(results.write(folder, full("2026-01-06")), 20)
            os.remove(results.write(folder, full("2026-01-07")).replace(".csv", results.SERIES_SUFFIX))
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                self.assertEqual(pages.newest_run(root), wanted)
            whys = [line.partition(".csv: ")[2] for line in said.getvalue().splitlines()]
            for why, start in zip(whys, ("it is not whole: [Errno 2]", "it is not whole: ", "it is not whole: its last line is cut",
                                         "it lacks cases of real", "it lacks tbbmalloc", "its kind is part", "its kind is quick"),
                                  strict=True):
                self.assertTrue(why.startswith(start), whys)
            os.remove(os.path.join(folder, "suite-20260101.csv"))
            with contextlib.redirect_stderr(said):
                self.assertIsNone(pages.newest_run(root))

    def test_pages(self):
        run = run_of(rows("a", [2, 1, 3, 4, 5]), rows("t, 2 threads", [1] * 5, group="threads"),
                     rows("t, 4 threads", [1] * 5, group="threads", series={"rss_mib": [[(0, 1), (1, 2)]] * 5}))
        summary = Summary(run)
        text = pages.renew("before\n<!-- measured: begin. Why. -->\nold\n<!-- measured: end -->\nafter\n",
                           pages.page_text(run, summary))
        self.assertTrue(text.startswith("before\n<!-- measured: begin. Why. -->\n"))
        self.assertTrue(text.endswith("<!-- measured: end -->\nafter\n"))
        self.assertNotIn("old", text)
        self.assertIn("| a | 2.0 ns | 0.50 ±0.00 | 1.50 ±0.00 |", text)
        self.assertIn("| **umalloc** |", pages.readme_text(run, summary))
        self.assertEqual([p.name for p in pictures.pictures(summary)],
                         ["means", "time", "peak-memory", "scaling", "t-4-threads"])
        self.assertRaises(ValueError, pages.renew, "no markers", "text")

    def test_failed_case_is_shown(self):
        run = run_of(rows("a", [2, 1, 3, 4, 5]))
        run.rows = [row for row in run.rows if row.allocator not in ("glibc", "mimalloc")]
        self.assertIn("| failed |", tables.whole(run, Summary(run)))


class Selections(unittest.TestCase):
    """Any choice of cases and allocators, with failures, has its tables and its plots."""

    def of(self, keep):
        steps = {"malloc_ns": [[(0, 1), (50, 2), (99.9, 7), (100, 9)]] * 5}
        run = run_of(rows("a", [2, 1, 3, 4, 5]), rows("t, 2 threads", [1] * 5, heavy=False, group="threads"),
                     rows("t, 8 threads", [1] * 5, group="threads", series={"rss_mib": [[(0, 1), (1, 2)]] * 5}),
                     rows("l", [1] * 5, group="latency", heavy=False, series=steps), failures=["a under b: c"])
        run.rows = [row for row in run.rows if keep(row)]
        run.versions = {name: "1.0" for name in NAMES if any(row.allocator == name for row in run.rows)}
        return run, Summary(run)

    choices = {
        "all": lambda row: True,
        "latency alone": lambda row: row.group == "latency",
        "light cases alone": lambda row: row.case == "t, 2 threads",
        "one allocator": lambda row: row.allocator == "umalloc",
        "not ours": lambda row: row.allocator != "umalloc",
        "no base": lambda row: row.allocator != "glibc",
        "base fails a case": lambda row: (row.allocator, row.case) != ("glibc", "a"),
        "ours fails a case": lambda row: (row.allocator, row.case) != ("umalloc", "t, 8 threads"),
        "nothing": lambda row: False,
    }

    def test_tables(self):
        for name, keep in self.choices.items():
            with self.subTest(name):
                run, summary = self.of(keep)
                tables.whole(run, summary)
                pages.page_text(run, summary)
                pages.readme_text(run, summary)

    def test_plots(self):
        try:
            import plots
        except ImportError:
            self.skipTest("no matplotlib for this interpreter")
        for name, keep in self.choices.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                _, summary = self.of(keep)
                plots.draw(summary, folder)
                wanted = {f"{picture.name}.{suffix}" for picture in pictures.pictures(summary) for suffix in ("svg", "png")}
                self.assertEqual(set(os.listdir(folder)), wanted)


class Preloads(unittest.TestCase):
    """No allocator is measured that would not serve malloc."""
    library = os.environ["UMALLOC_LIB"]

    def refused(self, *texts):
        """(status, message) of a command line that names these allocators."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as end:
            allocators.chosen(texts)
        code = end.exception.code
        return (code, said.getvalue().strip()) if isinstance(code, int) else (1, code)

    def test_what_serves(self):
        (base,), _ = allocators.served_by("")
        self.assertTrue(os.path.basename(base).startswith("libc."), base)
        self.assertEqual([(lib.name, lib.path) for lib in allocators.chosen(["glibc", f"x={self.library}"])],
                         [("glibc", ""), ("x", os.path.abspath(self.library))])

    def test_what_does_not_serve(self):
        (base,), _ = allocators.served_by("")
        status, why = self.refused("x=" + os.path.join(ROOT, "README.md"))
        self.assertEqual(status, 1)
        self.assertRegex(why, r"^x: .*README\.md has malloc or free from .*libc.*cannot be preloaded")
        self.assertRegex(self.refused(f"x={base}")[1], "^x: .* has malloc or free from ")  # a library, but no other malloc

    def test_path_that_the_loader_would_split(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a b", "a:b", "a$ORIGIN"):
                path = os.path.join(folder, name, "lib.so")
                os.mkdir(os.path.dirname(path))
                shutil.copy(self.library, path)
                found, = allocators.chosen([f"x={path}"])
                self.assertEqual(os.path.realpath(found.path), os.path.realpath(path))
                self.assertEqual(allocators.served_by(found.path)[0], {found.path})

    def test_names(self):
        for text, why in ((f"={self.library}", "no name"), (f"a|b={self.library}", "no name"), (f"a b={self.library}", "no name"),
                          (f"a,b={self.library}", "no name"), (f"glibc={self.library}", "another name"), ("nosuch", "known are"),
                          ("x=/nonexistent", "no library")):
            status, said = self.refused(text)
            self.assertEqual((status, said.count("\n")), (2, 0), said)
            self.assertIn(why, said)
        self.assertIn("the name x is taken", self.refused(f"x={self.library}", f"x={self.library}")[1])


class Runs(unittest.TestCase):
    """Real runs of tiny commands, by the launcher."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.runner = runner.Runner(cls.folder.name)

    def run_one(self, text, group="small", **more):
        case = Case("case", group, lambda work: None, lambda work, quick: ["sh", "-c", text], **more)
        return self.runner.run(case, GLIBC, True)

    def test_figures(self):
        figures, series = self.run_one("echo ns 2.5; echo malloc_16-64_p99.9 7; echo series rss_mib 0 1; echo series rss_mib 1 2")
        self.assertEqual((figures["ns"], figures["malloc_16-64_p99.9"], series), (2.5, 7, {"rss_mib": [(0, 1), (1, 2)]}))
        self.assertGreater(figures["wall_s"], 0)

    def test_what_is_no_figure(self):
        for line in ("ns fast", "ns nan", "ns 1 2", "done."):
            self.assertRaises(runner.Failure, self.run_one, f"echo {line}")
        self.assertNotIn("ns", self.run_one("echo done.; echo ns 1", group="real")[0])

    def test_failures(self):
        with self.assertRaisesRegex(runner.Failure, "exit status 3: why"):
            self.run_one("echo ns 1; echo why >&2; exit 3")
        with self.assertRaisesRegex(runner.Failure, "exit status 137"):
            self.run_one("kill -9 $$")
        with self.assertRaisesRegex(runner.Failure, "does not print cpu_s, peak_kib"):
            self.run_one("echo seconds 1", script=True)

    def test_preload_reaches_the_right_process(self):
        other = allocators.Allocator("other", os.environ["UMALLOC_LIB"], "test")
        say = 'echo preloaded ${LD_PRELOAD:+1}${LD_PRELOAD:-0} | cut -c 1-11; echo named ${#BENCH_PRELOAD}'
        for script in (False, True):
            case = Case("case", "small", lambda work: None,
                        lambda work, quick: ["sh", "-c", f"{say}; echo seconds 1; echo cpu_s 1; echo peak_kib 1"], script=script)
            figures, _ = self.runner.run(case, other, True)
            self.assertEqual(figures["preloaded"], 0 if script else 1)
            self.assertEqual(figures["named"], len(other.path) if script else 0)

    def test_peak_is_the_program_s_own(self):
        ballast = bytearray(64 << 20)
        ballast[::4096] = b"x" * len(ballast[::4096])
        self.assertLess(self.run_one("true")[0]["peak_kib"], 16 << 10)

    def test_order_is_shuffled_and_repeatable(self):
        libs = [allocators.Allocator(name, "", "") for name in NAMES]
        case = Case("case", "small", None, None)
        orders = [[lib.name for lib in runner.order(1, turn, case, libs)] for turn in range(20)]
        self.assertEqual(orders, [[lib.name for lib in runner.order(1, turn, case, libs)] for turn in range(20)])
        self.assertGreater(len({tuple(order) for order in orders}), 10)
        self.assertTrue(all(sorted(order) == sorted(NAMES) for order in orders))

    def test_time_left(self):
        """What ran in full counts as it was; what ran short only, by what full runs took over short ones."""
        a, b = (Case(name, "small", None, None) for name in "ab")
        progress = runner.Progress(6)
        progress.book(("a", "glibc"), 1, full=False)
        progress.book(("b", "glibc"), 2, full=False)
        progress.book(("a", "glibc"), 10, full=True)
        self.assertEqual(progress.left([(1, b, GLIBC), (2, a, GLIBC), (2, b, GLIBC)]), 20 + 10 + 20)

    def test_a_failed_run_is_not_repeated(self):
        tries = os.path.join(self.folder.name, "tries")
        case = Case("case", "small", None, lambda work, quick: ["sh", "-c", f"echo x >>{tries}; exit 1"])
        rows_made, failures = runner.measure(self.runner, [case], [GLIBC], 3, 1, quick=True)
        with open(tries, encoding="ascii") as file:
            self.assertEqual((rows_made, len(failures), len(file.readlines())), ([], 1, 1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
