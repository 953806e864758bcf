"""Small disks, small limits, killed programs."""

import json
import os
import pathlib
import random
import signal
import string
import subprocess

from .support import check, line, mount_tmpfs, recorded, situation, wait_until

CGROUP = pathlib.Path("/sys/fs/cgroup")


def noise(seed, size):
    """Text that does not shrink."""
    letters = string.ascii_letters + string.digits
    return "".join(random.Random(seed).choices(letters, k=size))


def noisy(number, size=20_000):
    question = {"model": "m", "messages": [{"role": "user", "content": noise(number, size)}]}
    return line(number, request=question, conversation_id=f"c-{number}")


@situation("root")
def with_16_mib_free_the_write_ahead_log_is_moved_early(box):
    db = mount_tmpfs(box.folder / "disk", "16m") / "audit.db"
    wal = db.with_name("audit.db-wal")
    gateway = box.start("record", "-", db=db)
    largest = 0
    for number in range(300):
        gateway.stdin.write(json.dumps(noisy(number)) + "\n")
        if number % 20 == 19:
            gateway.stdin.flush()
            wait_until(lambda: len(box.listed(db=db)) > number - 30, "the writer keeps up")
            largest = max(largest, wal.stat().st_size)
    gateway.stdin.close()
    gateway.stdin = None
    _, err = gateway.communicate(timeout=60)
    check(recorded(err) == 300, f"all are recorded: {err}")
    check(largest < 4 << 20, f"the log took {largest} bytes at most")
    check(len(box.listed(db=db)) == 300, "all are there")
    box.verify(db=db)


@situation()
def a_search_leaves_no_write_ahead_log(box):
    box.run("record", "-", lines=[noisy(number) for number in range(200)])
    box.run("search", "yes")
    wal = box.db.with_name("audit.db-wal")
    size = wal.stat().st_size if wal.exists() else 0
    check(size < 1 << 20, f"the log has {size} bytes")


@situation()
def an_export_that_matches_nothing_leaves_yesterdays_file(box):
    box.record(5)
    out = box.folder / "out.jsonl"
    manifest = box.folder / "out.jsonl.manifest.json"
    box.run("export", "-o", out)
    before = out.read_bytes(), manifest.read_bytes()
    check(before[0].count(b"\n") == 5, "it was exported")
    for more in ([], ["--zstd"], ["--format", "csv"], ["--format", "sqlite"], ["--format", "otlp"]):
        done = box.run("export", "-o", out, "--user", "nobody", *more, codes=None)
        check(done.returncode == 1, f"{more}: exit {done.returncode}")
        check((out.read_bytes(), manifest.read_bytes()) == before, f"{more}: the file is as it was")
    check(not any(name.endswith(".part") for name in os.listdir(box.folder)), "nothing else")


@situation()
def a_killed_export_leaves_nothing_for_ever(box):
    box.run("record", "-", lines=[noisy(number) for number in range(100)])
    out = box.folder / "out.jsonl"
    parts = lambda: [name for name in os.listdir(box.folder) if name.endswith(".part")]
    killed = box.start("export", "--content", "full", "-o", out)
    wait_until(lambda: parts() or killed.poll() is not None, "it has begun")
    killed.kill()
    killed.communicate()
    (box.folder / "out.jsonl.4194303.part").write_bytes(b"half")
    check(parts(), "there is something to remove")
    box.run("export", "--content", "full", "-o", out)
    check(not parts(), f"what was left is removed: {parts()}")


@situation("prlimit")
def a_file_size_limit_ends_nothing(box):
    box.record(10)
    limited = box.start("record", "-", prefix=("prlimit", f"--fsize={box.db.stat().st_size + 200_000}:unlimited"))
    for number in range(200):
        limited.stdin.write(json.dumps(noisy(100 + number)) + "\n")
    limited.stdin.flush()
    # It waits, and does not die: raised, it goes on.
    try:
        limited.wait(timeout=4)
    except subprocess.TimeoutExpired:
        pass
    check(limited.returncode is None, f"it lives: {limited.returncode}")
    subprocess.run(["prlimit", f"--pid={limited.pid}", "--fsize=unlimited:unlimited"], check=True)
    limited.stdin.close()
    limited.stdin = None
    _, err = limited.communicate(timeout=60)
    check(limited.returncode == 0, f"exit {limited.returncode}: {err}")
    check(len(box.listed()) == 210, "nothing is lost")
    box.verify()


def in_a_group(limit, *command):
    """Runs a command in a memory control group of its own."""
    is_v1 = (CGROUP / "memory").is_dir()
    group = (CGROUP / "memory" if is_v1 else CGROUP) / f"auditlite-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(limit))
        return subprocess.run(
            ["sh", "-c", 'echo $$ > "$0" && exec "$@"', group / "cgroup.procs", *command],
            capture_output=True,
            text=True,
            timeout=100,
        )
    finally:
        group.rmdir()


@situation("root")
def recording_heeds_a_memory_group_of_48_mib(box):
    lines = box.folder / "lines.jsonl"
    with open(lines, "w") as file:
        for number in range(150):
            file.write(json.dumps(noisy(number, 600_000)) + "\n")
    done = in_a_group(48 << 20, *box.command("record", lines))
    check(done.returncode == 0, f"exit {done.returncode}: {done.stderr}")
    check(len(box.listed()) == 150, "all are there")
    done = in_a_group(48 << 20, *box.command("record", "--capacity-bytes", "3MiB", lines))
    check(done.returncode == 0, f"with a capacity, exit {done.returncode}: {done.stderr}")


@situation()
def a_killed_writer_is_told_before_the_next_opening(box):
    box.record(1, first=200)
    process = box.start("record", "-")
    for number in range(50):
        process.stdin.write(json.dumps(line(number)) + "\n")
    process.stdin.flush()
    wait_until(lambda: len(box.listed()) >= 51, "50 requests are in the file")
    alive = box.run("doctor").stdout
    check("0 of these ended without a close" in alive, f"while it writes: {alive}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    dead = box.run("doctor").stdout
    check("1 of these ended without a close" in dead, f"after the kill: {dead}")
    box.record(1, first=100)
    check("1 of these ended without a close" in box.run("doctor").stdout, "and after the next opening")
