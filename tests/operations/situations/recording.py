"""`record` and what operators do around it: full disks, files recorded again, signals, process 1."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

from .support import Failed, check, line, mount_tmpfs, recorded, situation, wait_until


class Recording:
    """`record -` under way, with what it says in a file."""

    def __init__(self, box, *arguments, prefix=()):
        self.said = box.folder / "said"
        self.process = subprocess.Popen(
            [*prefix, *box.command("record", "-", *arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=open(self.said, "w"),
            text=True,
        )

    def feed(self, numbers, **fields):
        with contextlib.suppress(BrokenPipeError):
            for number in numbers:
                self.process.stdin.write(json.dumps(line(number, **fields)) + "\n")
            self.process.stdin.flush()

    def says(self, words, seconds=None):
        """Waits until it says `words`; fails where that takes longer than `seconds`."""
        started = time.monotonic()
        wait_until(lambda: words in self.said.read_text() or self.process.poll() is not None, f"it says {words!r}")
        text = self.said.read_text()
        check(words in text, f"it does not say {words!r}: {text}")
        took = time.monotonic() - started
        check(seconds is None or took < seconds, f"{words!r} was said after {took:.1f} s")

    def end(self, how=None, timeout=30):
        """Ends its input, or sends a signal; returns exit status and all that it said."""
        if how is None:
            self.process.stdin.close()
        else:
            os.kill(self.pid(), how)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"it does not end within {timeout} s: {self.said.read_text()}") from None
        return self.process.returncode, self.said.read_text()

    def pid(self):
        """The program's own id, also where `unshare` runs it as process 1."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid


def wait_for(box, count):
    """Waits until `count` requests can be read; the file may not be there yet, or still be empty."""

    def is_there():
        done = box.run("list", "-n", "0", "--json", codes=None)
        return len(done.stdout.splitlines()) >= count

    wait_until(is_there, f"{count} requests are in the file")


def completed(box, db=None):
    """Requests that are there with their ends: what a crash or a full disk cut off is not recorded."""
    done = box.run("list", "-n", "0", "--status", "completed", "--json", db=db, codes=(0, 1))
    return len(done.stdout.splitlines())


