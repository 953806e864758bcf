#!/usr/bin/env bash
# Words of deleted rows stay readable in an FTS5 index that has 'secure-delete' on.
#
# The option takes deleted words out of the index pages; the shadow table `%_idx` keeps the words that pages began with, as
# keys to find them. 'optimize' and VACUUM leave them; 'rebuild' removes them.
#
# apsw 3.54.1.0 (PyPI, with SQLite 3.54.1). Deleted: 2,990 of 3,000 rows, each with a word of its own. Output seen:
#   after delete: ['confidential02874']
#   after optimize: ['confidential02874']
#   after VACUUM: ['confidential02874']
#   after rebuild and VACUUM: []
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check apsw==3.54.1.0
"$dir/v/bin/python" - "$dir/t.db" <<'PY'
import sys, apsw

db = apsw.Connection(sys.argv[1])
db.execute("PRAGMA secure_delete=on")
db.execute("CREATE VIRTUAL TABLE t USING fts5(body)")
db.execute("INSERT INTO t(t, rank) VALUES('secure-delete', 1)")
with db:
    for n in range(1, 3001):
        db.execute("INSERT INTO t(rowid, body) VALUES(?, ?)", (n, f"confidential{n:05} common filler{n % 7}"))
db.execute("DELETE FROM t WHERE rowid <= 2990")
kept = {f"confidential{n:05}" for n in range(2991, 3001)}

def left(when):
    """Keys that only a deleted word can have left (a key may be cut short after the letters that tell it apart)."""
    keys = [term[1:].decode() for (term,) in db.execute("SELECT CAST(term AS BLOB) FROM t_idx")]
    found = [key for key in keys if key.startswith("confidential") and not any(word.startswith(key) for word in kept)]
    file = open(sys.argv[1], "rb").read()
    assert all(key.encode() in file for key in found)
    print(f"after {when}: {found}")
    return len(found)

seen = [left("delete")]
db.execute("INSERT INTO t(t) VALUES('optimize')")
seen.append(left("optimize"))
db.execute("VACUUM")
seen.append(left("VACUUM"))
db.execute("INSERT INTO t(t) VALUES('rebuild')")
db.execute("VACUUM")
seen.append(left("rebuild and VACUUM"))
assert min(seen[:3]) > 0 and seen[3] == 0, "behaviour has changed"
PY
