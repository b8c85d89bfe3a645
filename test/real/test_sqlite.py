#!/usr/bin/env python3
"""sqlite3 builds, changes, vacuums and checks a database under the library; its dump must be that of the run without."""
import os
import sys

from real import Real

SCRIPT = """
PRAGMA journal_mode = WAL;
PRAGMA cache_size = -16000;
CREATE TABLE item (id INTEGER PRIMARY KEY, grp INTEGER, name TEXT, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO item SELECT i, (i * 7919) % 997, printf('item %08d', (i * 104729) % 60000), zeroblob(i % 700) FROM n;
CREATE INDEX item_grp ON item (grp, name);
CREATE VIRTUAL TABLE words USING fts5 (name, content='');
INSERT INTO words (rowid, name) SELECT id, name FROM item WHERE id % 5 = 0;
BEGIN; UPDATE item SET body = CAST(name AS BLOB) WHERE id % 3 = 0; DELETE FROM item WHERE grp % 11 = 4; COMMIT;
BEGIN; DELETE FROM item; ROLLBACK;
SELECT grp, count(*), sum(length(body)), max(name), group_concat(id, ',') FROM item GROUP BY grp ORDER BY 2, 1;
SELECT a.grp, count(*) FROM item a JOIN item b ON a.grp = b.grp AND a.name < b.name GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20;
SELECT count(*) FROM words WHERE words MATCH 'item';
SELECT json_group_array(json_object('id', id, 'name', name)) FROM item WHERE id < 3000;
VACUUM;
PRAGMA integrity_check;
"""


def main():
    real = Real(__doc__, ["sqlite3"])
    results = []
    for under in (False, True):
        database = real.path(f"{'under' if under else 'alone'}.db")
        done = real.run(["sqlite3", "-bail", database], under, input=SCRIPT.encode())
        dump = real.run(["sqlite3", database, ".dump"], under).stdout
        results.append((done.stdout, done.stderr, dump, os.path.getsize(database)))
    for what, alone, under in zip(("answers", "messages", "dump", "size of the database"), *results):
        real.equal(what, alone, under)
    real.true("integrity_check says ok", results[1][0].rstrip().endswith(b"\nok"))
    real.ran_under("sqlite3")
    real.end()


if __name__ == "__main__":
    sys.exit(main())
