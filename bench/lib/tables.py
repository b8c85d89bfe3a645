"""The summary as Markdown: geometric means, the bars, and a table a group for time and for memory."""
import itertools
import math

from allocators import BASE, SUBJECT
from case import GROUPS
from summary import LATENCY_CALLS

KINDS = {"heavy": "allocation-heavy cases", "real": "real programs"}
MEANT = {"time": "time", "cpu_s": "cpu time", "peak_kib": "peak memory"}
LATENCY_FIGURES = ("_p50", "_p90", "_p99", "_p99.9", "_p99.99", "_max")
ANSWERS = {True: "yes", False: "**no**", None: "-"}


def table(header, lines):
    """A Markdown table; columns after the first are right-aligned."""
    rows = [header, ["---"] + ["---:"] * (len(header) - 1), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows) + "\n"


def ratio(value):
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def absolute(seconds):
    for unit, scale in (("ns", 1e9), ("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 1000:
            return f"{seconds * scale:.1f} {unit}"
    return f"{seconds:.1f} s"


def mib(kib):
    return f"{kib / 1024:.1f}"


def means(summary):
    """One row an allocator: geometric means of time, cpu time and peak memory to glibc's, where glibc was run."""
    if BASE not in summary.allocators:
        return f"No geometric means: {BASE} was not run.\n"
    kinds = [kind for kind in KINDS if summary.cases(kind)]
    if not kinds:
        return "No geometric means: no case counts in them.\n"
    # Cpu time says nothing of our programs, which run for a given time.
    columns = [(figure, kind) for figure in MEANT for kind in kinds if figure != "cpu_s" or kind == "real"]
    header = ["allocator", *(f"{MEANT[figure]}, {KINDS[kind]}" for figure, kind in columns)]
    lines = []
    for name in summary.allocators:
        cells = [ratio(summary.mean_ratio(name, BASE, figure, kind)) for figure, kind in columns]
        lines.append([f"**{name}**" if name == SUBJECT else name, *cells])
    counts = ", ".join(f"{len(summary.cases(kind))} {KINDS[kind]}" for kind in kinds)
    if both := set(summary.cases("heavy")) & set(summary.cases("real")):
        counts += f" ({len(both)} of them allocation-heavy, and counted among those too)"
    return f"Geometric means of ratios to {BASE}, less is better; {counts}.\n\n" + table(header, lines)


def group_means(summary):
    """Geometric means of the time to glibc's, by group."""
    groups = [group for group in GROUPS if group != "latency" and summary.cases(group)]
    lines = [[name, *(ratio(summary.mean_ratio(name, BASE, "time", group)) for group in groups)] for name in summary.allocators]
    return table(["time by group", *groups], lines)


def verdicts(summary):
    found = summary.verdicts()
    text = table(["bar", "measured (against)", "met"], [[v.bar, v.figure, ANSWERS[v.holds]] for v in found])
    for verdict in found:
        if verdict.cases:
            text += f"\n{verdict.bar}:\n\n" + "".join(f"- {case}\n" for case in verdict.cases)
    return text


def cell(ours, base):
    """A ratio to the base and half the distance of the quartiles, in the same unit."""
    return f"{ours.median / base.median:.2f} ±{ours.half() / base.median:.2f}"


def time_lines(summary, cases):
    for case in cases:
        by = summary.measured[case]
        first = next(iter(name for name in summary.allocators if name in by))
        base = by.get(BASE, by[first]).time
        best = summary.best_peer(case)
        ours = by.get(SUBJECT)
        to_best = ratio(ours.time.median / by[best].time.median) if ours and best else "-"
        cells = [cell(by[name].time, base) if name in by else "failed" for name in summary.allocators if name != BASE]
        yield [case, absolute(base.median), *cells, best or "-", to_best]


def peak_lines(summary, cases):
    for case in cases:
        by = {name: got.peak_kib for name, got in summary.measured[case].items()}
        cells = [mib(by[name].median) if name in by else "failed" for name in summary.allocators]
        best = summary.best_peer(case, "peak_kib")
        to_best = ratio(by[SUBJECT].median / by[best].median) if SUBJECT in by and best else "-"
        yield [case, *cells, best or "-", to_best]


def latency_table(summary, cases):
    """Percentiles in ns, of all sizes together; the size groups are in the raw rows."""
    header = ["ns", "allocator", *(name.strip("_") for name in LATENCY_FIGURES)]
    lines = []
    for case, call in itertools.product(cases, LATENCY_CALLS):
        for name in summary.allocators:
            values = [summary.figure(case, name, call + figure) for figure in LATENCY_FIGURES]
            if any(values):
                lines.append([f"{case}, {call}", name, *("-" if value is None else f"{value:.0f}" for value in values)])
    return table(header, lines)


def group_table(summary, group, level="##"):
    """Time and memory of a group's cases."""
    cases = [case for case in summary.measured if summary.group[case] == group]
    if not cases:
        return ""
    others = [name for name in summary.allocators if name != BASE]
    text = f"{level} {group.capitalize()}\n\n"
    if group == "latency":
        return text + latency_table(summary, cases)
    text += table([f"time to {BASE}'s", BASE, *others, "best peer", f"{SUBJECT} to it"], time_lines(summary, cases))
    return text + "\n" + table(["peak memory, MiB", *summary.allocators, "leanest peer", f"{SUBJECT} to it"],
                               peak_lines(summary, cases))


def head(run):
    """Machine, rounds and allocators in a paragraph."""
    about = run.about
    versions = "; ".join(f"{name}: {version}" for name, version in run.versions.items())
    return (f"{about['cpu']}, {about['cpus']} CPUs{' of a virtual machine' if about['virtual'] == 'yes' else ''}, "
            f"{about['memory']} of memory, Linux {about['kernel']}, {about['compiler']}, transparent huge pages "
            f"{about['transparent_hugepage']}. Interleaved rounds: {about['rounds']}, {about['pinning']}, seed {about['seed']}, "
            f"load at the start {about['load']}.\n\nAllocators: {versions}.\n")


def whole(run, summary):
    """What the run says at its end."""
    parts = ["# Benchmark\n", head(run), *filter(None, (group_table(summary, group) for group in GROUPS)),
             "## Summary\n", means(summary), verdicts(summary)]
    return "\n".join(parts)
