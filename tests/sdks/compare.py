"""Compares what was recorded of exchanges with what the SDKs say of them."""

import base64
import collections
import json
import pathlib
import sqlite3
import subprocess

RIGHT, WRONG, UNREAD = "right", "wrong", "unread"


def record(auditlite, exchanges, work):
    """Records all exchanges as lines, and returns the export's rows by request id."""
    lines = pathlib.Path(work, "exchanges.jsonl")
    with lines.open("w") as out:
        for number, exchange in enumerate(exchanges):
            line = {"request_id": f"x{number}", "request_body": json.dumps(exchange.request),
                    "status": exchange.status, "url_path": exchange.path,
                    "response_body": base64.b64encode(exchange.response).decode(),
                    "response_body_encoding": "base64"}
            if exchange.wire:
                line["wire"] = exchange.wire
            out.write(json.dumps(line) + "\n")
    db, plain = pathlib.Path(work, "sdks.db"), pathlib.Path(work, "plain.db")
    run(auditlite, db, "record", "--durability", "buffered", str(lines))
    run(auditlite, db, "export", "--format", "sqlite", "--content", "full", "-o", str(plain))
    connection = sqlite3.connect(plain)
    connection.row_factory = sqlite3.Row
    rows = {row["opened_seq"]: {**dict(row), "calls": [], "said": []}
            for row in connection.execute("SELECT * FROM requests")}
    for call in connection.execute("SELECT * FROM tool_calls ORDER BY opened_seq, position"):
        rows[call["opened_seq"]]["calls"].append((call["tool_call_id"], call["tool_name"], call["input"]))
    for message in connection.execute("SELECT * FROM messages WHERE is_reply ORDER BY opened_seq, position"):
        rows[message["opened_seq"]]["said"].append(message["text"])
    return {row["request_id"]: row for row in rows.values()}


def run(auditlite, db, *arguments):
    done = subprocess.run([auditlite, "--db", str(db), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{arguments[0]} failed: {done.stderr}")


def compare(exchange, row):
    """(who states it, name, verdict, expected, found) of each fact."""
    calls = list(row["calls"])
    stated_calls = 0
    for owner, name, value in exchange.facts:
        if name == "call":
            stated_calls += 1
            yield from compare_call(owner, value, calls, row["calls"])
        elif name == "text":
            found = "\n".join(row["said"])
            verdict = RIGHT if value in found else (WRONG if found else UNREAD)
            yield owner, "text", verdict, value, found
        elif name.startswith("usage_details."):
            yield owner, name, *judged(name, value, within(json.loads(row["usage_details"] or "{}"), name))
        else:
            yield owner, name, *judged(name, value, row.get(name))
    if stated_calls or row["calls"]:
        found = len(row["calls"])
        verdict = RIGHT if found == stated_calls else (UNREAD if not found else WRONG)
        yield exchange.kind, "calls", verdict, stated_calls, found


def within(details, path):
    """What the details have at this path."""
    for name in path.split(".")[1:]:
        details = (details or {}).get(name)
    return details


def judged(name, value, found):
    if name == "finish_reasons":
        found = json.loads(found or "[]")
    if name == "error_message" and found is not None:
        # A message is shortened to its bound, never changed otherwise.
        return (RIGHT if found == value or found in json.dumps(value) else WRONG), value, found
    if found == value:
        return RIGHT, value, found
    if name == "status":
        return WRONG, value, found
    return (UNREAD if found in (None, [], "") else WRONG), value, found


def compare_call(owner, value, left, recorded):
    """A call is found by its id, else by its name, else by its input."""
    call_id, name, arguments = value
    match = next((call for call in left if call_id and call[0] == call_id), None)
    match = match or next((call for call in left if name and call[1] == name), None)
    match = match or next((call for call in left if arguments and same(call[2], arguments)), None)
    for part, stated, at in (("call.id", call_id, 0), ("call.name", name, 1), ("call.input", arguments, 2)):
        if stated is None:
            continue
        if match is None:
            yield owner, part, (WRONG if len(recorded) and not left else UNREAD), stated, recorded
        elif at == 2:
            verdict = RIGHT if same(match[2], stated) else (WRONG if match[2] else UNREAD)
            yield owner, part, verdict, stated, match[2]
        else:
            yield owner, part, RIGHT if match[at] == stated else WRONG, stated, match[at]
    if match in left:
        left.remove(match)


def same(found, stated):
    """Equal as JSON where both are JSON, else as text."""
    if found == stated:
        return True
    try:
        return json.loads(found) == json.loads(stated)
    except (TypeError, ValueError):
        return False


def tally(exchanges, rows):
    """Counts by who states it, and samples of what is not right."""
    counts = collections.defaultdict(collections.Counter)
    families = collections.defaultdict(collections.Counter)
    samples = {}
    for number, exchange in enumerate(exchanges):
        row = rows.get(f"x{number}")
        if row is None:
            raise SystemExit(f"x{number} was not recorded")
        for owner, name, verdict, expected, found in compare(exchange, row):
            counts[owner][verdict] += 1
            families[exchange.family][verdict] += 1
            if verdict != RIGHT:
                counts[owner][f"{verdict} {name}"] += 1
                key = (exchange.family, owner, name, verdict)
                samples.setdefault(key, [0, number, expected, found])[0] += 1
    return counts, families, samples
