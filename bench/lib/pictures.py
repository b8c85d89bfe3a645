"""Which pictures a run has: their file names and captions. plots.py draws them; the pages name them without it.
"""
import dataclasses
import re

from allocators import BASE
from tables import KINDS

PREDICTED = "predicted-scaling"  # of the counts, not of a run
THREADS = re.compile(r"(.+), (\d+) threads?")


@dataclasses.dataclass(frozen=True)
class Picture:
    kind: str     # means, ratios, scaling or curves: the function of plots.py
    name: str     # of the file, without suffix
    caption: str
    what: tuple[str, ...] = ()  # the figure of ratios; the case of curves


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def families(summary):
    """{stem: [(threads, case)]} of the cases that differ in their number of threads alone; one of 1 thread may not say so."""
    found = {}
    for case in summary.measured:
        if match := THREADS.fullmatch(case):
            alone = [(1, match[1])] if match[1] in summary.measured else []
            found.setdefault(match[1], alone).append((int(match[2]), case))
    return {stem: sorted(members) for stem, members in found.items() if len(members) > 1}


def pictures(summary):
    found = []
    with_base = BASE in summary.allocators
    if with_base and any(summary.cases(kind) for kind in KINDS):
        found.append(Picture("means", "means", f"Geometric means of time and peak memory, ratio to {BASE}"))
    if with_base and summary.cases():
        found += [Picture("ratios", "time", f"Time of each case, ratio to {BASE}", ("time",)),
                  Picture("ratios", "peak-memory", f"Peak memory of each case, ratio to {BASE}", ("peak_kib",))]
    if families(summary):
        found.append(Picture("scaling", "scaling", "Operations a second as threads grow"))
    for case, by in summary.curves.items():
        found.append(Picture("curves", slug(case), f"{case}: {', '.join(by)}", (case,)))
    return found
