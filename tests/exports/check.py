"""Reads every form of export with other people's libraries, and JSON output against its schemas."""

import csv
import datetime
import decimal
import hashlib
import json
import pathlib
import sqlite3
import subprocess
import sys

import jsonschema
import sqlite_utils
from google.protobuf import json_format
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    gen_ai_attributes,
    http_attributes,
    session_attributes,
    user_attributes,
)
from opentelemetry.semconv.schemas import Schemas

program, work, schemas, mapping = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])
csv.field_size_limit(sys.maxsize)
epoch = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)


def lines(name):
    # Not splitlines(): what was said may hold other line separators.
    with open(work / name, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


def body_bytes(body):
    if body is None:
        return None
    if body["text"] is not None:
        return body["text"].encode()
    if body["base64"] is not None:
        import base64

        return base64.b64decode(body["base64"])
    return None


def validator(name):
    schema = json.loads((schemas / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


# JSON Lines: every body has its digest, every line its schema.
records, bodies = {}, 0
export_schema = validator("export")
for line in lines("all.jsonl"):
    export_schema.validate(line)
    for side in ("request", "response"):
        body = line[side]
        content = body_bytes(body)
        if content is not None and body["head"] is None:
            assert hashlib.sha256(content).hexdigest() == body["sha256"], line["request_id"]
            assert len(content) == body["length"]
            bodies += 1
    records[line["opened_seq"]] = line
assert records and bodies > len(records), (len(records), bodies)
manifest = json.loads((work / "all.jsonl.manifest.json").read_text())
validator("manifest").validate(manifest)
assert manifest["requests"] == len(records)
assert manifest["sha256"] == hashlib.sha256((work / "all.jsonl").read_bytes()).hexdigest()

# CSV, as Python reads it by default.
with open(work / "all.csv", newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
assert len(rows) == len(records)
for row in rows:
    record = records[int(row["opened_seq"])]
    for field in ("request_id", "user_id", "request_model"):
        expected = record[field] or ""
        assert row[field] in (expected, "'" + expected), (field, row[field])
    for field in ("input_tokens", "latency_us", "opened_at"):
        assert (int(row[field]) if row[field] else None) == record[field], field
    # What people read says what the numbers say.
    opened = datetime.datetime.fromisoformat(row["opened_at_iso"])
    assert opened == epoch + datetime.timedelta(microseconds=record["opened_at"])
    dollars = row["cost_dollars"]
    cost = record["cost_microdollars"]
    assert (decimal.Decimal(dollars) * 1_000_000 if dollars else None) == cost, dollars
    for cell in row.values():
        assert not cell.startswith(("=", "@", "\t", "\r", "+")), cell[:40]

# OpenTelemetry: the official definitions, and the official names.
registered = {
    value
    for module in (
        gen_ai_attributes, error_attributes, http_attributes, session_attributes, user_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}
documented = mapping.read_text()
newest = list(Schemas)[-1].value
assert newest in documented, newest
spans, names = 0, set()
with open(work / "spans.jsonl", encoding="utf-8", newline="\n") as file:
    for line in file:
        data = json.loads(line)
        # Identifiers are hex in OTLP/JSON, base64 in protobuf's own.
        for resource in data["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    import base64

                    for key, size in (("traceId", 16), ("spanId", 8)):
                        raw = bytes.fromhex(span[key])
                        assert len(raw) == size and any(raw)
                        span[key] = base64.b64encode(raw).decode()
        parsed = json_format.ParseDict(data, trace_pb2.TracesData())
        for resource in parsed.resource_spans:
            assert resource.schema_url == newest
            for scope in resource.scope_spans:
                for span in scope.spans:
                    spans += 1
                    assert span.kind == trace_pb2.Span.SPAN_KIND_CLIENT
                    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
                    keys = [attribute.key for attribute in span.attributes]
                    assert len(keys) == len(set(keys)), keys
                    names.update(keys)
                    values = {a.key: a.value for a in span.attributes}
                    for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
                        for message in json.loads(values[key].string_value) if key in values else []:
                            assert message["role"] and isinstance(message["parts"], list)
assert spans == len(records)
own = {name for name in names if name.startswith("auditlite.")}
assert names - own <= registered, names - own - registered
assert {"gen_ai.operation.name", "gen_ai.request.model", "gen_ai.input.messages"} <= names
for name in names - own:
    assert f"`{name}`" in documented, name

# SQLite, through sqlite-utils and the standard library.
database = sqlite_utils.Database(work / "plain.db")
assert {"requests", "tool_calls", "bodies", "texts", "request_messages"} <= set(database.table_names())
assert "messages" in database.view_names()
assert database["requests"].count == len(records)
for row in database["requests"].rows:
    record = records[row["opened_seq"]]
    opened = datetime.datetime.fromisoformat(row["opened_at_iso"])
    assert opened == epoch + datetime.timedelta(microseconds=record["opened_at"])
    cost = record["cost_microdollars"]
    assert row["cost_dollars"] == (None if cost is None else cost / 1_000_000)
for row in database["requests"].rows_where("tool_call_count > 0"):
    assert database["tool_calls"].count_where("opened_seq = ?", [row["opened_seq"]]) == row["tool_call_count"]
plain = sqlite3.connect(work / "plain.db")
assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
checked = 0
for seq, side, digest, head, text, content in plain.execute(
    "SELECT opened_seq, side, sha256, head, text, bytes FROM bodies"
):
    content = text.encode() if text is not None else content
    if content is not None and head is None:
        assert hashlib.sha256(content).hexdigest() == digest
        assert digest == records[seq][side]["sha256"]
        checked += 1
assert checked == bodies, (checked, bodies)
assert database["messages"].count == database["request_messages"].count > database["texts"].count > 0

# Import into an empty store: the same requests, the same bodies.
# A price book is numbered in the log that states it.
DIFFERS = ("opened_seq", "ended_seq", "attributes", "price_book_seq")
before = {line["request_id"]: line for line in records.values()}
after = {line["request_id"]: line for line in lines("second.jsonl")}
assert before.keys() == after.keys(), len(before.keys() ^ after.keys())
for request_id, line in before.items():
    other = after[request_id]
    attributes = dict(other["attributes"])
    assert attributes.pop("imported_from") == "first"
    assert attributes.pop("imported_seq") == str(line["opened_seq"])
    assert attributes == line["attributes"]
    for field, value in line.items():
        if field not in DIFFERS:
            assert other[field] == value, (request_id, field, other[field], value)

# Every --json output against its schema.
some = next(iter(before))
erasable = list(before)[-1]
runs = [
    ("list", ["list", "-n", "50"]),
    ("stats", ["stats", "--by", "day,model,user"]),
    ("show", ["show", some]),
    ("conversation", ["conversation", some]),
    ("search", ["search", "the OR paris"]),
    ("doctor", ["doctor"]),
    ("verify", ["verify"]),
    ("prune", ["prune", "--content-older-than", "99999d", "--dry-run"]),
    ("erase", ["erase", "--request", erasable, "--reason", "a test", "--yes"]),
    ("doctor", ["doctor"]),
    ("list", ["list", "-n", "5"]),
]
subprocess.run([program, "bundle", "-o", work / "a.bundle"], check=True)
runs.append(("bundle", ["bundle", "--check", str(work / "a.bundle")]))
for name, arguments in runs:
    run = subprocess.run([program, *arguments, "--json"], capture_output=True, text=True)
    assert run.returncode == 0, (arguments, run.stderr)
    objects = [json.loads(line) for line in run.stdout.split("\n") if line]
    assert objects, arguments
    check = validator(name)
    for value in objects:
        check.validate(value)
        # Nothing undocumented: what is there is in the schema.
        assert value.keys() == check.schema["properties"].keys(), (name, value.keys())

print(
    f"exports: {len(records)} requests, {bodies} bodies, {spans} spans, {checked} bodies in SQLite; "
    f"{len(runs)} outputs fit their schemas"
)
