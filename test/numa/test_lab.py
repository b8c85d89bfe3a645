#!/usr/bin/env python3
"""The lab itself: it passes on status and output, gives a payload what it was given, and says what went wrong.

    test_lab.py
"""
import os
import subprocess
import sys
import tempfile

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "numa-lab")
UNUSABLE = 77


def lab(*arguments):
    return subprocess.run([LAB, *arguments], capture_output=True, text=True)


def expect(what, run, status, out=None, err="", err_lines=None):
    if run.returncode == UNUSABLE != status:
        print(f"SKIP: {run.stderr.strip()}")
        sys.exit(UNUSABLE)
    right = (run.returncode == status and out in (None, run.stdout) and err in run.stderr
             and err_lines in (None, run.stderr.count("\n")))
    print(f"{'ok' if right else 'FAILED'}: {what}")
    if not right:
        sys.exit(f"status {run.returncode}\n--- stdout\n{run.stdout}\n--- stderr\n{run.stderr}")


def script(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def wrong_calls(payload):
    for arguments, said in (((), "TOPOLOGY and PAYLOAD"), (("torus", payload), "torus"), (("quad", "/none"), "/none"),
                            (("quad", payload, "--kernel", "2.4"), "2.4"), (("quad", payload, "--env", "a"), "'a'"),
                            (("quad", payload, "--timeout", "soon"), "soon")):
        expect(f"wrong call: {' '.join(arguments) or 'no argument'}", lab(*arguments), 2, out="", err=said, err_lines=1)


def main():
    with tempfile.TemporaryDirectory() as folder:
        wrong_calls(script(folder, "true", ""))
        tell = script(folder, "tell", 'cat word; echo "$A"; /lab/cat /sys/devices/system/node/has_cpu; grep -o "numa_b.*$" '
                      '/proc/cmdline; grep Mems_allowed_list /proc/self/status; echo >&2 end; exit 3\n')
        word = script(folder, "word", "")
        expect("status, both outputs, files, a dynamic program, environment, kernel arguments, cpuset",
               lab("cpuset", tell, word, "/bin/cat", "--env", "A=b c", "--kernel-args", "norandmaps sure"), 3,
               out="#!/bin/sh\nb c\n0-3\nnuma_balancing=disable no_timer_check init_on_alloc=0 norandmaps sure\nMems_allowed_list:\t0-1\nend\n",
               err="kernel log of cpuset")
        die = script(folder, "die", "echo c >/proc/sysrq-trigger; sleep 1000\n")
        expect("a panic", lab("uma", die), 125, err="sysrq triggered crash")
        expect("a payload that takes too long", lab("uma", die, "--timeout", "1"), 124, err="within 1 s")


if __name__ == "__main__":
    main()
