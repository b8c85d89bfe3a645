#!/usr/bin/env python3
"""Runs an example program: it must end with status 0 and print a line that the regular expression matches in full.
Usage: example.py LINE PROGRAM [ARGUMENT...]
"""
import re
import subprocess
import sys


def main(line, command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        return f"ended with status {done.returncode}"
    if not any(re.fullmatch(line, printed) for printed in done.stdout.splitlines()):
        return f"printed no line that is {line}"
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
