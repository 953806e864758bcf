"""What happens to a writer and its file. A fault is a generator: it strikes, and after its `yield`, when
the writer has ended, comes what an operator would do then."""

import dataclasses
import fcntl
import os
import pathlib
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time

from situations.support import check, line, wait_until

FAULTS = {}
# How long a fault that passes lasts: longer than the program's pauses between two attempts.
WHILE_SECONDS = 1.5
# `XFS_IOC_GOINGDOWN`, which ext4 and btrfs know too, and its flag for losing what was not synced.
GOING_DOWN, WITHOUT_LOG = 0x8004587D, 2


@dataclasses.dataclass
class Fault:
    function: callable
    # Traits that the environment must have.
    traits: frozenset
    needs: tuple
    # Whether what was committed may be gone; the program must say so.
    destroys: bool
    # Whether it also strikes where everything is recorded and only the end is to come.
    also_idle: bool
    # Whether a writer may end before its input does, and how.
    exits: tuple
    gives_up: bool
    clock: bool


def fault(*traits, needs=(), destroys=False, also_idle=False, exits=(0,), gives_up=False, clock=False):
    def register(function):
        name = function.__name__.replace("_", "-")
        FAULTS[name] = Fault(function, frozenset(traits), needs, destroys, also_idle, exits, gives_up, clock)
        return function

    return register


# The process.


@fault(also_idle=True, exits=(-signal.SIGKILL,))
def killed(course):
    course.writer.send_signal(signal.SIGKILL)
    yield


@fault(also_idle=True, exits=(-signal.SIGKILL,))
def killed_twice(course):
    """The second time as soon as the next one has opened the file."""
    course.writer.send_signal(signal.SIGKILL)
    yield
    second = course.box.start("record", "-", db=course.db)
    second.stdin.write("\n")
    second.stdin.flush()
    time.sleep(0.1)
    second.kill()
    second.communicate()


@fault(also_idle=True, exits=(128 + signal.SIGTERM,))
def terminated(course):
    course.writer.send_signal(signal.SIGTERM)
    yield


@fault(exits=(128 + signal.SIGINT,))
def interrupted(course):
    course.writer.send_signal(signal.SIGINT)
    yield


@fault(also_idle=True)
def stopped(course):
    course.writer.send_signal(signal.SIGSTOP)
    course.feed(10)
    check(course.acknowledged <= set(course.box.listed(db=course.db)), "a stopped writer hides what is there")
    course.writer.send_signal(signal.SIGCONT)
    yield


@fault(needs=("prlimit",), gives_up=True, exits=(2,))
def file_size_limited(course):
    # Below both files: a write-ahead log that was moved begins again at the front and would fit.
    course.limit("fsize", 4096)
    yield


@fault(needs=("prlimit",))
def descriptors_limited(course):
    course.limit("nofile", 3)
    course.feed(20)
    time.sleep(WHILE_SECONDS)
    course.limit("nofile", 1024)
    yield


# The disk.


@fault("small", exits=(0, 1))
def full_for_a_while(course):
    course.fill()
    course.feed(20)
    time.sleep(WHILE_SECONDS)
    course.free()
    yield


@fault("small", gives_up=True, exits=(0, 1, 2))
def full_for_good(course):
    course.fill()
    yield
    course.free()


@fault("image", gives_up=True, exits=(2,))
def device_lost(course):
    folder = os.open(course.place.small, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, GOING_DOWN, struct.pack("I", WITHOUT_LOG))
    except OSError as error:
        course.skip(f"this kernel cannot shut the file system down: {error}")
    finally:
        os.close(folder)
    yield
    remount(course)


@fault("image", gives_up=True, exits=(0, 2))
def detached(course):
    subprocess.run(["umount", "--lazy", course.place.small], check=True)
    yield
    remount(course, is_mounted=False)


def remount(course, is_mounted=True):
    small, image = course.place.small, course.place.image
    if is_mounted:
        wait_until(lambda: subprocess.run(["umount", small], capture_output=True).returncode == 0, "unmounted")
    mounted = ["mount", "-o", "loop", image, small]
    wait_until(lambda: subprocess.run(mounted, capture_output=True).returncode == 0, "mounted again")


# The file.


@fault(destroys=True, also_idle=True, exits=(2,))
def truncated(course):
    course.backup()
    os.truncate(course.db, 0)
    yield
    course.try_open()
    course.restore()


