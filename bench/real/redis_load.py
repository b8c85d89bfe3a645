#!/usr/bin/env python3
"""redis-server under BENCH_PRELOAD, loaded by redis-benchmark without it.

Part `keys` sets and gets strings of one size under random keys: a live set whose blocks are replaced at random. Part
`types` grows and shrinks lists, sets, hashes and sorted sets, and stores strings of 4 KiB. Nothing is written to disk.
Checked: each command ran as often as asked for and none failed, keys set before are as they were, and keys and list elements
that the load wrote hold what it was told to write.

Debian's redis-server is linked with jemalloc. To compare with glibc, libc.so.6 is preloaded: it then comes before jemalloc
in the search for malloc and serves every call. jemalloc stays loaded in all runs and costs each the same little.
redis-benchmark seeds its keys by the time: which keys it asks for differs from run to run, not how many.

Usage: redis_load.py keys|types REQUESTS
"""
import os
import re
import socket
import sys

from server import Server, preload

CLIENTS, PIPELINE = 8, 32
KEPT = 1000
SHORT, LONG, PAGE, ITEMS = "v" * 100, "w" * 300, "p" * 4096, ("e" * 60, "f" * 90)
WRITTEN = (SHORT, LONG, PAGE, *ITEMS, "1")  # 1: that a key of another kind exists
READ = {"key": ["GET"], "page": ["GET"], "list": ["LINDEX", "-1"]}
STATISTICS = re.compile(r"cmdstat_(\w+):calls=(\d+).*rejected_calls=(\d+),failed_calls=(\d+)")


def address(folder):
    return os.path.join(folder, "socket")


def connect(folder):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(address(folder))
    return connection


def argv(folder):
    return ["redis-server", "--port", "0", "--unixsocket", address(folder), "--dir", folder, "--save", "",
            "--appendonly", "no", "--daemonize", "no"]


class Redis:
    """A client of the protocol: as much of it as the checks need."""

    def __init__(self, folder):
        self._connection = connect(folder)
        self._replies = self._connection.makefile("rb")

    def __call__(self, *words):
        strings = b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, words))
        self._connection.sendall(b"*%d\r\n" % len(words) + strings)
        kind, rest = self._replies.read(1), self._replies.readline()[:-2]
        if kind == b"$":
            return self._replies.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
        if kind == b"-":
            sys.exit(f"{words}: {rest.decode()}")
        return rest.decode()


def commands(part, requests):
    """Command lines for redis-benchmark: (options, words of the command)."""
    n = str(requests)
    if part == "keys":
        return [(["-n", n, "-r", "50000"], ["SET", "key:__rand_int__", SHORT]),
                (["-n", n, "-r", "50000"], ["GET", "key:__rand_int__"]),
                (["-n", n, "-r", "50000"], ["SET", "key:__rand_int__", LONG])]
    return [(["-n", n, "-r", "500"], ["LPUSH", "list:__rand_int__", *ITEMS]),
            (["-n", n, "-r", "500"], ["RPOP", "list:__rand_int__"]),
            (["-n", n, "-r", "2000"], ["SADD", "set:__rand_int__", "__rand_int__ member"]),
            (["-n", n, "-r", "2000"], ["HSET", "hash:__rand_int__", "field __rand_int__", "h" * 80]),
            (["-n", n, "-r", "2000"], ["ZADD", "rank:__rand_int__", "__rand_int__", "member __rand_int__"]),
            (["-n", n, "-r", "2000"], ["SET", "page:__rand_int__", PAGE])]


def check(redis, asked):
    calls = {}
    for name, count, rejected, failed in STATISTICS.findall(redis("INFO", "commandstats")):
        calls[name.upper()] = int(count)
        if int(rejected) or int(failed):
            sys.exit(f"{name}: {rejected} rejected, {failed} failed")
    wanted = {name: sum(n for other, n in asked if other == name) for name, _ in asked}
    wanted["SET"] += KEPT
    if any(calls.get(name) != count for name, count in wanted.items()):
        sys.exit(f"asked for {wanted}, got {calls}")
    if any(redis("GET", f"kept {i}") != f"value {i} " * (i % 50) for i in range(KEPT)):
        sys.exit("a key that was set before the load has changed")
    for key in (redis("RANDOMKEY") for _ in range(KEPT)):
        command, *where = READ.get(key.partition(":")[0], ["EXISTS"])
        if redis(command, key, *where) not in WRITTEN:
            sys.exit(f"{key} holds what nobody wrote")


def main():
    part, requests = sys.argv[1], int(sys.argv[2])
    requests -= requests % (CLIENTS * PIPELINE)  # it sends whole pipelines
    with Server(argv, preload() or "libc.so.6", connect) as server:
        redis = Redis(server.folder)
        for i in range(KEPT):
            redis("SET", f"kept {i}", f"value {i} " * (i % 50))
        benchmark = ["redis-benchmark", "-s", address(server.folder), "-c", str(CLIENTS), "-P", str(PIPELINE), "-q"]
        seconds, asked = 0, []
        for options, words in commands(part, requests):
            _, took = server.client([*benchmark, *options, *words])
            seconds += took
            asked.append((words[0], requests))
        figures = server.figures(seconds)
        check(redis, asked)
    print(figures)


if __name__ == "__main__":
    main()
