"""Removing by hand: it asks, and says what it could not do."""

import json
import os
import pty
import sqlite3

from .support import check, line, situation


def on_a_terminal(box, answer, *arguments):
    """Exit status and what was written, with a terminal on which `answer` is typed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(str(box.auditlite), box.command(*arguments))
    os.write(terminal, answer.encode() + b"\n")
    said = b""
    try:
        while piece := os.read(terminal, 4096):
            said += piece
    except OSError:
        pass  # the other end is closed
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode()


@situation()
def removing_asks_on_a_terminal_and_refuses_without_one(box):
    box.run("record", "-", lines=[line(n, started_at="2026-01-10T00:00:00Z") for n in range(5)])
    for command in (("prune", "--metadata-older-than", "1d"), ("erase", "--request", "request-1", "--reason", "a test")):
        done = box.run(*command, codes=None)
        check(done.returncode == 2 and "--yes" in done.stderr, f"{command[0]} without a terminal: {done.stderr}")
        code, said = on_a_terminal(box, "n", *command)
        check(code == 2 and "[y/N]" in said and ("1 request" in said or "5 requests" in said), f"{command[0]}, answered no: {said}")
        check(len(box.listed()) == 5, "nothing was changed")
        check(box.run("payload", "request-1", "request").stdout, "nothing was changed")
    code, said = on_a_terminal(box, "y", "erase", "--request", "request-1", "--reason", "a test")
    check(code == 0, f"answered yes: {said}")
    check(box.run("payload", "request-1", "request", codes=(1,)).returncode == 1, "it is erased")
    box.run("prune", "--metadata-older-than", "1d", "--yes")
    check(not box.listed(), "pruned without asking")


@situation()
def what_a_reader_keeps_from_being_overwritten_is_told_until_it_is_done(box):
    secret = "Rosenkavalier"
    question = {"model": "m", "messages": [{"role": "user", "content": secret}]}
    box.run("record", "-", lines=[line(1, request=question, user_id=secret), *(line(n) for n in range(2, 30))])
    reader = sqlite3.connect(box.db, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM requests").fetchall()
    erase = ("erase", "--user", secret, "--reason", "a test", "--yes", "--json")

    def is_left():
        files = (box.db, box.db.with_name("audit.db-wal"))
        return any(file.exists() and secret.encode() in file.read_bytes() for file in files)

    for turn in ("first", "second"):
        done = box.run(*erase, codes=None)
        check(done.returncode == 2, f"the {turn} run tells it by its status: {done.returncode}")
        check(json.loads(done.stdout)["is_fully_erased"] is False, f"the {turn} run")
        check("reader" in done.stderr and "matches" not in done.stderr, f"the {turn} run: {done.stderr}")
    pruned = box.run("prune", "--max-size", "1", "--yes", codes=None)
    check(pruned.returncode == 2 and "reader" in pruned.stderr, f"prune tells it too: {pruned.stderr}")
    check(is_left(), "this test looks at the right bytes")
    reader.close()
    done = box.run(*erase, codes=None)
    check(done.returncode == 1 and json.loads(done.stdout)["is_fully_erased"], "nothing matches, and the rest is done")
    check("nothing of what was erased before is left" in done.stderr, f"it says so: {done.stderr}")
    check(not is_left(), "no byte is left")
    box.verify()
