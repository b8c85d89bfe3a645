"""The generated parts of docs/performance.md, docs/ext-performance.md, docs/scaling.md, docs/numa.md and README.md: what stands
between the markers `<!-- measured: begin` and `<!-- measured: end -->`, made from the newest rows in bench/results. What stands around them is written by hand.
"""
import os
import re
import sys

import counted
import results
import tables
from allocators import DEFAULT
from case import GROUPS
from pictures import PREDICTED, pictures
from summary import Summary

PAGE, README, SCALING, NUMA, EXT = ("docs/performance.md", "README.md", "docs/scaling.md", "docs/numa.md",
                                    "docs/ext-performance.md")
PLOTS = "docs/plots"
RESULTS = "bench/results"
MARKED = re.compile(r"(<!-- measured: begin[^>]*-->\n).*?(<!-- measured: end -->)", re.S)


def unfit(run):
    """Why the pages cannot show the run, or "": they show full runs of all cases under the default allocators."""
    if run.about.get("kind") != "full":
        return f"its kind is {run.about.get('kind')}, not full"
    if absent := [name for name in DEFAULT if name not in run.versions]:
        return f"it lacks {', '.join(absent)}"
    if absent := [group for group in GROUPS if all(row.group != group for row in run.rows)]:
        return f"it lacks cases of {', '.join(absent)}"
    return ""


def newest_run(root):
    """The newest run that is fit for the pages, or None; says which are passed over."""
    for path in results.kept(os.path.join(root, RESULTS)):
        try:
            run = results.read(path)
            why = unfit(run)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:  # what csv and float make of other text
            why = f"it is not whole: {error}"
        if not why:
            return run
        print(f"passed over {path}: {why}", file=sys.stderr)
    return None


def images(found, folder):
    return "\n".join(f"![{picture.caption}]({folder}/{picture.name}.svg)\n" for picture in found)


def page_text(run, summary):
    """The part of docs/performance.md."""
    drawn = pictures(summary)
    overview = [picture for picture in drawn if picture.kind != "curves"]
    parts = [tables.head(run), f"Raw rows: [{csv_name(run)}](../{RESULTS}/{csv_name(run)}).\n", "## Summary\n",
             tables.means(summary), tables.group_means(summary), images(overview[:1], "plots"), "## The bars\n", tables.verdicts(summary),
             images(overview[1:], "plots")]
    for group in GROUPS:
        cases = {case for case in summary.measured if summary.group[case] == group}
        if cases:
            parts += [tables.group_table(summary, group), images([p for p in drawn if p.kind == "curves" and p.what[0] in cases],
                                                                 "plots")]
    if run.failures:
        parts += ["## Failed runs\n", "".join(f"- {failure}\n" for failure in run.failures)]
    return "\n".join(filter(None, parts))


def readme_text(run, summary):
    """The part of README.md: the means and one picture."""
    about = run.about
    text = [f"{about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}, interleaved rounds: {about['rounds']}, allocators of "
            f"Debian 12, rows in [{csv_name(run)}]({RESULTS}/{csv_name(run)}).\n", tables.means(summary)]
    return "\n".join(text + [images(pictures(summary)[:1], PLOTS)] + [
        f"[{PAGE}]({PAGE}) shows every case, the curves, and the bars that are missed.\n"])


def counted_part(root, stem, make):
    """What was counted last, with its source; "" if nothing is kept."""
    path = counted.newest(os.path.join(root, RESULTS), stem)
    if not path:
        return ""
    about, versions, rows = counted.read(path)
    whose = ", ".join(f"{name} {version}" for name, version in versions.items()) or f"umalloc {about['umalloc']}"
    return f"Counted: {whose}; {about['compiler']}. Raw rows: [{os.path.basename(path)}](../{RESULTS}/{os.path.basename(path)}).\n\n" + make(rows)


def ext_part(rows):
    """The part of docs/ext-performance.md."""
    rounds = len({turn for *_, turn, _ in rows})
    return f"Medians of {rounds} rounds; in brackets the quartiles, where they differ.\n\n{counted.ext_text(rows)}"


def scaling_part(rows):
    """The part of docs/scaling.md: its picture, then what it shows."""
    return f"![Operations a second as cores grow, from counts](plots/{PREDICTED}.svg)\n\n" + counted.scaling_text(rows)


def scaling_series(root):
    """What the picture of docs/scaling.md shows, or None."""
    path = counted.newest(os.path.join(root, RESULTS), "scaling")
    return counted.scaling_series(counted.read(path)[2]) if path else None


def csv_name(run):
    return results.stem(run.about["date"]) + ".csv"


def renew(text, part):
    """The text with what stands between its markers replaced."""
    if not MARKED.search(text):
        raise ValueError("no markers")
    return MARKED.sub(lambda marks: marks[1] + part + marks[2], text, count=1)


def render(root, run):
    """{file: text} of the pages as they should be; without any rows for a page there is nothing to generate."""
    parts = {SCALING: counted_part(root, "scaling", scaling_part), NUMA: counted_part(root, "numa", counted.numa_text),
             EXT: counted_part(root, "ext", ext_part)}
    parts = {name: part for name, part in parts.items() if part}
    if run is not None:
        summary = Summary(run)
        counts = counted_part(root, "counts", counted.counts_text)
        parts[PAGE] = page_text(run, summary) + (f"\n## Exact counts\n\n{counts}" if counts else "")
        parts[README] = readme_text(run, summary)
    found = {}
    for name, part in parts.items():
        with open(os.path.join(root, name), encoding="utf-8") as file:
            found[name] = renew(file.read(), part)
    return found


def write(root, run):
    """Writes the pages; returns their names."""
    found = render(root, run)
    for name, text in found.items():
        with open(os.path.join(root, name), "w", encoding="utf-8") as file:
            file.write(text)
    return list(found)
