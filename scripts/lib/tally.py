"""Sums up test results for scripts/check. Usage: tally.py FILE...

A FILE is a STAGE/meson-logs/*.json (one JSON object a line) or a *.stage file, whose lines are "passed NAME",
"failed NAME" or "skipped NAME" for steps that are no Meson tests, like a build. Prints what failed and was skipped, then
the sum as "N passed, N failed"; exits 1 if anything failed or nothing passed.
"""

import json
import os
import sys

PASSED = ("OK", "EXPECTEDFAIL")


def results(path):
    """Yields (name, verdict, why) for each test that the file names."""
    with open(path, encoding="utf-8") as f:
        for line in f:
            if path.endswith(".stage"):
                verdict, name = line.rstrip("\n").split(" ", 1)
                yield name, verdict, ""
            elif line.strip():
                entry = json.loads(line)
                if entry["result"] in PASSED:
                    verdict = "passed"
                else:
                    verdict = "skipped" if entry["result"] == "SKIP" else "failed"
                yield entry["name"], verdict, why(entry)


def why(entry):
    """The last line that the test printed."""
    said = (entry.get("stdout", "") + entry.get("stderr", "")).strip().splitlines()
    return f"{entry['result']}: {said[-1]}" if said else entry["result"]


def main(paths):
    sums = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        stage = path.split(os.sep)[0] if path.endswith(".json") else "check"
        for name, verdict, reason in results(path):
            sums[verdict] += 1
            if verdict != "passed":
                print(f"{verdict}: [{stage}] {name} {reason}".rstrip())
    line = f"{sums['passed']} passed, {sums['failed']} failed"
    if sums["skipped"]:
        line += f", {sums['skipped']} skipped"
    print(line)
    sys.exit(1 if sums["failed"] or not sums["passed"] else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
