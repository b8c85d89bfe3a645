#!/usr/bin/env python3
"""bench/real/once.py accepts a program that does the same under the library, and none that differs, fails or is silent.

The programs are shell commands that look at LD_PRELOAD, so each does something else once a library is preloaded.
"""
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench", "lib"))
from runner import build_launcher  # noqa: E402

ONCE = os.path.join(ROOT, "bench", "real", "once.py")
# (what, options, shell command, what once.py says when it refuses; "" if it must accept)
CASES = [
    ("equal output", [], "echo same", ""),
    ("other output", [], "echo ran under $LD_PRELOAD", "differs"),
    ("other output in what is not kept", ["--keep=result [0-9]+"], "echo result 7 took $LD_PRELOAD", ""),
    ("other output in what is kept", ["--keep=result [0-9]+"], "echo result ${#LD_PRELOAD}", "differs"),
    ("failure under the library", [], "echo same; test -z \"$LD_PRELOAD\"", "exit status 1"),
    ("death by a signal under the library", [], "echo same; test -z \"$LD_PRELOAD\" || kill -SEGV $$", "exit status 139"),
    ("silence", [], "true", "wrote nothing"),
]


def main():
    environment = os.environ | {"BENCH_PRELOAD": os.path.abspath(os.environ["UMALLOC_LIB"])}
    failures = 0
    with tempfile.TemporaryDirectory() as work:
        build_launcher(work)
        for what, options, command, refusal in CASES:
            for turn in ("first", "second"):  # the second one finds the hash that the first one kept
                done = subprocess.run([sys.executable, ONCE, work, what.replace(" ", "-"), *options, "--", "sh", "-c", command],
                                      env=environment, capture_output=True, text=True)
                if refusal:
                    right = done.returncode == 1 and refusal in done.stderr and not done.stdout
                else:
                    figures = [line.split()[0] for line in done.stdout.splitlines()]
                    right = done.returncode == 0 and figures == ["seconds", "cpu_s", "peak_kib"]
                if not right:
                    failures += 1
                    print(f"{what}, {turn} run: status {done.returncode}, '{done.stdout}', '{done.stderr}'")
    print(f"{len(CASES)} checked, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
