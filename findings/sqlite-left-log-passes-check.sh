#!/usr/bin/env bash
# An older, shorter copy of a SQLite database beside the write-ahead log of its longer successor opens without a word,
# and `integrity_check` says ok, although the log's commits state that the database has 202 pages and file and log have
# 3 of them.
#
# That a log must not be left beside another file is documented. What surprises is that nothing notices: each commit in the
# log states the number of pages, and SQLite (3.54.1) takes it from page 1 instead, which the log need not have. The
# committed change is gone too: the page in the log is one that the old file does not use.
#
# apsw 3.54.1.0 (PyPI). Output seen:
#   the log's commit says 202 pages; the file has 2, the log 1
#   page_count 2, integrity_check ok, rows 1, the committed change is there: False
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check apsw==3.54.1.0

cat >"$dir/run.py" <<'PY'
import os, shutil, struct, sys, apsw

os.chdir(sys.argv[1])
long = apsw.Connection("long.db")
for sql in (
    "PRAGMA page_size = 4096", "PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, data)", "INSERT INTO t VALUES (0, 'begun')",
    "PRAGMA wal_checkpoint(TRUNCATE)",
):
    list(long.execute(sql))
shutil.copy("long.db", "old.db")  # a backup
list(long.execute("WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 200) "
                  "INSERT INTO t SELECT id, zeroblob(4000) FROM n"))
list(long.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
list(long.execute("UPDATE t SET data = 'changed' WHERE id = 0"))
# The program is killed here, and the backup put back without taking the log away.
shutil.copy("old.db", "back.db")
shutil.copy("long.db-wal", "back.db-wal")

log = open("back.db-wal", "rb").read()
frames = (len(log) - 32) // (24 + 4096)
committed = struct.unpack(">I", log[32 + 4:32 + 8])[0]
pages = os.path.getsize("back.db") // 4096
print(f"the log's commit says {committed} pages; the file has {pages}, the log {frames}")

back = apsw.Connection("back.db")
one = lambda sql: list(back.execute(sql))[0][0]
count, check, rows = one("PRAGMA page_count"), one("PRAGMA integrity_check"), one("SELECT count(*) FROM t")
changed = one("SELECT data FROM t WHERE id = 0") == "changed"
print(f"page_count {count}, integrity_check {check}, rows {rows}, the committed change is there: {changed}")
assert (committed, count, check, rows, changed) == (202, 2, "ok", 1, False), "behaviour has changed"
PY
"$dir/v/bin/python" "$dir/run.py" "$dir"
