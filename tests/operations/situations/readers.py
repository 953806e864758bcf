"""Readers that live long: started before the writer, without its rights, over moves of the file."""

import json
import os
import re
import subprocess
import threading

from .support import check, line, situation, wait_until

AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


class Tail:
    """`tail --json`, and what it has printed so far."""

    def __init__(self, box, *arguments, db=None, prefix=()):
        self.process = box.start("tail", "--json", *arguments, db=db, prefix=prefix)
        self.ids, self.notes = [], []
        for stream, into in ((self.process.stdout, self.take), (self.process.stderr, self.notes.append)):
            threading.Thread(target=lambda s=stream, i=into: [i(entry) for entry in s], daemon=True).start()

    def take(self, entry):
        self.ids.append(json.loads(entry)["request_id"])

    def wait_for(self, *ids):
        def seen():
            check(self.process.poll() is None, f"tail has ended: {self.notes}")
            return set(ids) <= set(self.ids)

        wait_until(seen, f"tail shows {ids}, not only {self.ids}; it said {self.notes}")

    def end(self):
        self.process.kill()
        self.process.wait()


def readable_for_all(box):
    os.chmod(box.folder, 0o755)
    for path in box.folder.iterdir():
        os.chmod(path, 0o644)


@situation("root", "setpriv")
def a_reader_without_rights_sees_what_a_later_writer_records(box):
    box.record(2)
    readable_for_all(box)
    tail = Tail(box, prefix=AS_NOBODY)
    tail.wait_for("request-0", "request-1")
    writer = box.start("record", "-")
    for number in range(10, 15):
        writer.stdin.write(json.dumps(line(number)) + "\n")
    writer.stdin.flush()
    tail.wait_for("request-10", "request-14")
    writer.stdin.write(json.dumps(line(15)) + "\n")
    writer.communicate(timeout=30)
    tail.wait_for("request-15")
    # After an orderly close there is no write-ahead log again; and another writer comes.
    check(box.record(1, first=20) == 1, "one more")
    tail.wait_for("request-20")
    tail.end()


@situation("root")
def a_reader_of_a_read_only_mount_sees_what_is_written_outside(box):
    host, viewer = box.folder / "host", box.folder / "viewer"
    host.mkdir()
    viewer.mkdir()
    box.record(2, db=host / "audit.db")
    subprocess.run(["mount", "--bind", host, viewer], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", viewer], check=True)
    tail = Tail(box, db=viewer / "audit.db")
    tail.wait_for("request-0", "request-1")
    writer = box.start("record", "-", db=host / "audit.db")
    for number in range(10, 15):
        writer.stdin.write(json.dumps(line(number)) + "\n")
    writer.stdin.flush()
    tail.wait_for("request-10", "request-14")
    writer.communicate(timeout=30)
    check(box.record(1, first=20, db=host / "audit.db") == 1, "one more")
    tail.wait_for("request-20")
    tail.end()


@situation()
def a_reader_follows_the_name_when_the_file_is_moved_and_begun_anew(box):
    box.record(2)
    tail = Tail(box)
    tail.wait_for("request-0", "request-1")
    box.db.rename(box.folder / "audit-2026-11.db")
    box.record(2, first=10)
    tail.wait_for("request-10", "request-11")
    check(any("another file is at" in note for note in tail.notes), f"it is said: {tail.notes}")
    box.record(1, first=12)
    tail.wait_for("request-12")
    check(len(tail.ids) == 5, f"each once: {tail.ids}")
    tail.end()


@situation()
def a_reader_of_one_log_does_not_go_on_with_another(box):
    box.record(2)
    log = re.search(r"auditlite/([0-9a-f-]{36})", box.verify().stdout).group(1)
    tail = Tail(box, "--log", log)
    tail.wait_for("request-0", "request-1")
    box.db.rename(box.folder / "audit-2026-11.db")
    box.record(2, first=10)
    tail.process.wait(timeout=30)
    check(tail.process.returncode == 2, f"exit {tail.process.returncode}")
    check(len(tail.ids) == 2, f"nothing of the other log is shown: {tail.ids}")


@situation()
def a_reader_goes_on_with_an_older_copy_of_the_log(box):
    box.record(2)
    copy = box.folder / "copy.db"
    box.run("backup", copy)
    box.record(2, first=10)
    tail = Tail(box)
    tail.wait_for("request-0", "request-1", "request-10", "request-11")
    copy.rename(box.db)
    box.record(2, first=20)
    tail.wait_for("request-20", "request-21")
    check(len(tail.ids) == len(set(tail.ids)), f"each once: {tail.ids}")
    tail.end()
