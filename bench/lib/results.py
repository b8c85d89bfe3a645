"""The rows of a run, their CSV, and medians with spread.

A run is kept in two files: suite-DATE.csv, whose comment lines describe machine, allocators and failures and which has
a row a measurement, and suite-DATE.series.csv with the points of curves, of the first round only. The spread is that of the quartiles: with few rounds
they say what half of the runs did, and one disturbed run does not move them.
"""
import contextlib
import csv
import dataclasses
import glob
import os
import statistics

COLUMNS = ("ns", "seconds", "wall_s", "cpu_s", "peak_kib")
SERIES_SUFFIX = ".series.csv"


@dataclasses.dataclass
class Row:
    """One measurement of one case under one allocator."""
    case: str
    group: str
    heavy: bool
    allocator: str
    round: int
    figures: dict[str, float]
    series: dict[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)

    def time(self):
        """Seconds: what the case says to compare, else the wall time."""
        if "ns" in self.figures:
            return self.figures["ns"] / 1e9
        return self.figures.get("seconds", self.figures["wall_s"])


@dataclasses.dataclass
class Run:
    """All that a CSV holds."""
    about: dict[str, str]
    versions: dict[str, str]  # of the allocators, in their order
    rows: list[Row]
    failures: list[str]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median between its quartiles."""
    low: float
    median: float
    high: float

    def half(self):
        return (self.high - self.low) / 2


def spread(values):
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def text(value):
    return f"{value:.6g}" if value != int(value) else str(int(value))


def pairs(figures):
    return " ".join(f"{name}={text(value)}" for name, value in figures.items())


def stem(date):
    return "suite-" + date.replace("-", "").replace(":", "")[:15]


@contextlib.contextmanager
def whole_file(path):
    """A text file to write, which has its name only once all is written."""
    with open(path + ".part", "w", newline="", encoding="utf-8") as out:
        yield out
    os.replace(path + ".part", path)


def write(folder, run):
    """Writes both files, the rows last; returns their path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, stem(run.about["date"]))
    with whole_file(path + SERIES_SUFFIX) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["case", "allocator", "round", "series", "x", "y"])
        for row in run.rows:
            for name, points in row.series.items():
                writer.writerows([row.case, row.allocator, row.round, name, text(x), text(y)] for x, y in points)
    with whole_file(path + ".csv") as out:
        out.writelines(f"# {key}: {value}\n" for key, value in run.about.items())
        out.writelines(f"# allocator {name}: {version}\n" for name, version in run.versions.items())
        out.writelines(f"# failed: {failure}\n" for failure in run.failures)
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["case", "group", "heavy", "allocator", "round", *COLUMNS, "more"])
        for row in run.rows:
            more = {name: value for name, value in row.figures.items() if name not in COLUMNS}
            writer.writerow([row.case, row.group, int(row.heavy), row.allocator, row.round,
                             *(text(row.figures[c]) if c in row.figures else "" for c in COLUMNS), pairs(more)])
    return path + ".csv"


def head(lines):
    """The comment lines as (about, versions, failures)."""
    about, versions, failures = {}, {}, []
    for line in lines:
        key, value = line.removeprefix("# ").rstrip("\n").split(": ", 1)
        if key == "failed":
            failures.append(value)
        elif key.startswith("allocator "):
            versions[key.removeprefix("allocator ")] = value
        else:
            about[key] = value
    return about, versions, failures


def read(path):
    """The Run; ValueError or OSError if a file is not there, or not whole."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = file.readlines()
    if not lines or not lines[-1].endswith("\n"):
        raise ValueError("its last line is cut")
    about, versions, failures = head([line for line in lines if line.startswith("# ")])
    rows = {}
    for got in csv.DictReader(line for line in lines if not line.startswith("# ")):
        figures = {c: float(got[c]) for c in COLUMNS if got[c]}
        figures |= {name: float(value) for name, value in (pair.split("=") for pair in got["more"].split())}
        row = Row(got["case"], got["group"], got["heavy"] == "1", got["allocator"], int(got["round"]), figures)
        rows[row.case, row.allocator, row.round] = row
    with open(path.removesuffix(".csv") + SERIES_SUFFIX, newline="", encoding="utf-8") as file:
        for got in csv.DictReader(file):
            series = rows[got["case"], got["allocator"], int(got["round"])].series
            series.setdefault(got["series"], []).append((float(got["x"]), float(got["y"])))
    return Run(about, versions, list(rows.values()), failures)


def kept(folder):
    """The paths of the runs that are kept, the newest first."""
    found = [path for path in glob.glob(os.path.join(folder, "suite-*.csv")) if not path.endswith(SERIES_SUFFIX)]
    return sorted(found, reverse=True)
