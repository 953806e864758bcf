"""Backups put back, and files of killed writers where nothing can be written."""

import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess

from .support import check, line, mount_tmpfs, recorded, situation, wait_until


def kill_with_log(box, first=0):
    """Kills a writer while its write-ahead log holds requests that the database does not; returns how many
    are readable then."""
    # Looked at first: a file that the writer is creating is there and empty for a moment.
    before = len(box.listed()) if box.db.exists() else 0
    process = box.start("record", "-")
    seen = lambda: len(box.run("list", "-n", "0", "--json", codes=(0, 1, 2)).stdout.splitlines())
    number = first
    while True:
        for number in range(number, number + 100):
            process.stdin.write(json.dumps(line(number)) + "\n")
        number += 1
        process.stdin.flush()
        count = before + number - first
        wait_until(lambda: seen() == count, "all is committed")
        # What comes before a checkpoint is in the database too.
        process.send_signal(signal.SIGSTOP)
        if with_database_alone(box) < count:
            break
        process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return count


def with_database_alone(box):
    """How many requests a copy without the write-ahead log shows."""
    alone = box.folder / "alone.db"
    shutil.copyfile(box.db, alone)
    try:
        with sqlite3.connect(f"file:{alone}?immutable=1", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM requests").fetchone()[0]
    except sqlite3.Error:
        return 0


def kept_aside(folder):
    """What restores have set aside, without write-ahead logs."""
    found = folder.glob("*.before-restore-*")
    return sorted(path for path in found if not path.name.endswith(("-wal", "-shm", ".lock")))


def read_only_copy(box, names):
    """The files of these names in a folder that is mounted read-only."""
    source = box.folder / "source"
    source.mkdir()
    for name in names:
        shutil.copyfile(box.folder / name, source / name)
    mounted = box.folder / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "--bind", source, mounted], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", mounted], check=True)
    return mounted / names[0]


@situation("root")
def a_killed_writers_file_is_read_on_a_read_only_mount(box):
    count = kill_with_log(box)
    database = read_only_copy(box, ["audit.db", "audit.db-wal"])
    temporary = box.folder / "temporary"
    temporary.mkdir()
    env = {"TMPDIR": str(temporary)}
    done = box.run("list", "-n", "0", "--json", db=database, env=env)
    check(len(done.stdout.splitlines()) == count, "what is in the write-ahead log is read")
    check("read from a copy" in done.stderr, done.stderr)
    for command in (["doctor"], ["verify"], ["stats"], ["show", "request-7"]):
        box.run(*command, db=database, env=env)
    done = box.run("tail", db=database, env=env)
    check("nothing to follow" in done.stderr, done.stderr)
    check(not list(temporary.iterdir()), "no copy is left behind")


@situation("root")
def a_killed_writers_file_with_all_that_is_beside_it_is_read_on_a_read_only_mount(box):
    count = kill_with_log(box)
    database = read_only_copy(box, ["audit.db", "audit.db-wal", "audit.db-shm"])
    check(len(box.listed(db=database)) == count, "what is in the write-ahead log is read")
    for command in (["doctor"], ["verify"], ["backup", box.folder / "copy.db"]):
        box.run(*command, db=database)


@situation("root")
def a_copy_that_would_not_fit_is_not_made(box):
    kill_with_log(box)
    database = read_only_copy(box, ["audit.db", "audit.db-wal"])
    small = mount_tmpfs(box.folder / "small", "64k")
    done = box.run("list", db=database, env={"TMPDIR": str(small)}, codes=(2,))
    check("bytes are free there" in done.stderr and "TMPDIR" in done.stderr, done.stderr)
    check(not list(small.iterdir()), "nothing is left there")


@situation("root")
def a_copy_that_a_killed_reader_left_is_removed_by_the_next(box):
    kill_with_log(box)
    database = read_only_copy(box, ["audit.db", "audit.db-wal"])
    temporary = box.folder / "temporary"
    temporary.mkdir()
    left = temporary / "auditlite-read-1-0"
    left.mkdir()
    (left / "in-use.lock").touch()
    (left / "audit.db").write_bytes(b"content")
    box.run("list", db=database, env={"TMPDIR": str(temporary)})
    check(not list(temporary.iterdir()), "the copy before is gone too")


@situation("root")
def another_user_reads_a_killed_writers_file_in_a_folder_without_rights(box):
    count = kill_with_log(box)
    other = box.folder / "other"
    other.mkdir()
    for name in ("audit.db", "audit.db-wal"):
        shutil.copyfile(box.folder / name, other / name)
        (other / name).chmod(0o644)
    temporary = box.folder / "temporary"
    temporary.mkdir()
    temporary.chmod(0o1777)
    for folder in (other, box.folder):
        folder.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    program = box.folder / "auditlite"
    shutil.copy(box.auditlite, program)
    command = [*as_nobody, program, "--db", other / "audit.db", "list", "-n", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(temporary)})
    check(len(done.stdout.splitlines()) == count, done.stderr)
    check(not (other / "audit.db-shm").exists(), "nothing was written beside it")


