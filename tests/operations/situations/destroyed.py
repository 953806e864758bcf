"""Files that somebody writes to, cuts off or copies over while a store has them open, or in between."""

import json
import os
import shutil
import signal
import subprocess

from .support import check, line, situation, wait_until


def readable(box, db=None):
    """How many requests can be read; none while the file is being made."""
    done = box.run("list", "-n", "0", "--json", db=db, codes=None)
    return len(done.stdout.splitlines())


def feed(writer, numbers):
    """Writes lines until the writer takes no more."""
    try:
        for number in numbers:
            writer.stdin.write(json.dumps(line(number)) + "\n")
        writer.stdin.flush()
    except BrokenPipeError:
        pass


def start_writer(box, count):
    writer = box.start("record", "-")
    feed(writer, range(count))
    wait_until(lambda: readable(box) >= count, f"{count} requests are in the file")
    # The write-ahead log is moved into the file after half a second without work.
    wait_until(lambda: (box.folder / "audit.db-wal").stat().st_size == 0, "the log is moved")
    return writer


def ends_with(writer, *words):
    """The writer stops by itself or at its end, says why, and does not say that all went well."""
    try:
        _, err = writer.communicate(timeout=60)
    except BrokenPipeError:
        err = writer.stderr.read()
        writer.wait(timeout=60)
    check(writer.returncode == 2, f"exit {writer.returncode}: {err}")
    for word in words:
        check(word in err, f"{word!r} is not said: {err}")
    return err


@situation()
def a_file_cut_off_under_the_writer_is_told_as_lost(box):
    writer = start_writer(box, 100)
    os.truncate(box.db, 0)
    feed(writer, range(100, 120))
    err = ends_with(writer, "was cut off at 0 bytes", "lost")
    check("recorded 0 requests" in err, f"nothing is told as recorded: {err}")
    done = box.run("list", codes=(2,))
    check("is empty (0 bytes)" in done.stderr, done.stderr)


@situation()
def a_file_cut_in_half_under_the_writer_is_told_as_lost(box):
    writer = start_writer(box, 300)
    os.truncate(box.db, box.db.stat().st_size // 2)
    feed(writer, range(300, 320))
    ends_with(writer, "was cut off at", "recorded 0 requests")


@situation()
def a_file_cut_off_under_an_idle_writer_is_seen(box):
    writer = start_writer(box, 20)
    os.truncate(box.db, 0)
    # Nothing is recorded any more, only the input ends.
    ends_with(writer, "was cut off at 0 bytes", "20 requests could not be committed")


@situation()
def a_backup_copied_over_an_open_file_stops_the_writer(box):
    box.record(30)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    writer = start_writer(box, 100)
    # In place: the same file with other contents.
    shutil.copyfile(backup, box.db)
    feed(writer, range(200, 220))
    ends_with(writer, "was overwritten", "lost")
    # The write-ahead log is not the copy's, and out of its way.
    check((box.folder / "audit.db-wal.aside").exists(), "the log was moved")
    check(readable(box) == 30, "the backup is there")
    check(box.record(5, first=900) == 5, "recording goes on")
    box.verify()
    check(box.run("doctor").returncode == 0, "the doctor finds nothing")


@situation()
def another_stores_file_copied_over_an_open_one_stops_the_writer(box):
    other = box.folder / "other.db"
    box.record(400, db=other)
    writer = start_writer(box, 20)
    shutil.copyfile(other, box.db)
    feed(writer, range(20, 40))
    ends_with(writer, "was overwritten")


@situation()
def a_backup_copied_over_a_killed_writers_file_is_not_mixed_with_its_log(box):
    box.record(30)
    backup = box.folder / "backup.db"
    box.run("backup", backup)
    box.record(300, first=1000)
    writer = box.start("record", "-")
    feed(writer, range(2000, 2050))
    wait_until(lambda: readable(box) == 380, "380 requests are in the file")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    check((box.folder / "audit.db-wal").stat().st_size > 0, "a write-ahead log is left")
    shutil.copyfile(backup, box.db)
    for arguments in (("list",), ("verify",), ("record", "-")):
        done = box.run(*arguments, lines=[line(500)], codes=(2,))
        check("is not the write-ahead log of" in done.stderr, f"{arguments}: {done.stderr}")
    (box.folder / "audit.db-wal").unlink()
    check(readable(box) == 30, "the backup is there")
    box.verify()


@situation("sqlite3")
def a_checkpoint_by_another_tool_stops_nothing(box):
    writer = box.start("record", "-")
    feed(writer, range(50))
    wait_until(lambda: readable(box) >= 50, "50 requests are in the file")
    for round in range(1, 9):
        subprocess.run(["sqlite3", box.db, "PRAGMA wal_checkpoint(TRUNCATE)"], check=True, capture_output=True)
        if round % 4 == 0:
            subprocess.run(["sqlite3", box.db, "VACUUM"], check=True, capture_output=True)
        os.utime(box.db)
        feed(writer, range(round * 50, round * 50 + 50))
        wait_until(lambda: readable(box) >= round * 50 + 50, "50 more requests are in the file")
    _, err = writer.communicate(timeout=60)
    check(writer.returncode == 0, f"exit {writer.returncode}: {err}")
    check(readable(box) == 450, "all are there")
    box.verify()


@situation("sqlite3")
def a_file_copied_without_its_log_says_what_is_missing(box):
    # What a copy of the file alone has before the write-ahead log is moved for the first time.
    subprocess.run(["sqlite3", box.db, "PRAGMA journal_mode = WAL"], check=True, capture_output=True)
    done = box.run("list", codes=(2,))
    check("was not copied with it" in done.stderr, done.stderr)
    box.db.write_bytes(b"")
    done = box.run("list", codes=(2,))
    check("is empty (0 bytes)" in done.stderr, done.stderr)


@situation("strace")
def a_file_system_without_shared_memory_is_named(box):
    # What SQLite meets on 9p and on FUSE with direct input and output: the map is refused.
    shm = box.folder / "audit.db-shm"
    fault = ("strace", "-f", "-o", "/dev/null", "-P", str(shm), "-e", "inject=mmap:error=ENODEV")
    done = box.run("record", "-", lines=[line(1)], prefix=fault, codes=(2,))
    check("has no shared memory maps" in done.stderr and "local disk" in done.stderr, done.stderr)
