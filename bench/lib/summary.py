"""What the rows of a run amount to: medians, ratios, geometric means, and whether umalloc meets its bars.

All compare medians over the rounds. A geometric mean is over the cases that both allocators completed, so that one that
fails a case is not rewarded for it, and umalloc meets no bar in a run in which it failed a case. A case counts as lost
beyond the spread if its median is above the bar and even the quartiles of the two do not overlap.
"""
import dataclasses
import itertools
import math
import re
import statistics

from allocators import BASE, SUBJECT
from results import Spread, spread

TIME_HEAVY_BAR, TIME_REAL_BAR, TIME_CASE_BAR = 0.90, 0.99, 1.05
PEAK_LEAN_BAR, PEAK_BASE_BAR, PEAK_CASE_BAR = 1.00, 1.10, 1.25
LEAN_PEERS = ("jemalloc", "mimalloc", "tcmalloc-minimal")
ROUNDS_FOR_SPREAD = 3  # fewer have no quartiles to speak of
LATENCY_PERCENTILES = (50, 99, 99.9, 99.99)
LATENCY_CALLS = ("malloc", "free")
LATENCY_CASE = "steady"  # the case with a bar has this in its name
FAILED = re.compile(rf"((?:(?! under ).)+) under {SUBJECT}: ")  # as runner.measure says it


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A bar, what was measured, and the cases that miss it or come near. Without data, `holds` is None."""
    bar: str
    figure: str
    holds: bool | None
    cases: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Measured:
    """One case under one allocator."""
    time: Spread  # seconds, of an operation or of the run
    cpu_s: Spread
    peak_kib: Spread


def geometric_mean(values):
    values = list(values)
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


class Summary:
    """Medians of a run by case and allocator, and what follows from them."""

    def __init__(self, run):
        self.allocators = list(run.versions)
        self.peers = [name for name in self.allocators if name != SUBJECT]
        self.rounds = len({row.round for row in run.rows})
        self.group, self.heavy = {}, {}
        self.rows, self.curves = {}, {}  # by case and allocator; by case, series and allocator
        for row in run.rows:
            self.group[row.case], self.heavy[row.case] = row.group, row.heavy
            self.rows.setdefault(row.case, {}).setdefault(row.allocator, []).append(row)
            for name, points in row.series.items():
                self.curves.setdefault(row.case, {}).setdefault(name, {})[row.allocator] = points
        failed = {match[1] for failure in run.failures if (match := FAILED.match(failure))}
        if SUBJECT in self.allocators:
            failed |= {case for case, by in self.rows.items() if SUBJECT not in by}
        self.failed = sorted(failed)  # by the subject
        self.measured = {case: {name: self.measure(got) for name, got in by.items()} for case, by in self.rows.items()}

    @staticmethod
    def measure(rows):
        return Measured(spread([row.time() for row in rows]), *(spread([row.figures[figure] for row in rows])
                                                                for figure in ("cpu_s", "peak_kib")))

    def figure(self, case, name, figure):
        """The median of anything that the case printed, or None."""
        values = [row.figures[figure] for row in self.rows[case].get(name, ()) if figure in row.figures]
        return statistics.median(values) if values else None

    def cases(self, kind="all"):
        """Their names: all, the allocation-heavy ones, or those of a group. Latency is judged by its curves alone."""
        def wanted(case):
            if kind in ("all", "heavy"):
                return self.group[case] != "latency" and (kind == "all" or self.heavy[case])
            return self.group[case] == kind
        return [case for case in self.measured if wanted(case)]

    def median(self, case, name, figure):
        """The median of a figure (a field of Measured), or None if the allocator did not complete the case."""
        got = self.measured[case].get(name)
        return getattr(got, figure).median if got else None

    def mean_ratio(self, over, under, figure, kind):
        """The geometric mean of one allocator's figure over another's."""
        ratios = []
        for case in self.cases(kind):
            a, b = self.median(case, over, figure), self.median(case, under, figure)
            if a and b:
                ratios.append(a / b)
        return geometric_mean(ratios)

    def peers_of(self, case, figure):
        """{peer: median} of a case."""
        return {name: value for name in self.peers if (value := self.median(case, name, figure))}

    def best_peer(self, case, figure="time"):
        by = self.peers_of(case, figure)
        return min(by, key=by.get) if by else None

    def worst_mean(self, figure, kind, peers):
        """(peer, ratio): against which of them the subject does worst; its ratio to the best single one."""
        ratios = {name: self.mean_ratio(SUBJECT, name, figure, kind) for name in peers if name in self.peers}
        ratios = {name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)}
        return max(ratios.items(), key=lambda item: item[1], default=None)

    def mean_verdict(self, bar, figure, kind, peers, limit):
        worst = self.worst_mean(figure, kind, peers)
        if worst is None:
            return Verdict(bar, "not measured", None)
        return Verdict(bar, f"{worst[1]:.3f} ({worst[0]})", worst[1] <= limit)

    def time_case_verdict(self):
        beyond, within = [], []
        known = self.rounds >= ROUNDS_FOR_SPREAD
        for case in self.cases():
            ours, best = self.measured[case].get(SUBJECT), self.best_peer(case)
            if not ours or not best:
                continue
            theirs = self.measured[case][best].time
            ratio = ours.time.median / theirs.median
            if ratio > TIME_CASE_BAR:
                lost = known and ours.time.low > theirs.high
                note = "" if lost or not known else ", within the spread"
                (beyond if lost else within).append((ratio, f"{case} {ratio:.2f} ({best}{note})"))
        figure = f"{len(beyond)} beyond the spread, {len(within)} within" if known else f"{len(within)} above, spread unknown"
        cases = tuple(text for _, text in sorted(beyond, reverse=True) + sorted(within, reverse=True))
        return Verdict(f"time: no case above {TIME_CASE_BAR}x its best peer beyond the spread", figure,
                       not beyond if known and self.judged() else None, cases)

    def peak_case_verdict(self):
        above = []
        for case in self.cases():
            ours, by = self.median(case, SUBJECT, "peak_kib"), self.peers_of(case, "peak_kib")
            if ours and by:
                ratio = ours / statistics.median(by.values())
                if ratio > PEAK_CASE_BAR:
                    above.append((ratio, f"{case} {ratio:.2f}"))
        return Verdict(f"memory: no case above {PEAK_CASE_BAR}x its median peer", f"{len(above)} above",
                       not above if self.judged() else None, tuple(text for _, text in sorted(above, reverse=True)))

    def judged(self):
        """Whether there is a case of the subject and a peer to compare."""
        return any(SUBJECT in by and len(by) > 1 for by in self.measured.values())

    def latency_verdict(self):
        above, points = [], 0
        for case, call, percentile in itertools.product(self.cases("latency"), LATENCY_CALLS, LATENCY_PERCENTILES):
            name = f"{call}_p{percentile:g}"
            ours = self.figure(case, SUBJECT, name) if LATENCY_CASE in case else None
            peers = {peer: value for peer in self.peers if (value := self.figure(case, peer, name)) is not None}
            if ours is None or not peers:
                continue
            points += 1
            best = min(peers, key=peers.get)
            if ours > peers[best]:
                above.append(f"{case}, {call} p{percentile:g}: {ours:g} ns ({best} {peers[best]:g} ns)")
        named = ", ".join(f"p{p:g}" for p in LATENCY_PERCENTILES)
        return Verdict(f"latency: {named} of malloc and free in the steady set at or below the best peer's",
                       f"{len(above)} of {points} above" if points else "not measured",
                       not above if points else None, tuple(above))

    def verdicts(self):
        found = self.verdicts_of_completed()
        if not self.failed:
            return found
        text = f"; {SUBJECT} failed {len(self.failed)} case{'s' * (len(self.failed) > 1)}"
        return [dataclasses.replace(verdict, figure=verdict.figure + text, holds=False) for verdict in found]

    def verdicts_of_completed(self):
        return [
            self.mean_verdict(f"time: geometric mean of heavy cases <= {TIME_HEAVY_BAR:.2f} of the best single peer",
                              "time", "heavy", self.peers, TIME_HEAVY_BAR),
            self.mean_verdict(f"time: geometric mean of real programs <= {TIME_REAL_BAR:.2f} of the best single peer",
                              "time", "real", self.peers, TIME_REAL_BAR),
            self.time_case_verdict(),
            self.mean_verdict(f"memory: geometric mean of all cases <= {PEAK_LEAN_BAR:.2f} of the leanest of "
                              f"{', '.join(LEAN_PEERS)}", "peak_kib", "all", LEAN_PEERS, PEAK_LEAN_BAR),
            self.mean_verdict(f"memory: geometric mean of all cases <= {PEAK_BASE_BAR:.2f} of {BASE}",
                              "peak_kib", "all", (BASE,), PEAK_BASE_BAR),
            self.peak_case_verdict(),
            self.latency_verdict(),
        ]