@situation("sqlite3")
def restoring_keeps_a_stale_log_away_from_the_backup(box):
    """`cp backup.db audit.db` leaves the write-ahead log of the file before, which sqlite3 replays into it."""
    box.record(40)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    count = kill_with_log(box, first=5000)
    copied = box.folder / "copied"
    copied.mkdir()
    shutil.copyfile(backup, copied / "audit.db")
    shutil.copyfile(f"{box.db}-wal", copied / "audit.db-wal")
    checked = subprocess.run(
        ["sqlite3", copied / "audit.db", "PRAGMA integrity_check"], capture_output=True, text=True
    )
    check(checked.stdout.strip() != "ok", "the pitfall is one: the copy is destroyed")
    done = box.run("restore", backup)
    check("of the same log" in done.stderr, done.stderr)
    (kept,) = kept_aside(box.folder)
    check(str(kept) in done.stderr, "it says where what was there is")
    check(len(box.listed()) == 40, "the backup is in place")
    check(len(box.listed(db=kept)) == count, "what was there is whole, with its write-ahead log")
    box.verify()
    box.verify(db=kept)
    check(box.record(5, first=1000) == 5 and len(box.listed()) == 45, "and recording goes on")
    box.verify()


@situation()
def restoring_is_refused_while_a_writer_has_the_database(box):
    box.record(10)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    process = box.start("record", "-")
    process.stdin.write(json.dumps(line(10)) + "\n")
    process.stdin.flush()
    wait_until(lambda: len(box.listed()) == 11, "the writer is at work")
    done = box.run("restore", backup, codes=(2,))
    check("open for writing elsewhere" in done.stderr, done.stderr)
    process.stdin.write(json.dumps(line(11)) + "\n")
    out, err = process.communicate(timeout=30)
    check(process.returncode == 0 and recorded(err) == 2, err)
    check(len(box.listed()) == 12 and not kept_aside(box.folder), "nothing was touched")
    box.verify()


@situation()
def a_damaged_backup_replaces_nothing_unless_accepted(box):
    box.record(30)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    with sqlite3.connect(backup) as connection:
        connection.execute("UPDATE requests SET user_id = 'somebody else'")
    done = box.run("restore", backup, codes=(1,))
    check("nothing was changed" in done.stderr, done.stderr)
    check(not kept_aside(box.folder) and not list(box.folder.glob("*.part")), "nothing is left behind")
    box.verify()
    box.run("restore", backup, "--accept-findings")
    check(len(kept_aside(box.folder)) == 1, "what was there is kept")
    box.verify(codes=(1,))
    box.verify(db=kept_aside(box.folder)[0])


@situation()
def a_restore_where_nothing_was_leaves_nothing_beside(box):
    box.record(10)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    target = box.folder / "new.db"
    box.run("restore", backup, "--to", target)
    check(len(box.listed(db=target)) == 10, "it is there")
    check(not kept_aside(box.folder), "there was nothing to keep")
    box.run("restore", box.folder / "missing.db", "--to", box.folder / "never.db", codes=(2,))
    check(not (box.folder / "never.db").exists(), "a restore that fails makes no database")


@situation("root")
def a_restored_database_has_the_owner_of_the_one_before(box):
    box.record(10)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    os.chown(box.db, 1234, 2345)
    box.db.chmod(0o640)
    box.run("restore", backup)
    state = box.db.stat()
    check((state.st_uid, state.st_gid, state.st_mode & 0o777) == (1234, 2345, 0o640), str(state))
    folder = box.folder / "of-another"
    folder.mkdir()
    os.chown(folder, 1234, 2345)
    box.run("restore", backup, "--to", folder / "audit.db")
    check((folder / "audit.db").stat().st_uid == 1234, "where there was none: of its folder")


@situation("root")
def a_restore_that_finds_no_room_leaves_all_as_it_was(box):
    small = mount_tmpfs(box.folder / "small", "1m")
    database = small / "audit.db"
    box.record(10, db=database)
    backup = box.folder / "backup.db"
    other = box.folder / "other.db"
    box.record(2000, db=other)
    box.run("backup", backup, db=other)
    filler = small / "filler"
    filler.write_bytes(b"x" * (600 << 10))
    done = box.run("restore", backup, "--to", database, codes=(2,))
    check("full" in done.stderr, done.stderr)
    check(len(box.listed(db=database)) == 10, "it is as it was")
    left = [path.name for path in small.iterdir() if ".part" in path.name or "before" in path.name]
    check(not left, f"left behind: {left}")
    box.verify(db=database)


@situation()
def a_reader_that_follows_goes_on_with_a_restored_database(box):
    box.record(10)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    tail = box.start("tail", "-n", "1", "--json")
    try:
        check("request-9" in tail.stdout.readline(), "it follows")
        box.run("restore", backup)
        box.record(1, first=77)
        check("request-77" in tail.stdout.readline(), "it follows what was restored")
    finally:
        tail.kill()
        tail.wait()
