"""One file under several names: hard links, files mounted alone, lock files deleted or of another user."""

import json
import os
import subprocess

from .support import check, line, situation, wait_until


def bind(source, target):
    target.touch()
    subprocess.run(["mount", "--bind", source, target], check=True)


def start_writer(box, count, first=0, db=None):
    """A writer that has recorded `count` requests and waits for more."""
    process = box.start("record", "-", db=db)
    for number in range(first, first + count):
        process.stdin.write(json.dumps(line(number)) + "\n")
    process.stdin.flush()
    wait_until(lambda: readable(box, db) >= count, f"{count} requests are in the file")
    return process


def readable(box, db=None):
    """How many requests can be read; none while the file is being made."""
    done = box.run("list", "-n", "0", "--json", db=db, codes=None)
    return len(done.stdout.splitlines())


def finish(process):
    _, err = process.communicate(timeout=30)
    check(process.returncode == 0, f"exit {process.returncode}: {err}")


@situation()
def a_second_writer_under_a_hard_link_is_refused(box):
    other = box.folder / "other.db"
    writer = start_writer(box, 20)
    os.link(box.db, other)
    for arguments in [(), ("--allow-links",)]:
        done = box.run("record", "-", *arguments, db=other, lines=[line(500)], codes=(2,))
        check("names (hard links)" in done.stderr or "under another name" in done.stderr, done.stderr)
    finish(writer)
    check(len(box.listed()) == 20, "what the first writer recorded is there")
    box.verify()


@situation()
def a_hard_link_is_refused_unless_it_is_allowed(box):
    check(box.record(5) == 5, "5 are recorded")
    backup = box.folder / "backup.db"
    os.link(box.db, backup)
    done = box.run("record", "-", lines=[line(500)], codes=(2,))
    check("has 2 names (hard links)" in done.stderr and "--allow-links" in done.stderr, done.stderr)
    done = box.run("record", "-", "--allow-links", lines=[line(500)])
    check(len(box.listed()) == 6, "one more is recorded")
    # Nobody writes: either name can be read.
    check(len(box.listed(db=backup)) == 6, "a hard link can be read")
    box.verify()


@situation()
def what_is_written_under_another_name_is_not_read_without_its_log(box):
    check(box.record(5) == 5, "5 are recorded")
    other = box.folder / "other" / "audit.db"
    other.parent.mkdir()
    os.link(box.db, other)
    writer = box.start("record", "-", "--allow-links")
    for number in range(100, 120):
        writer.stdin.write(json.dumps(line(number)) + "\n")
    writer.stdin.flush()
    wait_until(lambda: readable(box) == 25, "25 requests are in the file")
    done = box.run("list", db=other, codes=(2,))
    check("under another name" in done.stderr, done.stderr)
    finish(writer)
    check(len(box.listed(db=other)) == 25, "it can be read once nobody writes")


@situation("root")
def a_file_that_is_mounted_alone_is_not_written(box):
    check(box.record(5) == 5, "5 are recorded")
    container = box.folder / "container"
    container.mkdir()
    mounted = container / "audit.db"
    bind(box.db, mounted)
    done = box.run("record", "-", db=mounted, lines=[line(500)], codes=(2,))
    check("mounted as a single file" in done.stderr and "Mount the folder" in done.stderr, done.stderr)
    check(sorted(path.name for path in container.iterdir()) == ["audit.db"], "nothing is left beside it")
    check(len(box.listed(db=mounted)) == 5, "it can be read where nobody writes")
    # While somebody writes outside, the newest would be missing inside.
    writer = start_writer(box, 20, first=100)
    done = box.run("list", db=mounted, codes=(2,))
    check("under another name" in done.stderr, done.stderr)
    finish(writer)
    box.verify()


@situation("root")
def a_mounted_folder_is_written_and_kept(box):
    host, container = box.folder / "host", box.folder / "container"
    host.mkdir()
    container.mkdir()
    subprocess.run(["mount", "--bind", host, container], check=True)
    check(box.record(20, db=container / "audit.db") == 20, "20 are recorded")
    check(len(box.listed(db=host / "audit.db")) == 20, "they are in the host's file")
    # The same file by two mounts is one file: a second writer is refused.
    writer = start_writer(box, 20, first=100, db=container / "audit.db")
    done = box.run("record", "-", db=host / "audit.db", lines=[line(500)], codes=(2,))
    check("open for writing elsewhere" in done.stderr, done.stderr)
    finish(writer)


@situation()
def a_deleted_lock_file_lets_no_second_writer_in(box):
    writer = start_writer(box, 20)
    (box.folder / "audit.db.lock").unlink()
    done = box.run("record", "-", lines=[line(500)], codes=(2,))
    check("its lock file was deleted" in done.stderr, done.stderr)
    check("damaged" not in done.stderr, done.stderr)
    finish(writer)
    check(box.record(3, first=900) == 3, "recording goes on once the first has ended")
    check(len(box.listed()) == 23, "all are there")
    box.verify()


@situation("root", "setpriv")
def a_lock_file_of_another_user_is_named(box):
    as_user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    os.chmod(box.folder, 0o777)
    box.record(3, prefix=as_user)
    lock = box.folder / "audit.db.lock"
    os.chown(lock, 0, 0)
    done = box.run("record", "-", lines=[line(500)], prefix=as_user, codes=(2,))
    check("audit.db.lock" in done.stderr and "user id 0" in done.stderr and "chown" in done.stderr, done.stderr)
    # Root gives it back, and so do all files that it creates beside a database of somebody else.
    check(box.record(3, first=10) == 3, "root records")
    check(lock.stat().st_uid == 65534, "the lock file is the database owner's again")
    lock.unlink()
    check(box.record(3, first=20) == 3, "root records")
    check(lock.stat().st_uid == 65534, "a new lock file is the database owner's")
    check(box.record(3, first=30, prefix=as_user) == 3, "the owner records again")
    box.verify()
