"""Situations that have always held, so that they keep holding."""

import json
import signal

from .support import check, line, situation, wait_until


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
