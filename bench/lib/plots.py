"""Pictures of a run, by matplotlib, each as SVG and as PNG: geometric means, ratios by case, curves, scaling.

An allocator has one colour in all of them, from the palette of Okabe and Ito, which colour-blind readers can tell apart.
"""
import math
import os

import matplotlib

matplotlib.use("Agg")
# The same figures make the same file: no date, and ids that are not random.
matplotlib.rcParams.update({"svg.hashsalt": "umalloc", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                            "legend.frameon": False, "figure.constrained_layout.use": True, "savefig.dpi": 100})
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import NullFormatter, NullLocator  # noqa: E402

from allocators import BASE, DEFAULT, SUBJECT  # noqa: E402
from case import GROUPS  # noqa: E402
from pictures import PREDICTED, families, pictures  # noqa: E402
from tables import KINDS  # noqa: E402

COLOURS = dict(zip(DEFAULT, ("#999999", "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7")))
MORE_COLOURS = ("#56B4E9", "#F0E442", "#000000", "#8c564b")
TITLES = {"time": "time", "peak_kib": "peak memory"}


def colours(names):
    more = iter(MORE_COLOURS * len(names))
    return {name: COLOURS.get(name) or next(more) for name in names}


def width(name):
    return 2.2 if name == SUBJECT else 1.2


def means(summary):
    """Bars: time and peak memory as geometric means to glibc, over allocation-heavy cases and over real programs."""
    panels = [(figure, title, kind) for figure, title in TITLES.items()
              for kind in KINDS if summary.cases(kind)]
    colour = colours(summary.allocators)
    figure, axes = plt.subplots(1, len(panels), figsize=(2.4 * len(panels), 2.6), squeeze=False, sharey=True)
    names = summary.allocators[::-1]
    for axis, (what, title, kind) in zip(axes[0], panels):
        values = [summary.mean_ratio(name, BASE, what, kind) for name in names]
        bars = axis.barh(names, values, color=[colour[name] for name in names])
        axis.bar_label(bars, [f"{value:.2f}" for value in values], padding=2)
        axis.set_title(f"{title},\n{KINDS[kind]}", fontsize=9)
        axis.axvline(1, color="#444444", linewidth=0.7)
        axis.margins(x=0.2)
        axis.xaxis.set_major_locator(NullLocator())
        axis.spines["bottom"].set_visible(False)
    figure.suptitle(f"Geometric mean, ratio to {BASE}: less is better", fontsize=10)
    return figure


def ratios(summary, what):
    """A row a case, a dot an allocator, on a logarithmic axis of the ratio to glibc."""
    cases = [case for group in GROUPS for case in summary.measured
             if summary.group[case] == group and group != "latency" and summary.median(case, BASE, what)]
    colour = colours(summary.allocators)
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.19 * len(cases)))
    for name in sorted(summary.allocators, key=SUBJECT.__eq__):
        if name != BASE:
            at = [(summary.median(case, name, what) / summary.median(case, BASE, what), row) for row, case in enumerate(cases)
                  if summary.median(case, name, what)]
            ours = name == SUBJECT
            axis.plot(*zip(*at), "D" if ours else "o", color=colour[name], label=name, markersize=6 if ours else 4.5,
                      alpha=1 if ours else 0.8, linestyle="none")
    axis.axvline(1, color="#444444", linewidth=0.7)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axis.set_yticks(range(len(cases)), cases, fontsize=7.5)
    axis.set_ylim(len(cases) - 0.5, -0.5)
    axis.grid(axis="y", color="#eeeeee")
    axis.set_axisbelow(True)
    axis.set_xlabel(f"{TITLES[what]}, ratio to {BASE}: left is better")
    for row in range(1, len(cases)):
        if summary.group[cases[row]] != summary.group[cases[row - 1]]:
            axis.axhline(row - 0.5, color="#bbbbbb", linewidth=0.7)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=6, fontsize=8)
    return figure


def percentile_place(percentile):
    """Each further 9 takes as much room as the one before; the maximum stands behind the last."""
    return -math.log10(1 - percentile / 100) if percentile < 100 else math.inf