def fill(folder):
    """Takes all room that is left; returns the file to remove."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), open(filler, "wb") as file:
        while True:
            os.write(file.fileno(), bytes(4096))
    return filler


@situation("root")
def record_tells_at_once_that_nothing_commits_and_goes_on_by_itself(box):
    disk = mount_tmpfs(box.folder / "disk", "16M")
    box.db = disk / "audit.db"
    recording = Recording(box)
    recording.feed(range(100))
    wait_for(box, 100)
    filler = fill(disk)
    recording.feed(range(100, 600))
    # Two seconds, and what a busy machine takes.
    recording.says("nothing can be committed", 3)
    check("full" in recording.said.read_text(), "it says that the disk is full")
    filler.unlink()
    recording.says("commits succeed again")
    recording.feed(range(600, 700))
    code, said = recording.end()
    check(code in (0, 1) and recorded(said) == 700, f"exit {code}: {said}")
    check(said.count("nothing can be committed") == 1, f"once for each change: {said}")
    check(len(box.listed()) == 700, "all of it is in the file")
    box.verify()


@situation("root")
def record_gives_up_on_a_full_disk_counts_what_is_durable_and_resumes(box):
    disk = mount_tmpfs(box.folder / "disk", "6M")
    box.db = disk / "audit.db"
    lines = box.folder / "lines.jsonl"
    # Bodies of random words do not shrink much.
    texts = [os.urandom(1000).hex() for _ in range(4000)]
    lines.write_text("".join(json.dumps(line(n, request={"text": text})) + "\n" for n, text in enumerate(texts)))
    box.run("record", "--quiet", "-", lines=[line(-1)])
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - (1 << 20))
    done = box.run("record", lines, "--give-up-after", "2", codes=(2,))
    filler.unlink()
    count = recorded(done.stderr)
    check("not committed" in done.stderr, done.stderr)
    check(completed(box) - 1 == count, f"{completed(box) - 1} are in the file, and it said {done.stderr}")
    # More room, as an operator would give it.
    subprocess.run(["mount", "-o", "remount,size=64M", disk], check=True)
    done = box.run("record", lines)
    check(recorded(done.stderr) == 4000 - count, f"{count} before, then {done.stderr}")
    check(completed(box) == len(set(box.listed())) == 4001, f"{completed(box)} requests ended")
    box.verify()


@situation()
def record_passes_over_what_is_recorded_already(box):
    without_ids = [{**line(n, started_at="2026-11-01T12:00:00Z"), "request_id": None} for n in (1, 1, 2)]
    without_times = [{**line(n), "request_id": None} for n in (3, 3, 4)]
    lines = [line(n) for n in range(50)] + without_ids + without_times
    file = box.folder / "lines.jsonl"
    write = lambda entries: file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    write(lines)
    check(recorded(box.run("record", file).stderr) == 56, "all are new")
    check("56 recorded already" in box.run("record", file).stderr, "none is new")
    write(lines + [line(50), without_times[0]])
    check(recorded(box.run("record", file).stderr) == 2, "a grown file has two new lines")
    done = box.run("record", "-", lines=lines)
    check(recorded(done.stderr) == 0, f"standard input is no other file: {done.stderr}")
    # Another request with a known id, and another file that has a line without id and time.
    done = box.run("record", "-", lines=[line(7, response={"other": 1}), line(8, status=500), without_times[0]])
    check(recorded(done.stderr) == 3, f"others are recorded beside it: {done.stderr}")
    check(recorded(box.run("record", "--again", file).stderr) == 58, "unless it is told to")
    box.verify()


@situation()
def record_goes_on_after_it_was_killed(box):
    lines = [line(n) for n in range(3000)]
    process = box.start("record", "-")
    with contextlib.suppress(BrokenPipeError):
        for entry in lines[:2000]:
            process.stdin.write(json.dumps(entry) + "\n")
        process.stdin.flush()
    wait_for(box, 500)
    process.kill()
    process.communicate()
    box.run("record", "-", lines=lines)
    check(completed(box) == len(set(box.listed())) == 3000, f"{completed(box)} requests ended")


def closes_in_order(box, prefix=()):
    for first, (how, status) in enumerate([(signal.SIGTERM, 143), (signal.SIGINT, 130)]):
        recording = Recording(box, prefix=prefix)
        recording.feed(range(first * 50, first * 50 + 50))
        wait_for(box, first * 50 + 50)
        code, said = recording.end(how)
        check(code == status, f"exit {code}, expected {status}: {said}")
        check(recorded(said) == 50 and f"ended by {how.name}" in said, said)
    doctor = box.run("doctor").stdout
    check("opened for writing 2 times, 0 of these ended without a close" in doctor, doctor)
    box.verify()


@situation()
def record_closes_in_order_on_sigterm_and_ctrl_c(box):
    closes_in_order(box)


@situation("root", "unshare")
def record_closes_in_order_as_process_1_of_a_container(box):
    closes_in_order(box, prefix=["unshare", "--pid", "--fork", "--kill-child"])


@situation("root", "unshare")
def a_second_signal_ends_record_at_once_also_as_process_1(box):
    for prefix in [(), ("unshare", "--pid", "--fork", "--kill-child")]:
        disk = mount_tmpfs(box.folder / f"disk{len(prefix)}", "16M")
        box.db = disk / "audit.db"
        recording = Recording(box, prefix=prefix)
        recording.feed(range(10))
        wait_for(box, 10)
        fill(disk)
        recording.feed(range(10, 500))
        recording.says("nothing can be committed")
        os.kill(recording.pid(), signal.SIGTERM)
        time.sleep(0.5)
        check(recording.process.poll() is None, "the first one waits for the disk for some seconds")
        started = time.monotonic()
        code, said = recording.end(signal.SIGTERM)
        check(code == 143, f"exit {code}: {said}")
        check(time.monotonic() - started < 3, "at once")


@situation("root")
def a_signal_on_a_full_disk_ends_record_within_the_grace_of_a_container(box):
    disk = mount_tmpfs(box.folder / "disk", "16M")
    box.db = disk / "audit.db"
    recording = Recording(box)
    recording.feed(range(10))
    wait_for(box, 10)
    fill(disk)
    recording.feed(range(10, 500))
    recording.says("nothing can be committed")
    code, said = recording.end(signal.SIGTERM, timeout=9)
    check(code == 2 and "not committed" in said and "ended by SIGTERM" in said, f"exit {code}: {said}")
    check(recorded(said) == completed(box), said)


@situation("root", "unshare")
def tail_ends_on_signals_also_as_process_1(box):
    box.record(3)
    for prefix in [(), ("unshare", "--pid", "--fork", "--kill-child")]:
        process = box.start("tail", prefix=prefix)
        process.stdout.readline()
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]) if prefix else process.pid, signal.SIGTERM)
        process.communicate(timeout=10)
        check(process.returncode in (-signal.SIGTERM, 143), f"exit {process.returncode}")


@situation()
def record_tells_at_once_that_the_file_was_moved_away(box):
    recording = Recording(box, "--give-up-after", "3")
    recording.feed(range(100))
    wait_for(box, 100)
    moved = box.folder / "moved.db"
    for suffix in ["", "-wal", "-shm"]:
        (box.folder / f"audit.db{suffix}").rename(f"{moved}{suffix}")
    started = time.monotonic()
    recording.feed(range(100, 600))
    wait_until(lambda: recording.said.read_text() or recording.process.poll() is not None, "it says something")
    check(time.monotonic() - started < 3, f"within two seconds: {recording.said.read_text()}")
    code, said = recording.end()
    check(code == 2, f"exit {code}: {said}")
    # A batch may have gone into the moved file before its name was missed; nobody was told that it is safe.
    check(100 <= recorded(said) <= completed(box, moved), f"{completed(box, moved)} are in the file: {said}")
    check("not committed" in said, said)