@fault(destroys=True, exits=(2,))
def cut_in_half(course):
    course.backup()
    os.truncate(course.db, course.db.stat().st_size // 8192 * 4096)
    yield
    course.try_open()
    course.restore()


@fault(destroys=True, also_idle=True, exits=(2,))
def overwritten(course):
    """`cp backup.db audit.db`: the same file, another content."""
    course.backup()
    with open(course.copy, "rb") as copy, open(course.db, "r+b") as db:
        db.truncate(0)
        shutil.copyfileobj(copy, db)
    yield
    course.try_open()
    course.restore()


@fault(destroys=True, also_idle=True, exits=(2,))
def replaced(course):
    """`mv backup.db audit.db`: another file of the same name."""
    course.backup()
    shutil.copy(course.copy, course.db.with_name("new.db"))
    os.replace(course.db.with_name("new.db"), course.db)
    yield
    course.try_open()
    course.restore()


@fault(destroys=True, also_idle=True, exits=(2,), gives_up=True)
def removed(course):
    course.backup()
    course.db.unlink()
    yield
    course.try_open()
    course.restore()


@fault(exits=(0, 2))
def log_removed(course):
    """The write-ahead log; the writer still has it, and moves what is in it into the database."""
    course.beside("-wal").unlink()
    yield


@fault(exits=(0, 2))
def log_removed_under_a_reader(course):
    """Whose snapshot is older than what is in the log, so that not all of it can be moved at once. Killed, since
    a connection that is closed would move it."""
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('BEGIN'); "
        "print(db.execute('SELECT count(*) FROM requests').fetchone(), flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, course.db], **pipes) as reader:
        reader.stdout.readline()
        course.feed(10)
        wait_until(lambda: set(course.submitted) <= set(course.box.listed(db=course.db)), "all that was fed is in the file")
        course.acknowledged |= set(course.submitted)
        course.beside("-wal").unlink()
        course.feed(10)
        time.sleep(WHILE_SECONDS)
        reader.kill()
    yield


@fault(also_idle=True, exits=(0, 2), gives_up=True)
def moved(course):
    """And put back under its name once the writer has ended, with what lies beside it."""
    other = course.db.with_name("moved.db")
    course.db.rename(other)
    yield
    if not course.db.exists():
        other.rename(course.db)


@fault(also_idle=True, exits=(0, 2), gives_up=True)
def moved_for_good(course):
    """As rotation by moving does: the next writer begins a new file."""
    other = course.db.with_name("moved.db")
    course.db.rename(other)
    yield
    for suffix in ("-wal", "-shm"):
        if course.beside(suffix).exists():
            course.beside(suffix).rename(other.with_name(other.name + suffix))
    course.files.append(other)


@fault()
def moved_for_a_moment(course):
    other = course.db.with_name("moved.db")
    course.db.rename(other)
    course.feed(20)
    time.sleep(WHILE_SECONDS)
    other.rename(course.db)
    yield


@fault(exits=(0, 2), gives_up=True)
def folder_moved(course):
    folder = course.db.parent
    if folder.is_mount() or folder.is_symlink():
        course.skip("a mount or a link cannot be moved this way")
    folder.rename(folder.with_name("elsewhere"))
    yield
    folder.with_name("elsewhere").rename(folder)


# Others at the same file.


@fault(also_idle=True)
def second_writer(course):
    course.is_refused(course.db, "open for writing elsewhere")
    yield


@fault()
def hard_linked(course):
    other = course.db.with_name("link.db")
    os.link(course.db, other)
    course.is_refused(other, "hard links|under another name")
    course.is_refused(other, "hard links|under another name", "--allow-links")
    yield
    course.is_refused(course.db, "hard links")
    other.unlink()


@fault()
def lock_file_removed(course):
    course.beside(".lock").unlink()
    course.is_refused(course.db, "lock")
    yield


@fault(also_idle=True)
def locked_by_another_tool(course):
    other = sqlite3.connect(course.db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    course.feed(20)
    time.sleep(WHILE_SECONDS)
    other.execute("ROLLBACK")
    other.close()
    yield


@fault(also_idle=True)
def held_by_a_reader(course):
    other = sqlite3.connect(course.db, isolation_level=None)
    other.execute("BEGIN")
    seen = other.execute("SELECT count(*) FROM requests").fetchone()
    yield
    check(seen == other.execute("SELECT count(*) FROM requests").fetchone(), "a reader's snapshot changes")
    other.close()


@fault(also_idle=True)
def analysed_by_another_tool(course):
    other = sqlite3.connect(course.db, isolation_level=None)
    other.execute("ANALYZE")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    yield


@fault()
def backed_up(course):
    course.backup()
    found = set(course.box.listed(db=course.copy))
    check(course.acknowledged <= found, f"a backup lacks {sorted(course.acknowledged - found)}")
    course.box.verify(db=course.copy)
    yield


# The clock.


@fault(needs=("faketime",), clock=True, also_idle=True)
def clock_ahead(course):
    course.set_clock("+3650d")
    yield
    course.prune()


@fault(needs=("faketime",), clock=True, also_idle=True)
def clock_behind(course):
    course.set_clock("-3650d")
    yield
    course.prune()


@fault(needs=("faketime",), clock=True)
def clock_ahead_for_a_moment(course):
    course.set_clock("+3650d")
    course.feed(20)
    time.sleep(0.3)
    course.set_clock("+0d")
    yield


def faketime_library():
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    check(found, "no libfaketimeMT.so.1")
    return found[0]


def record_line(request_id):
    """Bodies of some size that cannot be packed much, so that every commit needs room."""
    number = int.from_bytes(os.urandom(4), "big")
    entry = line(number, request_id=request_id)
    entry["request"]["messages"][0]["content"] = os.urandom(120).hex()
    return entry
