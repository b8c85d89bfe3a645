"""Runs cases under allocators: interleaved, so that what else happens on the machine hits all alike.

Each round runs every case once under every allocator, in an order that a seed shuffles anew for each case and round. A run
that fails is not repeated; it is reported and leaves the case without that allocator.
"""
import contextlib
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

from allocators import environment
from results import Row

LIB = os.path.dirname(os.path.abspath(__file__))
SECONDS_MAX = 120  # for one run: ends a hang
FULL_OVER_SHORT = 5  # times that a full run takes of a short one, until that is known
OUTPUT_MAX = 1 << 20  # more than this is no list of figures
FIGURE = re.compile(r"([\w.+-]+) (\S+)")
SERIES = re.compile(r"series ([\w.+-]+) (\S+) (\S+)")
# Cases of one thread, which --pin pins.
PINNED_GROUPS = ("small", "medium", "large", "latency")


class Failure(Exception):
    """A run that gave no figures; the text says why."""


def number(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def parse(output):
    """(figures, series) of a program's output, or None if any of its lines is something else."""
    figures, series = {}, {}
    for line in output.splitlines():
        try:
            if point := SERIES.fullmatch(line):
                series.setdefault(point[1], []).append((number(point[2]), number(point[3])))
            elif figure := FIGURE.fullmatch(line):
                figures[figure[1]] = number(figure[2])
            elif line.strip():
                return None
        except ValueError:
            return None
    return figures, series


def last_line(said):
    """What a program said last before it ended."""
    lines = said.strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def start_of(file):
    file.seek(0)
    return file.read(OUTPUT_MAX).decode(errors="replace")


def wait(child):
    """The exit status; ends the child and all of its session if that takes too long or we are to stop."""
    try:
        return child.wait(SECONDS_MAX)
    except BaseException as stop:
        with contextlib.suppress(ProcessLookupError):  # it may just have ended
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if isinstance(stop, subprocess.TimeoutExpired):
            raise Failure(f"did not end within {SECONDS_MAX} s") from stop
        raise


@contextlib.contextmanager
def pinned(cpu):
    """Children started meanwhile run on that cpu only."""
    before = os.sched_getaffinity(0)
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def build_launcher(work):
    """The path of launch.c as a program."""
    source, program = os.path.join(LIB, "launch.c"), os.path.join(work, "launch")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        command = [os.environ.get("CC", "cc"), "-O2", "-std=gnu17", "-static", source, "-o", program]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as why:
            raise Failure(f"cannot compile {source}: {why}") from why
    return program


class Runner:
    """Runs one case under one allocator; `work` is the folder of what was prepared, `cpu` the one to pin to or -1."""

    def __init__(self, work, cpu=-1):
        self.work, self.cpu = os.path.abspath(work), cpu
        os.makedirs(self.work, exist_ok=True)
        self.launcher = build_launcher(self.work)
        self.env = environment()

    def run(self, case, allocator, quick):
        """(figures, series) of one run, or Failure."""
        more_env = {"BENCH_PRELOAD": allocator.path} if case.script else {}
        preload = "" if case.script else allocator.path
        with pinned(self.cpu if case.group in PINNED_GROUPS else -1):
            usage, output = self.launch(case.command(self.work, quick), preload, self.env | more_env)
        parsed = parse(output)
        if parsed is None and (case.script or case.group != "real"):
            raise Failure(f"prints something else than figures: {output[:200]!r}")
        figures, series = parsed or ({}, {})
        if case.script:
            missing = {"seconds", "cpu_s", "peak_kib"} - set(figures)
            if missing:
                raise Failure(f"does not print {', '.join(sorted(missing))}")
        return usage | figures, series

    def launch(self, command, preload, env):
        """(wall_s, cpu_s and peak_kib, output) of a command, or Failure."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            figures = os.path.join(folder, "figures")
            with open(os.path.join(folder, "out"), "w+b") as out, open(os.path.join(folder, "err"), "w+b") as err:
                child = subprocess.Popen([self.launcher, figures, preload, *command], cwd=self.work, env=env,
                                         stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
                status = wait(child)
                text, said = start_of(out), start_of(err)
            if status:
                raise Failure(f"exit status {status}{last_line(said)}")
            with open(figures, encoding="ascii") as file:
                usage, _ = parse(file.read())
        return {"wall_s": usage.pop("seconds")} | usage, text


def duration(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class Progress:
    """One line on a terminal; elsewhere a line each half a minute."""

    def __init__(self, total):
        self.begun = self.said = time.monotonic()
        self.total, self.done = total, 0
        self.took = {False: {}, True: {}}  # seconds by (case, allocator), of a short run and of a full one

    def book(self, key, seconds, full):
        self.took[full][key] = seconds
        self.done += 1

    def left(self, plan):
        """Seconds for the rest of the plan: what each run took last, or its short one by what full ones take over those."""
        short, full = self.took[False], self.took[True]
        both = [key for key in full if key in short]
        factor = sum(full[key] for key in both) / sum(short[key] for key in both) if both else FULL_OVER_SHORT
        known = [*full.values(), *(seconds * factor for seconds in short.values())]
        guess = sum(known) / len(known) if known else 0

        def seconds(turn, case, allocator):
            key = case.name, allocator.name
            if turn == 0:
                return short.get(key, guess / factor)
            return full.get(key) or short.get(key, guess / factor) * factor
        return sum(seconds(*run) for run in plan)

    def say(self, plan, round_name, case, allocator):
        """Names the run that begins now."""
        terminal = sys.stderr.isatty()
        if not terminal and time.monotonic() - self.said < 30:
            return
        self.said = time.monotonic()
        left = duration(self.left(plan[self.done:]))
        text = f"[{self.done + 1}/{self.total}, {left} left] {round_name}: {case.name}, {allocator.name}"
        print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def end(self):
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        print(f"{self.done} runs in {time.monotonic() - self.begun:.0f} s", file=sys.stderr)


def order(seed, round_number, case, allocators):
    """The allocators as this case meets them in this round."""
    shuffled = list(allocators)
    random.Random(f"{seed} {round_number} {case.name}").shuffle(shuffled)
    return shuffled


def measure(runner, cases, allocators, rounds, seed, quick):
    """Rows and failures of a whole run. Round 0 warms up by short runs that are not kept; a quick run has none."""
    turns = range(1 if quick else 0, rounds + 1)
    plan = [(turn, case, allocator) for turn in turns for case in cases for allocator in order(seed, turn, case, allocators)]
    progress = Progress(len(plan))
    rows, failures, failed = [], [], set()
    for turn, case, allocator in plan:
        key = case.name, allocator.name
        progress.say(plan, f"round {turn} of {rounds}" if turn else "warm-up", case, allocator)
        if key in failed:
            progress.done += 1
            continue
        begun = time.monotonic()
        try:
            figures, series = runner.run(case, allocator, quick or turn == 0)
        except Failure as why:
            failed.add(key)
            failures.append(f"{case.name} under {allocator.name}: {why}")
            progress.done += 1
            continue
        if turn:
            rows.append(Row(case.name, case.group, case.heavy, allocator.name, turn, figures, series if turn == 1 else {}))
        progress.book(key, time.monotonic() - begun, full=turn > 0)
    progress.end()
    return rows, failures
