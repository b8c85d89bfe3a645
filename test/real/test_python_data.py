#!/usr/bin/env python3
"""python3 works on data of many kinds under the library, each object from malloc; what it prints must be that of the run
without: JSON, regular expressions, sorting, a database in memory, compression, threads, a forked child, big numbers.
"""
import sys

from real import Real

PROGRAM = r"""
import collections, hashlib, json, os, re, sqlite3, threading, zlib

rows = [{"id": i, "name": "n%d" % (i * 7919 % 1009), "tags": ["t%d" % (i % k) for k in range(1, 6)]} for i in range(4000)]
text = json.dumps(rows)
assert json.loads(text) == rows
print(len(text), hashlib.sha256(text.encode()).hexdigest())
words = re.findall(r'"n(\d+)"', text)
print(collections.Counter(w[-1] for w in words).most_common())
print(re.sub(r"t(\d)", lambda m: "x" * int(m[1]), text)[:200])
print(sorted(words, key=lambda w: (len(w), w[::-1]))[:20])

base = sqlite3.connect(":memory:")
base.execute("create table item (id integer primary key, name text, body blob)")
base.executemany("insert into item values (?, ?, ?)", ((r["id"], r["name"], zlib.compress(json.dumps(r).encode())) for r in rows))
print(base.execute("select name, count(*), sum(length(body)) from item group by name order by 2 desc, 1 limit 5").fetchall())

packed = zlib.compress(text.encode() * 20)
assert zlib.decompress(packed) == text.encode() * 20

sums = [0] * 4
def work(n):
    for i in range(300):
        sums[n] += len(str([n] * (i * 37 % 3000)))
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(sums)

pid = os.fork()
if pid == 0:
    del rows[::2]
    os._exit(len(json.dumps(rows)) % 100)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
grown = bytearray()
for i in range(2000):
    grown += b"%d," % i * 100
print(len(grown), pow(3, 20000, 10 ** 50))
"""


def main():
    real = Real(__doc__.split("\n")[0])
    out = real.same("python3 at work", ["/usr/bin/python3", "-c", PROGRAM], PYTHONMALLOC="malloc", PYTHONHASHSEED="0")
    real.true("it came to its end", len(out.splitlines()) == 8)
    real.ran_under("python3")
    real.end()


if __name__ == "__main__":
    sys.exit(main())
