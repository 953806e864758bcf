"""Situations that have always held, so that they keep holding."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from .support import Box, check, line, mount_image, mount_tmpfs, recorded, situation, wait_until


@situation()
def a_killed_writer_leaves_a_file_that_opens_and_verifies(box):
    process = box.start("record", "-")
    for number in range(200):
        process.stdin.write(json.dumps(line(number)) + "\n")
    process.stdin.flush()
    wait_until(lambda: box.db.exists() and len(box.listed()) >= 50, "50 requests are in the file")
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen = len(box.listed())
    check(box.record(10, first=1000) == 10, "recording goes on")
    check(len(box.listed()) >= seen + 10, "what was readable is still there")
    box.verify()


def feed(process, numbers):
    """Hands records to a writer that goes on waiting for more."""
    for number in numbers:
        process.stdin.write(json.dumps(line(number)) + "\n")
    process.stdin.flush()


def end(process):
    """Closes the input of a writer; returns how many requests it says it recorded."""
    out, err = process.communicate(timeout=60)
    check(process.returncode == 0, err)
    return recorded(err)


@contextlib.contextmanager
def recording(box, numbers, db=None, **options):
    """A writer that has recorded these and waits for more; all must be there and verify at the end."""
    process = box.start("record", "-", db=db, **options)
    try:
        feed(process, numbers)
        seen = lambda: len(box.run("list", "-n", "0", "--json", db=db, codes=(0, 1, 2)).stdout.splitlines())
        wait_until(lambda: seen() >= len(numbers), "what was recorded is in the file")
        yield process
        told = end(process)
        check(told == len(box.listed(db=db)), f"told {told}")
        box.verify(db=db)
    finally:
        process.kill()
        process.wait()


def accounts(box, told, db=None):
    """What was told as recorded is there, and the trail is in order."""
    stored = len(box.listed(db=db))
    check(stored == told, f"told {told}, stored {stored}")
    box.verify(db=db)


@situation()
def five_kills_in_a_row_lose_nothing_that_was_readable(box):
    seen = 0
    for attempt in range(5):
        process = box.start("record", "-")
        feed(process, range(attempt * 1000, attempt * 1000 + 60))
        listed = lambda: len(box.run("list", "-n", "0", "--json", codes=(0, 1, 2)).stdout.splitlines())
        wait_until(lambda: listed() > seen, "something of it is readable")
        seen = listed()
        process.send_signal(signal.SIGKILL)
        process.wait()
        check(len(box.listed()) >= seen, "what was readable is still there")
    check(box.record(1, first=9000) == 1, "recording goes on")
    box.verify()


@situation()
def a_second_writer_is_refused_and_the_first_goes_on(box):
    with recording(box, range(20)) as process:
        done = box.run("record", "-", lines=[line(500)], codes=(2,))
        check("open for writing elsewhere" in done.stderr, done.stderr)
        feed(process, range(20, 40))


@situation("root")
def a_second_writer_in_another_container_is_refused(box):
    """Process ids say nothing there: each is number 1 in its own namespace."""
    apart = ("unshare", "--pid", "--fork", "--mount-proc", "--net", "--ipc", "--uts")
    with recording(box, range(20), prefix=apart) as process:
        done = box.run("record", "-", lines=[line(500)], codes=(2,), prefix=apart)
        check("open for writing elsewhere" in done.stderr, done.stderr)
        feed(process, range(20, 25))


@situation()
def rolling_deploys_lose_nothing(box):
    """The new one waits until the old one has closed, as an orchestrator with one replica has it."""
    told = 0
    for deploy in range(6):
        old = box.start("record", "-")
        feed(old, range(deploy * 100, deploy * 100 + 30))
        told += end(old)
    accounts(box, told)
    sessions = box.run("doctor").stdout
    check("opened for writing 6 times, 0 of these ended without a close" in sessions, sessions)


@situation("root")
def a_full_disk_is_waited_for_and_nothing_is_lost(box):
    small = mount_tmpfs(box.folder / "small", "4m")
    database = small / "audit.db"
    filler = small / "filler"
    process = box.start("record", "-", db=database)
    feed(process, range(10))
    seen = lambda: len(box.run("list", "-n", "0", "--json", db=database, codes=(0, 1, 2)).stdout.splitlines())
    wait_until(lambda: seen() == 10, "ten are committed")
    with open(filler, "wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError as error:
            check(error.errno == errno.ENOSPC, str(error))
    feed(process, range(100, 400))
    time.sleep(0.3)
    check(process.poll() is None, "it waits")
    filler.unlink()
    accounts(box, end(process), db=database)


@situation("root")
def a_database_in_a_lower_layer_is_copied_up_and_goes_on(box):
    lower, upper, merged = (box.folder / name for name in ("lower", "upper", "merged"))
    for folder in (lower, upper, merged):
        folder.mkdir()
    told = box.record(20, db=lower / "audit.db")
    # An overlay's upper layer cannot lie on another overlay.
    mount_tmpfs(upper, "32m")
    (upper / "u").mkdir()
    (upper / "w").mkdir()
    options = f"lowerdir={lower},upperdir={upper}/u,workdir={upper}/w"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", merged], check=True)
    database = merged / "audit.db"
    check(len(box.listed(db=database)) == told, "the layer below is read")
    told += box.record(20, first=100, db=database)
    accounts(box, told, db=database)
    check(len(box.listed(db=lower / "audit.db")) == 20, "and left as it is")


def over_a_kill(box, kind, size_mb):
    database = mount_image(box.folder / kind, kind, size_mb) / "audit.db"
    process = box.start("record", "-", db=database)
    feed(process, range(100))
    wait_until(lambda: database.exists() and database.stat().st_size > 0, "the file is there")
    seen = len(box.run("list", "-n", "0", "--json", db=database, codes=(0, 1, 2)).stdout.splitlines())
    process.send_signal(signal.SIGKILL)
    process.wait()
    box.record(50, first=1000, db=database)
    check(len(box.listed(db=database)) >= seen + 50, "nothing readable is gone")
    box.verify(db=database)
    subprocess.run(["umount", database.parent], check=True)


@situation("root", "mkfs.btrfs")
def a_kill_on_btrfs(box):
    over_a_kill(box, "btrfs", 128)


@situation("root", "mkfs.xfs")
def a_kill_on_xfs(box):
    over_a_kill(box, "xfs", 320)


@situation("root", "mkfs.ext4")
def a_kill_on_ext4(box):
    over_a_kill(box, "ext4", 32)


@situation("root", "faketime")
def clocks_of_1970_and_2037(box):
    told = 0
    for number, clock in enumerate(("1970-01-02 00:00:00", "2026-11-20 00:00:00", "2037-06-01 00:00:00", "1999-12-31 23:59:59")):
        told += box.record(10, first=number * 100, prefix=("faketime", clock))
    accounts(box, told)
    box.run("doctor")


@situation("root")
def a_closed_store_on_a_read_only_mount_is_read_and_not_written(box):
    told = box.record(20)
    mounted = box.folder / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "--bind", box.folder, mounted], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", mounted], check=True)
    accounts(box, told, db=mounted / "audit.db")
    done = box.run("record", "-", db=mounted / "audit.db", lines=[line(50)], codes=(2,))
    check("Read-only file system" in done.stderr, done.stderr)


@situation()
def no_umask_opens_the_files_to_others(box):
    for umask in ("0000", "0077", "0277"):
        folder = box.folder / umask
        folder.mkdir()
        database = folder / "audit.db"
        shell = ("sh", "-c", f'umask {umask}; exec "$@"', "sh")
        check(box.record(5, db=database, prefix=shell) == 5, "it records")
        for path in folder.iterdir():
            check(path.stat().st_mode & 0o177 == 0, f"{path.name}: {path.stat().st_mode:o}")


@situation("root")
def another_user_records_in_a_folder_of_its_own(box):
    own = box.folder / "own"
    own.mkdir()
    os.chown(own, 65534, 65534)
    box.folder.chmod(0o755)
    program = Box(pathlib.Path(shutil.copy(box.auditlite, box.folder / "auditlite")), own)
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
    told = program.record(20, prefix=as_nobody)
    accounts(program, told)
    check(program.record(5, first=100) == 5, "root records too")
    told = 25 + program.record(5, first=200, prefix=as_nobody)
    accounts(program, told)


@situation()
def an_empty_environment_is_enough(box):
    """As in an image without a shell: no HOME, no PATH, no TZ, no locale."""
    told = box.record(10, prefix=("env", "-i"))
    accounts(box, told)
    listed = box.run("list", prefix=("env", "-i", "TZ=Asia/Kolkata", "LANG=tr_TR.UTF-8")).stdout
    check(listed == box.run("list", prefix=("env", "-i")).stdout, "times are UTC wherever it runs")


@situation("taskset")
def one_processor_is_enough(box):
    accounts(box, box.record(300, prefix=("taskset", "-c", "0")))


@situation()
def a_store_moved_with_its_folder_goes_on(box):
    folder = box.folder / "before"
    folder.mkdir()
    told = box.record(20, db=folder / "audit.db")
    folder = folder.rename(box.folder / "after, with spaces and ünïcode")
    told += box.record(20, first=100, db=folder / "audit.db")
    accounts(box, told, db=folder / "audit.db")


@situation("rsync")
def a_closed_store_that_was_copied_by_rsync(box):
    told = box.record(50)
    copies = box.folder / "copies"
    subprocess.run(["rsync", "--archive", box.db, f"{copies}/"], check=True)
    accounts(box, told, db=copies / "audit.db")
    told += box.record(50, first=100)
    subprocess.run(["rsync", "--archive", "--inplace", box.db, f"{copies}/"], check=True)
    accounts(box, told, db=copies / "audit.db")


@situation("restic")
def a_backup_that_restic_keeps_comes_back(box):
    told = box.record(50)
    env = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": str(box.folder / "repository"),
           "RESTIC_CACHE_DIR": str(box.folder / "cache")}
    run = lambda *words: subprocess.run(["restic", "--quiet", *words], check=True, env=env, capture_output=True)
    run("init")
    copy = box.folder / "copy.db"
    box.run("backup", copy)
    run("backup", str(copy))
    copy.unlink()
    box.db.unlink()
    run("restore", "latest", "--target", str(box.folder / "back"))
    (back,) = (box.folder / "back").rglob("copy.db")
    accounts(box, told, db=back)
