"""A set-user-ID program ignores every option and prints nothing about them: its environment is the caller's.

Usage: test_at_secure.py PROGRAM. The program is report_program with the library linked in, because the dynamic linker
ignores preloads of such programs by itself. A copy without the bit, run the same way, must report: so silence means
that the bit was seen. Needs root to make the copy and a file system that honours the bit.
"""

import os
import shutil
import subprocess
import sys
import tempfile

SKIP = 77
NOBODY = 65534


def run(program, options):
    env = {"PATH": "/usr/bin:/bin"}
    env.update({"UMALLOC_" + name: value for name, value in options.items()})
    done = subprocess.run([program, "hello", "whose", "secure", "return"], env=env, capture_output=True, user=NOBODY,
                          group=NOBODY, extra_groups=[], timeout=120, check=False, cwd="/")
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def main():
    if os.geteuid():
        print("skipped: only root can make a set-user-ID copy owned by another user")
        return SKIP
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        plain, raised = os.path.join(folder, "plain"), os.path.join(folder, "raised")
        for copy, mode in [(plain, 0o755), (raised, 0o4755)]:
            shutil.copy(sys.argv[1], copy)
            os.chmod(copy, mode)
        if os.statvfs(folder).f_flag & os.ST_NOSUID:
            print(f"skipped: {folder} is mounted nosuid")
            return SKIP
        status, out, err = run(plain, {"STATS": "text"})
        assert (status, out) == (0, "hello\nours\nnot secure\n"), (status, out, err)
        assert err.startswith("umalloc report: plain "), err
        excluded = run(plain, {"STATS": "text", "EXCLUDE": "plain"})
        assert excluded == (0, "hello\nanother's\nnot secure\n", ""), f"not excluded: {excluded}"
        target = os.path.join(folder, "report")
        for options in [{"STATS": "text"}, {"STATS": "json", "STATS_FILE": target}, {"VERBOSE": "1"},
                        {"STRICT": "1", "DECAY_MS": "abc"}, {"NOPE": "1"},
                        {"VERBOSE": "1", "EXCLUDE": "raised"}]:
            status, out, err = run(raised, options)
            assert (status, out, err) == (0, "hello\nours\nsecure\n", ""), (options, status, out, err)
        assert not os.path.exists(target), "a report of a set-user-ID program"
    print("every option ignored")
    return 0


if __name__ == "__main__":
    sys.exit(main())
