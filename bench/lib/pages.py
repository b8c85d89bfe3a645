"""The generated parts of docs/performance.md and README.md: what stands between the markers `<!-- measured: begin` and
`<!-- measured: end -->`, made from the newest rows in bench/results. What stands around them is written by hand.
"""
import os
import re

import results
import tables
from case import GROUPS
from pictures import pictures
from summary import Summary

PAGE, README = "docs/performance.md", "README.md"
PLOTS = "docs/plots"
RESULTS = "bench/results"
MARKED = re.compile(r"(<!-- measured: begin[^>]*-->\n).*?(<!-- measured: end -->)", re.S)


def newest_run(root):
    """What the newest CSV holds, or None."""
    path = results.newest(os.path.join(root, RESULTS))
    return results.read(path) if path else None


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


def csv_name(run):
    return results.stem(run.about["date"]) + ".csv"


def renew(text, part):
    """The text with what stands between its markers replaced."""
    if not MARKED.search(text):
        raise ValueError("no markers")
    return MARKED.sub(lambda marks: marks[1] + part + marks[2], text, count=1)


def render(root):
    """{file: text} of both pages as they should be; without any rows there is nothing to generate."""
    run = newest_run(root)
    if run is None:
        return {}
    summary = Summary(run)
    found = {}
    for name, make in ((PAGE, page_text), (README, readme_text)):
        with open(os.path.join(root, name), encoding="utf-8") as file:
            found[name] = renew(file.read(), make(run, summary))
    return found


def write(root):
    """Writes the pages; returns their names."""
    found = render(root)
    for name, text in found.items():
        with open(os.path.join(root, name), "w", encoding="utf-8") as file:
            file.write(text)
    return list(found)
