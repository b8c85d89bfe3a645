"""What the rows of a run amount to: medians, ratios, geometric means, and whether umalloc meets its bars.

All compare medians over the rounds. A geometric mean is over the cases that both allocators completed, so that one
that fails a case is not rewarded for it. A case counts as lost beyond the spread if its median is above the bar and even the
quartiles of the two do not overlap.
"""
import dataclasses
import math
import statistics

from allocators import BASE, SUBJECT
from results import Spread, spread

TIME_HEAVY_BAR, TIME_REAL_BAR, TIME_CASE_BAR = 0.90, 0.99, 1.05
PEAK_LEAN_BAR, PEAK_BASE_BAR, PEAK_CASE_BAR = 1.00, 1.10, 1.25
LEAN_PEERS = ("jemalloc", "mimalloc", "tcmalloc-minimal")
ROUNDS_FOR_SPREAD = 3  # fewer have no quartiles to speak of
LATENCY_PERCENTILES = (50, 99, 99.9, 99.99)
LATENCY_SERIES = ("malloc_ns", "free_ns")


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


def median_curve(curves):
    """Medians over the rounds where all have their points at the same x, as percentiles do; else the first round's curve."""
    xs = [x for x, _ in curves[0]]
    if any([x for x, _ in curve] != xs for curve in curves):
        return curves[0]
    return [(x, statistics.median(ys)) for x, *ys in zip(xs, *([y for _, y in curve] for curve in curves))]


class Summary:
    """Medians of a run by case and allocator, and what follows from them."""

    def __init__(self, run):
        self.allocators = list(run.versions)
        self.peers = [name for name in self.allocators if name != SUBJECT]
        self.rounds = len({row.round for row in run.rows})
        self.group, self.heavy, self.unit = {}, {}, {}
        rows, curves = {}, {}
        for row in run.rows:
            self.group[row.case], self.heavy[row.case], self.unit[row.case] = row.group, row.heavy, row.time()[1]
            rows.setdefault(row.case, {}).setdefault(row.allocator, []).append(row)
            for name, points in row.series.items():
                curves.setdefault((row.case, name), {}).setdefault(row.allocator, []).append(points)
        self.measured = {case: {name: self.measure(got) for name, got in by.items()} for case, by in rows.items()}
        self.curves = {key: {name: median_curve(got) for name, got in by.items()} for key, by in curves.items()}

    @staticmethod
    def measure(rows):
        return Measured(spread([row.time()[0] for row in rows]), *(spread([row.figures[figure] for row in rows])
                                                                   for figure in ("cpu_s", "peak_kib")))

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
        for (case, series), by in self.curves.items():
            if self.group[case] != "latency" or series not in LATENCY_SERIES or SUBJECT not in by:
                continue
            for percentile in LATENCY_PERCENTILES:
                at = {name: y for name, curve in by.items() for x, y in curve if x == percentile}
                peers = {name: at[name] for name in self.peers if name in at}
                if SUBJECT in at and peers:
                    points += 1
                    best = min(peers, key=peers.get)
                    if at[SUBJECT] > peers[best]:
                        above.append(f"{case} {series.removesuffix('_ns')} p{percentile:g} {at[SUBJECT]:g} ns "
                                     f"({best} {peers[best]:g} ns)")
        named = ", ".join(f"p{p:g}" for p in LATENCY_PERCENTILES)
        return Verdict(f"latency: {named} of malloc and free at or below the best peer's",
                       f"{len(above)} of {points} above" if points else "not measured",
                       not above if points else None, tuple(above))

    def verdicts(self):
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
