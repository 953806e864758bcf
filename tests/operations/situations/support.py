"""What situations are made of: a folder, the program, records to feed it, and what must hold after."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import time

SITUATIONS = {}
# Waiting for something to be seen; a busy machine is slow, not wrong.
WAIT_SECONDS = 30


class Failed(Exception):
    """What was expected did not hold."""


@dataclasses.dataclass
class Situation:
    function: callable
    needs: tuple


def situation(*needs):
    """Registers a function as a situation; `needs` names commands, or `root`."""

    def register(function):
        SITUATIONS[function.__name__] = Situation(function, needs)
        return function

    return register


def line(number, **fields):
    """A record line: one request with both bodies."""
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"question {number}"}]}
    response = {
        "id": f"r-{number}",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
    }
    return {
        "request_id": f"request-{number}",
        "wire_protocol": "openai.chat",
        "request": request,
        "response": response,
        "status": 200,
        **fields,
    }


def check(condition, message):
    if not condition:
        raise Failed(message)


class Box:
    """A folder of its own, and the program in it."""

    def __init__(self, auditlite, folder):
        self.auditlite = auditlite
        self.folder = folder
        self.db = folder / "audit.db"

    def command(self, *arguments, db=None):
        return [str(self.auditlite), "--db", str(db or self.db), *map(str, arguments)]

    def run(self, *arguments, db=None, lines=None, codes=(0,), prefix=(), env=None, cwd=None, timeout=60):
        """Runs the program to its end; fails where its exit status is none of `codes`."""
        text = None if lines is None else "".join(json.dumps(entry) + "\n" for entry in lines)
        done = subprocess.run(
            [*prefix, *self.command(*arguments, db=db)],
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        if codes is not None and done.returncode not in codes:
            raise Failed(
                f"{' '.join(map(str, arguments))}: exit {done.returncode}, expected {codes}\n{done.stdout}{done.stderr}"
            )
        return done

    def start(self, *arguments, db=None, prefix=(), env=None, **options):
        """Starts the program; its lines are fed through `stdin`."""
        return subprocess.Popen(
            [*prefix, *self.command(*arguments, db=db)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            **options,
        )

    def record(self, count, first=0, db=None, **options):
        """Records `count` requests; returns how many the program says it recorded."""
        done = self.run("record", "-", db=db, lines=[line(n) for n in range(first, first + count)], **options)
        return recorded(done.stderr)

    def listed(self, db=None, **options):
        """Request ids that can be read."""
        done = self.run("list", "-n", "0", "--json", db=db, codes=(0, 1), **options)
        return [json.loads(entry)["request_id"] for entry in done.stdout.splitlines() if entry]

    def verify(self, db=None, **options):
        return self.run("verify", db=db, **options)


def recorded(text):
    """The number in `recorded N requests`."""
    found = re.search(r"recorded ([\d,]+) request", text)
    check(found, f"no summary in: {text!r}")
    return int(found.group(1).replace(",", ""))


def wait_until(condition, what):
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.05)
    raise Failed(f"waited {WAIT_SECONDS} s in vain: {what}")


def mount_tmpfs(folder, size):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    return folder


def mount_image(folder, kind, size_mb):
    """A file system of its own kind in a file, mounted on a loop device."""
    image = pathlib.Path(f"{folder}.img")
    with open(image, "wb") as file:
        file.truncate(size_mb << 20)
    quiet = {"ext4": ["-q"], "xfs": ["-q"], "btrfs": ["-q"]}[kind]
    subprocess.run([f"mkfs.{kind}", *quiet, image], check=True, capture_output=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    return folder


def terminate(process, how=signal.SIGTERM, timeout=30):
    """Ends a started program and returns its exit status, output and errors."""
    process.send_signal(how)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err
