"""One cell: records, lets the fault strike, opens again, and holds what is there against what was said."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time

from situations.support import Failed, check, recorded, wait_until

from .environments import ENVIRONMENTS
from .faults import FAULTS, faketime_library, record_line

# Requests before the fault, of which so many are known to be durable, and after it.
BEFORE, DURABLE, AFTER = 40, 30, 40
# How soon a writer is to give up where the fault is for good, and by when it must have ended.
GIVE_UP_SECONDS = 3
END_SECONDS = 80
# Words that say that what was recorded is not there any more.
GONE = re.compile("gone|cut off|overwritten|replaced|moved|deleted|removed|another file|not there|truncated")


class Skipped(Exception):
    """This environment has no such fault."""


class Course:
    """The course of one cell."""

    def __init__(self, box, environment, fault, is_idle):
        self.box = box
        self.place = ENVIRONMENTS[environment].function(box)
        self.db = self.place.db
        self.fault = FAULTS[fault]
        self.is_idle = is_idle
        # Other files in which requests may be.
        self.files = []
        self.copy = box.folder / "copy.db"
        self.clock = box.folder / "clock"
        self.submitted, self.acknowledged = {}, set()
        self.is_restored = False

    # What faults use.

    def beside(self, suffix):
        return self.db.with_name(self.db.name + suffix)

    def feed(self, count):
        """Hands over so many lines; all of a cell's lines have room in the pipe."""
        for _ in range(count):
            request_id = f"fed-{len(self.submitted)}"
            entry = self.submitted[request_id] = record_line(request_id)
            try:
                self.writer.stdin.write(json.dumps(entry) + "\n")
                self.writer.stdin.flush()
            except (BrokenPipeError, ValueError):
                pass

    def limit(self, what, value):
        """The soft limit of the writer."""
        subprocess.run(["prlimit", "--pid", str(self.writer.pid), f"--{what}={value}:"], check=True)

    def fill(self):
        with open(self.place.small / "filler", "wb", buffering=0) as filler:
            for piece in (1 << 20, 4096, 512):
                try:
                    while filler.write(os.urandom(piece)) == piece:
                        pass
                except OSError:
                    continue

    def free(self):
        (self.place.small / "filler").unlink()

    def backup(self):
        self.box.run("backup", self.copy, db=self.db)

    def restore(self):
        """As the documentation tells: without what lies beside the destroyed file."""
        for suffix in ("", "-wal", "-shm"):
            self.beside(suffix).unlink(missing_ok=True)
        shutil.copy(self.copy, self.db)
        self.is_restored = True

    def try_open(self):
        """What was destroyed is refused with a reason, or what is there is in order."""
        done = self.box.run("verify", db=self.db, codes=(0, 1, 2))
        check(done.returncode == 0 or done.stdout or done.stderr, "no word of a destroyed file")

    def is_refused(self, path, reason, *options):
        entry = record_line("refused")
        done = self.box.run("record", "-", *options, db=path, lines=[entry], codes=(2,))
        check(re.search(reason, done.stderr), f"refused without {reason!r}: {done.stderr}")

    def set_clock(self, offset):
        new = self.clock.with_suffix(".new")
        new.write_text(offset + "\n")
        new.rename(self.clock)

    def clock_environment(self):
        if not self.fault.clock:
            return {}
        return {
            "LD_PRELOAD": str(faketime_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def prune(self):
        """Removal by age as long as the clock is wrong takes nothing, or refuses."""
        yes = ["--yes"] if "--yes" in self.box.run("prune", "--help").stdout else []
        done = self.box.run(
            "prune", "--metadata-older-than", "7d", *yes, db=self.db, codes=(0, 1, 2), env=self.clock_environment()
        )
        missing = self.acknowledged - set(self.box.listed(db=self.db))
        check(not missing, f"pruning by a wrong clock took {len(missing)} requests: {done.stdout}{done.stderr}")

    def skip(self, why):
        raise Skipped(why)

    # The course.

    def run(self):
        self.set_clock("+0d")
        before = self.record("before", 5)
        self.start()
        strikes = self.fault.function(self)
        self.acknowledged |= set(before)
        try:
            next(strikes)
            if not self.is_idle:
                self.feed(AFTER)
            code, err = self.end()
            if self.place.refused:
                self.is_refused(self.place.refused, self.place.reason)
            next(strikes, None)
        except Skipped:
            self.writer.kill()
            raise
        try:
            return self.judge(code, err)
        except Failed as failure:
            raise Failed(f"{failure}\nthe writer: exit {code}: {err}") from None

    def start(self):
        options = ["--give-up-after", str(GIVE_UP_SECONDS)] if self.fault.gives_up else []
        if options and options[0] not in self.box.run("record", "--help").stdout:
            options = []
        self.writer = self.box.start("record", "-", *options, db=self.db, env=self.clock_environment())
        self.feed(BEFORE)
        least = BEFORE if self.is_idle else DURABLE

        def is_durable():
            check(self.writer.poll() is None, "the writer ends before the fault")
            self.acknowledged = set(self.box.listed(db=self.db)) & set(self.submitted)
            return len(self.acknowledged) >= least

        wait_until(is_durable, f"{least} requests are in the file")
        if self.place.refused:
            self.is_refused(self.place.refused, self.place.reason)

    def end(self):
        try:
            _, err = self.writer.communicate(timeout=END_SECONDS)
        except BrokenPipeError:
            self.writer.stdin = None
            _, err = self.writer.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self.writer.kill()
            raise Failed(f"the writer has not ended within {END_SECONDS} s") from None
        code = self.writer.returncode
        check(code in self.fault.exits, f"exit {code}, expected {self.fault.exits}: {err}")
        return code, err

    def record(self, name, count):
        """Records in order; returns the ids."""
        ids = [f"{name}-{number}" for number in range(count)]
        done = self.box.run("record", "-", db=self.db, lines=[record_line(request_id) for request_id in ids])
        check(recorded(done.stderr) == count, done.stderr)
        return ids

    # The judgement.

    def judge(self, code, err):
        after = self.record("after", 3)
        stored = [request_id for path in (self.db, *self.files) for request_id in self.examined(path)]
        mine = [request_id for request_id in stored if request_id.startswith("fed-")]
        check(len(set(stored)) == len(stored), "something is stored twice")
        check("refused" not in stored, "what was refused is stored")
        check(set(mine) <= set(self.submitted), "something is stored that was never submitted")
        check(set(after) <= set(stored), "recording does not go on")

        missing = self.acknowledged - set(stored)
        said = said_recorded(err) if code >= 0 else 0
        is_lost = bool(missing) or said > len(mine)
        if is_lost or self.is_restored:
            words = f"{len(missing)} durable requests are gone, {said} said to be recorded, {len(mine)} there: {err}"
            check(self.fault.destroys and code == 2 and GONE.search(err), words)
        if code in (0, 1):
            check(len(mine) == len(self.submitted), f"exit {code}, {len(mine)} of {len(self.submitted)}: {err}")
        elif code > 0:
            # What was taken in and is not there is told; what was not taken in is for the next run.
            accounted = said + said_not_committed(err)
            check(is_lost or len(mine) <= accounted, f"{len(mine)} there, {accounted} accounted for: {err}")
        shed = self.bodies_left_out()
        check(not shed or code != 0 or "left out" in err, f"{shed} bodies are left out, exit {code}: {err}")
        if not self.files and not self.is_restored:
            self.resume(stored)
        if self.place.refused:
            return "refused"
        is_stated = is_lost or self.is_restored or shed or said_not_committed(err)
        return "stated" if is_stated else "kept"

    def examined(self, path):
        """Ids of the requests in a file, as the program and SQLite alone read it."""
        ids = self.box.listed(db=path)
        self.box.verify(db=path)
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        found = [row[0] for row in connection.execute("SELECT request_id FROM requests ORDER BY opened_seq DESC")]
        check(found == ids, "list and SQLite do not agree")
        check(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "integrity_check")
        # In a file that no writer has opened since, a request may wait to be `interrupted`.
        statuses = ("completed", "interrupted", "pending" if path in self.files else "interrupted")
        halves = connection.execute(
            "SELECT count(*) FROM requests WHERE (ended_seq IS NULL) <> (status = 'pending') OR status NOT IN (?, ?, ?)", statuses
        ).fetchone()[0]
        check(halves == 0, f"{halves} requests are in a half state")
        connection.close()
        return ids

    def bodies_left_out(self):
        """How many bodies of requests in the file are not there; they must be stated."""
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        left_out = connection.execute(
            "SELECT count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM payloads WHERE payload_id = opened_seq * 4)) + "
            "count(*) FILTER (WHERE status = 'completed' AND NOT EXISTS "
            "(SELECT 1 FROM payloads WHERE payload_id = ended_seq * 4)) FROM requests"
        ).fetchone()[0]
        connection.close()
        done = self.box.run("doctor", "--json", db=self.db, codes=(0, 1))
        stated = json.loads(done.stdout)["shed_payloads"]
        check(left_out <= stated, f"{left_out} bodies are missing, {stated} are stated as left out")
        return left_out

    def resume(self, stored):
        """The same lines once more: what is there is passed over, so that each is there once."""
        if "--again" not in self.box.run("record", "--help").stdout:
            return
        self.box.run("record", "-", db=self.db, lines=self.submitted.values(), codes=(0, 1))
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        # One whose end was not committed is `interrupted`; the line is then recorded once more.
        found = [row[0] for row in connection.execute("SELECT request_id FROM requests WHERE status = 'completed'")]
        connection.close()
        check(len(found) == len(set(found)), "something is there twice after recording it again")
        check(set(found) == set(stored) | set(self.submitted), "something is missing after recording it again")


def said_recorded(err):
    return recorded(err) if re.search(r"recorded \d+ request", err) else 0


def said_not_committed(err):
    found = re.search(r"(\d+) (?:requests? |events? )?(?:could )?not (?:be )?committed", err)
    return int(found.group(1)) if found else 0
