"""What the cases with a server share: start it under BENCH_PRELOAD, wait until it answers, read what it cost, end it.

Only the server is preloaded, not its client. Its cpu time and peak RSS (VmHWM) are read while it lives, so its shutdown does
not count. `seconds` is the wall time of the client. Given two cpus, server and client get one each.
"""
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from runner import pinned  # noqa: E402

READY_SECONDS_MAX = 30  # ends a hang
POLL_MS = 2             # between two tries to connect


def preload():
    return os.environ.get("BENCH_PRELOAD", "")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    """User and system time of all threads of a process, from its cpu clock: finer than the ticks in /proc."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(pid)
    return time.clock_gettime(clock.value)


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


class Server:
    """A running server: `with Server(argv, preload, connect)`. argv is a function of a folder of its own for its files."""

    def __init__(self, argv, library, connect):
        self._folder = tempfile.TemporaryDirectory(prefix="real-", dir="/tmp")  # a socket's path must be short
        self.folder, self._argv, self._library, self._connect = self._folder.name, argv, library, connect
        self._cpus = sorted(os.sched_getaffinity(0))[:2]
        self._process = None

    def __enter__(self):
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"} | {"LC_ALL": "C"}
        if self._library:
            environment["LD_PRELOAD"] = self._library
        with open(os.path.join(self.folder, "log"), "wb") as log:
            with pinned(self._cpus[0]):
                self._process = subprocess.Popen(self._argv(self.folder), env=environment, stdin=subprocess.DEVNULL,
                                                 stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_):
        self._end()

    def _wait(self):
        ended = os.pidfd_open(self._process.pid)
        try:
            wait = select.poll()
            wait.register(ended, select.POLLIN)
            limit = time.monotonic() + READY_SECONDS_MAX
            while not self._answers():
                if wait.poll(POLL_MS) or time.monotonic() > limit:
                    with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                        sys.exit(f"{self._process.args[0]} under '{self._library}' does not serve:\n{log.read()}")
        finally:
            os.close(ended)

    def _answers(self):
        try:
            self._connect(self.folder)
            return True
        except OSError:
            return False

    def _end(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def client(self, argv):
        """Runs a client to its end; returns what it wrote and the wall time it took."""
        with pinned(self._cpus[-1]):
            start = time.monotonic()
            done = subprocess.run(argv, capture_output=True, text=True)
            seconds = time.monotonic() - start
        if done.returncode:
            sys.exit(f"{argv[0]}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout, seconds

    def figures(self, seconds):
        """The lines for the driver, of what the server has cost so far."""
        pid = self._process.pid
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            if self._library and os.path.basename(os.path.realpath(self._library)) not in maps.read():
                sys.exit(f"{self._library} is not in the server")
        return f"seconds {seconds:.6f}\ncpu_s {cpu_seconds(pid):.6f}\npeak_kib {peak_kib(pid)}"
