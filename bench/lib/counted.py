"""What is kept in bench/results beside the suite: exact counts (bench/counts.py), scaling (bench/scaling.py), where memory
lies (bench/numa.py) and times of the -lumalloc API (bench/ext.py).

For the generated pages: counts_text(rows) is Markdown of the counts, scaling_text(rows) of the scaling, numa_text(rows) of the
places, ext_text(rows) of the times, and scaling_series(rows) what a plot of the scaling shows. Rows are those of
read(newest(folder, "counts", "scaling", "numa" or "ext")).
"""
import csv
import glob
import os

from allocators import SUBJECT
from results import head, spread, whole_file
from tables import table

# ns of a transfer of a cache line: between cores that share a cache, across one die or mesh, between dies. docs/scaling.md
# names the source. The middle one is that of the simulation.
TRANSFER_NS = (25, 50, 110)
SIMULATED_NS = 50


def keep(folder, stem, about, versions, header, rows):
    """Writes a CSV whose comment lines describe the run; returns its path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{stem}-{about['date'].replace('-', '').replace(':', '')[:15]}.csv")
    with whole_file(path) as out:
        out.writelines(f"# {key}: {value}\n" for key, value in about.items())
        out.writelines(f"# allocator {name}: {version}\n" for name, version in versions.items())
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([*key, f"{value:.6g}"] for *key, value in rows)
    return path


def newest(folder, stem):
    """The path of the last file that is kept, or None."""
    return max(glob.glob(os.path.join(folder, f"{stem}-*.csv")), default=None)


def read(path):
    """(about, versions of allocators, rows): rows as they were given to keep, the last column a number."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = file.readlines()
    about, versions, _ = head([line for line in lines if line.startswith("# ")])
    rows = list(csv.reader(line for line in lines if not line.startswith("# ")))[1:]
    return about, versions, [(*key, float(value)) for *key, value in rows]


def number(value):
    """Four digits at most; what a clock moved below zero is none."""
    if value <= 0:
        return "0"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


# --- counts: rows (figure, case, allocator, count) ---

def counts_text(rows):
    """A table a figure: a line a case, a column an allocator."""
    names = list(dict.fromkeys(name for _, _, name, _ in rows))
    figures = {}
    for figure, case, name, count in rows:
        figures.setdefault(figure, {}).setdefault(case, {})[name] = number(count)
    return "\n".join(f"{figure}:\n\n" + table(["", *names], [[case, *(by.get(name, "-") for name in names)]
                                                              for case, by in cases.items()])
                     for figure, cases in figures.items())


# --- scaling: rows (pattern, threads, figure, value) ---

def by_run(rows):
    """{pattern: {threads: {figure: value}}}"""
    found = {}
    for pattern, threads, figure, value in rows:
        found.setdefault(pattern, {}).setdefault(int(threads), {})[figure] = value
    return found


def predicted_ns(run, transfer_ns):
    """Time of an operation of all threads together by the bottleneck law: no sooner than the core that works most has done
    its share, the line that moves most has moved, and the lock that is held most was held. docs/scaling.md derives it."""
    more = transfer_ns - SIMULATED_NS
    return max(run["busiest ns"] + run["busiest transfers"] * more,
               run["transfers of the busiest line"] * transfer_ns,
               run["longest lock ns"] + run["longest lock transfers"] * more)


COUNTED = {"transfers": "transfers", "of them the program's": "program transfers", "atomic": "atomics", "failed": "failed swaps",
           "locks": "lock takes", "failed takes": "failed takes", "system calls": "system calls"}


def counted_text(rows):
    """What was counted an operation, a line a pattern and number of threads."""
    lines = [[pattern, threads, *(number(run[figure]) for figure in COUNTED.values())]
             for pattern, runs in by_run(rows).items() for threads, run in runs.items()]
    return table(["pattern", "threads", *COUNTED], lines)


