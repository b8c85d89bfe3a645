#!/usr/bin/env python3
"""redis-server under the library, driven by redis-benchmark and its own memory commands.

On a Unix socket in the test's folder, so nothing is shared with another server. Data made by fixed commands must have the
same digest in both runs, after a save by a forked child and a restart from its file too.
"""
import os
import subprocess
import sys

from real import Real

BENCHMARK = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,lrange_100,mset".split(",")


class Server:
    """Its log is a pipe: reading on to a line is how the test waits, and the pipe's end means that the server died."""

    def __init__(self, real, under):
        self.real, self.under = real, under
        self.dir = real.folder(f"redis-{'under' if under else 'alone'}")
        self.socket = os.path.join(self.dir, "s")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.dir, "--save", "",
             "--enable-debug-command", "yes", "--io-threads", "2", "--lazyfree-lazy-user-del", "yes"],
            env=self.real.env(self.under), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self.logged("eady to accept connections")

    def logged(self, text):
        """Waits until the server says so."""
        seen = []
        for line in self.process.stdout:
            seen.append(line.decode(errors="replace"))
            if text in seen[-1]:
                return True
        self.real.fail(f"redis-server ended before `{text}`: status {self.process.wait()}\n{''.join(seen)[-3000:]}")
        return False

    def alive(self, after):
        if self.ask("PING", want=None).strip() == "PONG":
            return True
        log = self.process.stdout.read().decode(errors="replace")
        self.real.fail(f"redis-server is gone after {after}: status {self.process.wait()}\n{log[-6000:]}")
        return False

    def ask(self, *command, want=0):
        return self.real.run(["redis-cli", "-s", self.socket, *command], self.under, want=want).stdout.decode()

    def stop(self):
        self.ask("SHUTDOWN", "NOSAVE", want=None)
        log = self.process.stdout.read().decode(errors="replace")
        if self.process.wait():
            self.real.fail(f"redis-server ended with {self.process.returncode}\n{log[-3000:]}")


def fill(server):
    """The same data on every run."""
    lines = [f"SET k{i} {'v' * (1 + i % 900)}" for i in range(20000)]
    lines += [f"HSET h{i % 50} f{i} {i * 7919}" for i in range(10000)]
    lines += [f"ZADD z{i % 20} {i * 31 % 1009} m{i}" for i in range(10000)]
    lines += [f"RPUSH l{i % 20} {'x' * (1 + i % 300)}" for i in range(10000)]
    lines += [f"APPEND k{i * 3} {'y' * (1 + i % 2000)}" for i in range(5000)]
    lines += [f"DEL k{i * 7}" for i in range(2000)]
    done = server.real.run(["redis-cli", "-s", server.socket], server.under, input="\n".join(lines).encode())
    server.real.true("each command was accepted", b"ERR" not in done.stdout)


def memory_commands(real, server):
    doctor = server.ask("MEMORY", "DOCTOR")
    print(f"MEMORY DOCTOR: {doctor.strip()[:300]}")
    real.true("MEMORY DOCTOR answers", len(doctor) > 20)
    real.true("MEMORY STATS answers", "peak.allocated" in server.ask("MEMORY", "STATS"))
    real.equal("MEMORY PURGE", "OK", server.ask("MEMORY", "PURGE").strip())
    real.true("MEMORY USAGE is a number", server.ask("MEMORY", "USAGE", "k1000").strip().isdigit())
    server.ask("MEMORY", "MALLOC-STATS")
    info = dict(line.split(":", 1) for line in server.ask("INFO", "memory").splitlines() if ":" in line)
    used, rss = int(info.get("used_memory", 0)), int(info.get("used_memory_rss", 0))
    print(f"INFO memory: used {used}, rss {rss}, allocator {info.get('mem_allocator')}")
    real.true("both are above the data", min(used, rss) > 10_000_000)


def drive(real, under):
    server = Server(real, under)
    if not server.start():
        return None
    bench = real.run(["redis-benchmark", "-s", server.socket, "-q", "-n", "6000", "-c", "20", "-P", "8", "-r", "5000",
                      "-d", "200", "--threads", "2", "-t", ",".join(BENCHMARK)], under)
    if not server.alive("redis-benchmark"):
        return None
    real.true("redis-benchmark ran every test", bench.stdout.count(b"requests per second") >= len(BENCHMARK))
    server.ask("FLUSHALL")
    fill(server)
    digest = server.ask("DEBUG", "DIGEST").strip()
    memory_commands(real, server)
    if not server.alive("the memory commands"):
        return None
    server.ask("BGSAVE")
    real.true("the forked child saved", server.logged("Background saving terminated with success"))
    server.stop()
    if not server.start():
        return None
    reloaded = server.ask("DEBUG", "DIGEST").strip()
    server.stop()
    return digest, reloaded


def main():
    real = Real(__doc__.split("\n")[0], ["redis-server", "redis-cli", "redis-benchmark"])
    alone, under = drive(real, False), drive(real, True)
    real.equal("digest of the data, then of what was saved and loaded", alone, under)
    real.true("the digest survived the restart", under is not None and under[0] == under[1] and len(under[0]) == 40)
    real.ran_under("redis-server", "redis-cli", "redis-benchmark")
    real.end()


if __name__ == "__main__":
    sys.exit(main())
