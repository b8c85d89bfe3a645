"""What the tests of real programs share: run a command without and with the library, and compare.

A run "under" the library has it in LD_PRELOAD and asks for a report at exit, one file a process; ran_under() demands the
report of a program, which proves that umalloc served it. All else of the environment is the same in both runs, and TMPDIR
and HOME are folders of the test's own.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77


class Real:
    def __init__(self, what, tools=()):
        parser = argparse.ArgumentParser(description=what)
        parser.add_argument("programs", nargs="*", help="programs that the build made for this test")
        parser.add_argument("--lib", default=os.environ.get("UMALLOC_LIB"), help="library to preload")
        parser.add_argument("--no-report", action="store_true", help="the library is another one: demand no reports")
        args = parser.parse_args()
        if not args.lib:
            parser.error("no library: give --lib or set UMALLOC_LIB")
        for tool in tools:
            if not shutil.which(tool):
                skip(f"no {tool} here")
        self.lib = os.path.abspath(args.lib)
        self.programs = [os.path.abspath(p) for p in args.programs]
        self.want_reports = not args.no_report
        self.failures = []
        self._folder = tempfile.TemporaryDirectory(prefix="umalloc-real-")
        self.dir = self._folder.name
        self.reports = self.folder("reports")
        self.home = self.folder("home")
        self.tmp = self.folder("tmp")

    def folder(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        return path

    def path(self, name):
        return os.path.join(self.dir, name)

    def env(self, under, **more):
        env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith(("UMALLOC_", "MALLOC_"))}
        env |= {"LC_ALL": "C", "HOME": self.home, "TMPDIR": self.tmp} | more
        if under:
            env |= {"LD_PRELOAD": self.lib, "UMALLOC_STATS": "json",
                    "UMALLOC_STATS_FILE": os.path.join(self.reports, "%n.%p.json")}
            env |= {k: v for k, v in os.environ.items() if k == "UMALLOC_HARDEN"}
        return env

    def run(self, command, under, cwd=None, input=None, want=0, **env):
        """Output as bytes; a status other than `want` is a failure (None: any status)."""
        done = subprocess.run(command, cwd=cwd or self.dir, input=input, capture_output=True, env=self.env(under, **env))
        if want is not None and done.returncode != want:
            tail = (done.stdout + done.stderr)[-3000:].decode(errors="replace")
            self.fail(f"{command[0]} {'under the library' if under else 'alone'} ended with {done.returncode}\n{tail}")
        return done

    def same(self, what, command, compare_stderr=True, **run):
        """Runs it both ways; status and output must be equal. Returns the output under the library."""
        alone, under = self.run(command, False, **run), self.run(command, True, **run)
        self.equal(f"{what}: status", alone.returncode, under.returncode)
        self.equal(f"{what}: output", alone.stdout, under.stdout)
        if compare_stderr:
            self.equal(f"{what}: messages", alone.stderr, under.stderr)
        return under.stdout

    def equal(self, what, alone, under):
        if alone == under:
            size = f" ({len(alone)} bytes)" if isinstance(alone, bytes) else f" ({alone})"
            print(f"same: {what}{size[:60]}", flush=True)
        else:
            self.fail(f"{what} differs:\n  alone {repr(alone)[:600]}\n  under {repr(under)[:600]}")

    def same_file(self, what, alone, under):
        with open(alone, "rb") as a, open(under, "rb") as u:
            self.equal(what, a.read(), u.read())

    def true(self, what, holds):
        print(f"{'yes' if holds else 'NO'}: {what}", flush=True)
        if not holds:
            self.failures.append(what)

    def fail(self, why):
        print(f"FAILED: {why}", flush=True)
        self.failures.append(why.split("\n")[0])

    def served(self, program):
        """Reports that processes of this program left; each is checked to be a report of a heap in use."""
        found = [f for f in os.listdir(self.reports) if f.rsplit(".", 2)[0] == program]
        for name in found:
            with open(os.path.join(self.reports, name)) as text:
                report = json.load(text)
            if report["small"]["allocs"] + report["counters"]["large_allocs"] == 0:
                self.fail(f"{name} reports no allocation")
        return len(found)

    def ran_under(self, *programs):
        for program in programs if self.want_reports else ():
            self.true(f"umalloc served {program}", self.served(program) > 0)

    def end(self):
        self._folder.cleanup()
        print(f"{len(self.failures)} failures" + "".join(f"\n  {f}" for f in self.failures), flush=True)
        sys.exit(1 if self.failures else 0)


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(SKIPPED)