def predicted_text(rows):
    """Million operations a second: the law for each cost of a transfer, and the simulation for the middle one."""
    header = ["pattern", "threads", *(f"law, {ns} ns" for ns in TRANSFER_NS), f"simulated, {SIMULATED_NS} ns"]
    return table(header, [[pattern, threads, *(number(1e3 / predicted_ns(run, ns)) for ns in TRANSFER_NS),
                           number(1e3 / run["simulated ns"])]
                          for pattern, runs in by_run(rows).items() for threads, run in runs.items()])


def measured_text(rows):
    """ns an operation where there were cores enough to measure, beside the model; "" where nothing was measured."""
    real = "measured ns "
    names = list(dict.fromkeys(figure.removeprefix(real) for _, _, figure, _ in rows if figure.startswith(real)))
    lines = [[pattern, threads, number(run["simulated ns"]), *(number(run[real + name]) if real + name in run else "-" for name in names)]
             for pattern, runs in by_run(rows).items() for threads, run in runs.items() if any(real + name in run for name in names)]
    return table(["pattern", "threads", "simulated", *names], lines) if lines else ""


def scaling_text(rows):
    return "\n".join(filter(None, (counted_text(rows), predicted_text(rows), measured_text(rows))))


def scaling_series(rows):
    """{pattern: [(threads, million operations a second: low, simulated, high)]}; low and high are the law's, for the dearest and
    the cheapest transfer."""
    return {pattern: [(threads, 1e3 / predicted_ns(run, TRANSFER_NS[-1]), 1e3 / run["simulated ns"],
                       1e3 / predicted_ns(run, TRANSFER_NS[0])) for threads, run in runs.items()]
            for pattern, runs in by_run(rows).items()}


# --- places: rows (huge pages, sizes, pattern, allocator, round, percent) ---

def percents(values):
    """The one number, or the least and the most. Rounded down: 100 is all."""
    least, most = int(min(values)), int(max(values))
    return f"{least}" if least == most else f"{least}-{most}"


def numa_text(rows):
    """A table a setting of huge pages: a line a pattern and range of sizes, a column an allocator."""
    names = list(dict.fromkeys(name for _, _, _, name, _, _ in rows))
    found = {}
    for setting, sizes, pattern, name, _, percent in rows:
        found.setdefault(setting, {}).setdefault((pattern, sizes), {}).setdefault(name, []).append(percent)
    return "\n".join(f"Transparent huge pages {setting}:\n\n" + table(
        ["pattern", "sizes", *names], [[*case, *(percents(by[name]) if name in by else "-" for name in names)]
                                       for case, by in cases.items()]) for setting, cases in found.items())


# --- the -lumalloc API: rows (family, case, backend, round, ns) ---

def ratio_text(times, base):
    """Median of the rounds' ratios, and their quartiles where they are not the same two digits."""
    of = spread([time / base[number] for number, time in times.items()])
    low, median, high = (number(value) if value < 10 else f"{value:.0f}" for value in (of.low, of.median, of.high))
    return median if low == high else f"{median} ({low}-{high})"


def ext_line(case, by, names):
    """The family's ns, then how many times as long the others take."""
    base = by.get(SUBJECT, {})
    shown = [number(spread(list(base.values())).median) if base else "-"]
    for name in names:
        shown.append(ratio_text(by[name], base) if name in by and base else "-")
    return [case, *shown]


def ext_text(rows):
    """A table a family: a line a case."""
    found = {}
    for family, case, name, turn, ns in rows:
        found.setdefault(family, {}).setdefault(case, {}).setdefault(name, {})[int(turn)] = ns
    texts = []
    for family, cases in found.items():
        names = [name for name in dict.fromkeys(name for by in cases.values() for name in by) if name != SUBJECT]
        lines = [ext_line(case, by, names) for case, by in cases.items()]
        texts.append(f"### {family}\n\n" + table(["case", f"{SUBJECT}, ns", *names], lines))
    return "\n".join(texts)