def latency_panel(axis, by, names):
    end = max(percentile_place(x) for points in by.values() for x, _ in points if x < 100)
    ticks = [x for x in (0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999) if percentile_place(x) <= end]
    for name in names:
        axis.plot(*zip(*((min(percentile_place(x), end + 0.3), y) for x, y in by[name])), color=names[name], label=name,
                  linewidth=width(name))
    axis.set_xticks([*map(percentile_place, ticks), end + 0.3], [*(f"{x:g}" for x in ticks), "max"], fontsize=8)
    axis.set_yscale("log")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("percentile")
    axis.set_ylabel("ns")


def memory_panel(axis, by, names, held, x):
    """What is resident under each allocator, and beside ours what the program holds."""
    for name in names:
        axis.plot(*zip(*by[name]), color=names[name], label=name, linewidth=width(name))
    if held:
        axis.plot(*zip(*held), color="#444444", linestyle=":", linewidth=1, label=f"held by the program\n({SUBJECT}'s run)")
    axis.set_ylim(bottom=0)
    axis.set_xlabel(x)
    axis.set_ylabel("RSS, MiB")


def curves(summary, case):
    """The series of a case: latency by percentile, a panel a call, or memory over time (or by what the name says)."""
    series = summary.curves[case]
    memory = [name for name in series if name.startswith("rss_mib")]
    panels = memory or list(series)
    figure, axes = plt.subplots(1, len(panels), figsize=(1.2 + 4.2 * len(panels), 3.2), squeeze=False)
    colour = colours(summary.allocators)
    for axis, panel in zip(axes[0], panels):
        # Ours last, on top.
        names = {name: colour[name] for name in sorted(summary.allocators, key=SUBJECT.__eq__) if name in series[panel]}
        if memory:
            held = series.get("live_mib", {}).get(SUBJECT)
            memory_panel(axis, series[panel], names, held, panel.partition("_by_")[2] or "seconds")
        else:
            latency_panel(axis, series[panel], names)
            axis.set_title(panel.removesuffix("_ns"), fontsize=9)
    figure.suptitle(case, fontsize=10)
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


def scaling(summary):
    """Operations a second as threads grow, for each family of cases."""
    found = families(summary)
    colour = colours(summary.allocators)
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False)
    for axis in axes.flat[len(found):]:
        axis.set_visible(False)
    for axis, (stem, members) in zip(axes.flat, found.items()):
        for name in summary.allocators:
            # A case of several threads gives the time of one operation of one thread.
            at = [(threads, threads / summary.median(case, name, "time") / 1e6) for threads, case in members
                  if summary.median(case, name, "time")]
            if at:
                axis.plot(*zip(*at), color=colour[name], marker=".", linewidth=width(name), label=name)
        axis.set_xscale("log", base=2)
        axis.set_xticks([threads for threads, _ in members], [str(threads) for threads, _ in members])
        axis.set_ylim(bottom=0)
        axis.set_title(stem, fontsize=9)
        axis.set_xlabel("threads")
    axes.flat[0].set_ylabel("million operations a second")
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


DRAW = {"means": means, "ratios": ratios, "scaling": scaling, "curves": curves}


def predicted(series):
    """Operations a second of each pattern as the cores grow: the simulation's, between the law's for the dearest and the cheapest
    transfer of a line."""
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False, sharey=True)
    for axis in axes.flat[len(series):]:
        axis.set_visible(False)
    for axis, (pattern, points) in zip(axes.flat, series.items()):
        threads, low, simulated, high = zip(*points)
        axis.fill_between(threads, low, high, color=COLOURS[SUBJECT], alpha=0.2, linewidth=0, label="law, 110 to 25 ns")
        axis.plot(threads, simulated, color=COLOURS[SUBJECT], marker=".", linewidth=1.2, label="simulated, 50 ns")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xticks(threads, [str(n) for n in threads])
        axis.set_title(pattern, fontsize=9)
        axis.set_xlabel("threads, each on its core")
    for row in axes:
        row[0].set_ylabel("million operations a second")
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


def save(figure, folder, name):
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        figure.savefig(os.path.join(folder, f"{name}.{suffix}"), metadata=metadata)
    plt.close(figure)


def draw_predicted(series, folder):
    os.makedirs(folder, exist_ok=True)
    save(predicted(series), folder, PREDICTED)


def draw(summary, folder):
    """Makes all pictures of a run, and removes those that the folder had before."""
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        if old.endswith((".svg", ".png")):
            os.remove(os.path.join(folder, old))
    for picture in pictures(summary):
        save(DRAW[picture.kind](summary, *picture.what), folder, picture.name)
