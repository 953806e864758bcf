"""Other tools that have the file open: while a store records, and while it is closed."""

import shutil
import sqlite3
import subprocess
import sys

from .held import accounts, feed, recording
from .support import check, situation, wait_until


def rows(out):
    return int(out.strip().splitlines()[-1])


@situation("sqlite3")
def sqlite3_reads_while_a_store_records(box):
    with recording(box, range(50)) as process:
        for first in (50, 100, 150):
            feed(process, range(first, first + 50))
            count = lambda: rows(subprocess.check_output(
                ["sqlite3", "-readonly", box.db, "SELECT count(*) FROM requests"], text=True
            ))
            wait_until(lambda: count() == first + 50, "it sees what was committed")
        done = subprocess.run(["sqlite3", box.db, "PRAGMA integrity_check"], capture_output=True, text=True)
        check(done.stdout.strip() == "ok", done.stdout)


@situation("sqlite3")
def sqlite3_checkpoints_while_a_store_records(box):
    with recording(box, range(50)) as process:
        for first in (50, 100, 150):
            feed(process, range(first, first + 50))
            subprocess.run(
                ["sqlite3", "-cmd", ".timeout 5000", box.db, "PRAGMA wal_checkpoint(TRUNCATE)"],
                capture_output=True, check=True,
            )


@situation("sqlite3")
def a_copy_by_the_backup_interface_while_a_store_records(box):
    copy = box.folder / "copy.db"
    with recording(box, range(50)) as process:
        feed(process, range(50, 300))
        subprocess.run(["sqlite3", box.db, f".backup {copy}"], check=True, capture_output=True)
        check(len(box.listed(db=copy)) >= 50, "what was committed is in the copy")
        box.verify(db=copy)


@situation()
def a_copy_of_database_and_log_while_a_reader_holds_checkpoints_off(box):
    """As Litestream does: with a read transaction open the log's beginning stays, and both files copied in
    order of log, database, log are one state."""
    copy = box.folder / "copy.db"
    with recording(box, range(50)) as process:
        reader = sqlite3.connect(box.db)
        reader.execute("BEGIN")
        (seen,) = reader.execute("SELECT count(*) FROM requests").fetchone()
        feed(process, range(50, 300))
        shutil.copyfile(box.db, copy)
        shutil.copyfile(f"{box.db}-wal", f"{copy}-wal")
        reader.close()
        check(len(box.listed(db=copy)) >= seen, "what the reader saw is in the copy")
        box.verify(db=copy)


@situation("sqlite3")
def sqlite3_vacuums_a_closed_store(box):
    told = box.record(50)
    subprocess.run(["sqlite3", box.db, "VACUUM"], check=True, capture_output=True)
    accounts(box, told)
    told += box.record(50, first=100)
    accounts(box, told)


@situation()
def a_reader_that_holds_an_old_state_stops_nobody(box):
    with recording(box, range(50)) as process:
        reader = sqlite3.connect(box.db)
        reader.execute("BEGIN")
        (before,) = reader.execute("SELECT count(*) FROM requests").fetchone()
        feed(process, range(50, 300))
        wait_until(lambda: len(box.listed()) == 300, "recording goes on")
        (after,) = reader.execute("SELECT count(*) FROM requests").fetchone()
        check(before == after, "it sees its own state")
        reader.close()


@situation("datasette")
def duckdb_reads_while_a_store_records(box):
    """The extension that reads SQLite files is downloaded by DuckDB; what is exported needs none."""
    exported = box.folder / "exported.csv"
    with recording(box, range(50)):
        box.run("export", "--format", "csv", "-o", exported)
        script = f"import duckdb; print(duckdb.sql(\"SELECT count(*) FROM read_csv('{exported}')\").fetchone()[0])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        check(done.returncode == 0 and rows(done.stdout) == 50, done.stdout + done.stderr)


@situation("datasette")
def datasette_reads_while_a_store_records(box):
    with recording(box, range(50)) as process:
        done = subprocess.run(
            ["datasette", box.db, "--get", "/audit/requests.json?_shape=array&_size=max"],
            capture_output=True, text=True,
        )
        check(done.returncode == 0 and done.stdout.count('"request_id"') >= 50, done.stdout[:500] + done.stderr)
        feed(process, range(50, 60))
