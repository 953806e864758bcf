"""Exports with fields that are rare, read by DuckDB, pandas and Polars with the code of `export --schema`, and by others.

The truth is Python's json. A guess is tried too, and must fail: else this proves nothing of the schemas.
"""

import datetime
import decimal
import json
import math
import pathlib
import re
import sqlite3
import subprocess
import sys

import duckdb
import pandas
import polars
import sqlite_utils

program, work = sys.argv[1], pathlib.Path(sys.argv[2])
RARE = "error_type"


def schema(reader, name, *options):
    path = work / name
    run = [program, "export", "--schema", reader, "-o", str(path), *options]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def run_python(code):
    names = {}
    exec(compile(code, "schema", "exec"), names)
    return names["requests"]


def plain(value):
    """As Python's json has it: no missing values of a library's own."""
    if value is None or value is pandas.NA or value is pandas.NaT:
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


with open(work / "rare.jsonl", encoding="utf-8", newline="\n") as file:
    truth = [json.loads(line) for line in file]
fields = list(truth[0])
late = [row for row in truth if row[RARE]]
assert truth[-1] in late and not any(row[RARE] for row in truth[:20_480]), len(truth)
for name in fields:
    # Every field that may be null is null early, and set late; no imported cost was computed by a book of this log.
    is_always_empty = name in ("adjusted_fields", "body_flags", "is_erased", "is_id_shared", "price_book_seq")
    assert late[0][name] not in (None, [], {}) or is_always_empty, name


def compare(what, rows, changed=()):
    assert len(rows) == len(truth), (what, len(rows))
    for row, expected in zip(rows, truth):
        for name in fields:
            found = plain(row[name])
            value = expected[name]
            if name in changed:
                found = None if found is None else json.loads(found)
            assert type(found) is type(value) and found == value, (what, name, found, value)


# JSON Lines.
full = ("--content", "full")
connection = duckdb.connect()
connection.execute(schema("duckdb", "rare.jsonl", *full))
columns = [column[0] for column in connection.execute("SELECT * FROM requests LIMIT 0").description]
assert columns == fields, columns
rows = [dict(zip(columns, row)) for row in connection.execute("SELECT * FROM requests ORDER BY opened_seq").fetchall()]
compare("duckdb jsonl", rows, changed=("usage_details",))
assert connection.execute(f"SELECT count(*) FROM requests WHERE {RARE} = 'timeout'").fetchone() == (len(late),)
try:
    guessed = duckdb.execute(f"SELECT count(*) FROM '{work}/rare.jsonl' WHERE {RARE} = 'timeout'").fetchone()
except duckdb.Error:
    guessed = None
assert guessed != (len(late),), "DuckDB's guess is right now: this test needs more lines"

frame = run_python(schema("pandas", "rare.jsonl", *full))


def rows_of_pandas(frame):
    # One column at a time: rows of a frame would be of one common type.
    values = {name: frame[name].tolist() for name in frame.columns}
    return [dict(zip(values, row)) for row in zip(*values.values())]


compare("pandas jsonl", rows_of_pandas(frame))
assert list(frame.columns) == fields
guessed = pandas.read_json(work / "rare.jsonl", lines=True)
assert plain(guessed.iloc[-1]["cost_microdollars"]) != late[-1]["cost_microdollars"] or guessed.iloc[-1]["session_id"] != "00012"

frame = run_python(schema("polars", "rare.jsonl", *full))
assert frame.columns == fields
compare("polars jsonl", frame.to_dicts(), changed=("attributes", "usage_details"))
try:
    guessed = polars.read_ndjson(work / "rare.jsonl")[-1].to_dicts()[0][RARE]
except polars.exceptions.PolarsError:
    guessed = None
assert guessed != "timeout", "Polars' guess is right now"

# jq.
run = ["jq", "-r", f"select(.{RARE} != null) | .cost_microdollars", work / "rare.jsonl"]
try:
    found = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    assert found == [str(row["cost_microdollars"]) for row in late], found
except FileNotFoundError:
    print("exports: jq is not installed", file=sys.stderr)

# CSV: the same fields; lists and objects are texts of JSON there, and texts have no difference of empty and unknown.
lists = ("attributes", "usage_details", "finish_reasons", "adjusted_fields", "body_flags")
nested = ("tool_calls", "request", "response")
cells = [name for name in fields if name not in nested]


def compare_csv(what, rows, time):
    assert len(rows) == len(truth), (what, len(rows))
    for row, expected in zip(rows, truth):
        for name in cells:
            found, value = plain(row[name]), expected[name]
            if name in lists:
                found = None if found is None else json.loads(found)
            elif isinstance(value, str) and "=1" in value:
                # Begins of formulas are defused, whatever the reader.
                found = found.replace("'=", "=")
            assert type(found) is type(value) and found == value, (what, name, found, value)
        micros = datetime.timedelta(microseconds=expected["opened_at"])
        assert time(row["opened_at_iso"]) == datetime.datetime.fromtimestamp(0, datetime.timezone.utc) + micros
        cost, dollars = expected["cost_microdollars"], plain(row["cost_dollars"])
        if cost is None:
            assert dollars is None
        elif isinstance(dollars, decimal.Decimal):
            assert dollars * 1_000_000 == cost
        else:
            assert math.isclose(dollars, cost / 1_000_000)
        has_text = expected["request"] is not None and expected["request"]["text"]
        assert plain(row["request_text"]) == (has_text or None), (what, row["request_text"])


csv = ("--format", "csv", *full)
connection.execute(schema("duckdb", "rare.csv", *csv))
connection.execute("SET TimeZone = 'UTC'")
result = connection.execute("SELECT * FROM requests ORDER BY opened_seq")
columns = [column[0] for column in result.description]
compare_csv("duckdb csv", [dict(zip(columns, row)) for row in result.fetchall()], lambda at: at)
frame = run_python(schema("pandas", "rare.csv", *csv))
compare_csv("pandas csv", rows_of_pandas(frame), lambda at: at.to_pydatetime())
guessed = pandas.read_csv(work / "rare.csv").iloc[-1]
assert guessed["user_id"] != "NA", "pandas takes NA for a name now"
frame = run_python(schema("polars", "rare.csv", *csv))
compare_csv("polars csv", frame.to_dicts(), lambda at: at)

# SQLite through sqlite-utils, and through Datasette as it serves it.
database = sqlite_utils.Database(work / "rare.db")
rows = list(database.query("SELECT * FROM requests ORDER BY opened_seq"))
assert len(rows) == len(truth)
for row, expected in zip(rows, truth):
    for name in cells:
        value = expected[name]
        found = json.loads(row[name]) if name in lists and row[name] is not None else row[name]
        assert found == value, ("sqlite-utils", name, found, value)
shown = subprocess.run(
    [sys.executable, "-m", "datasette", work / "rare.db", "--get",
     f"/rare/requests.json?_shape=array&{RARE}=timeout&_sort=opened_seq"],
    check=True, capture_output=True, text=True,
)
shown = json.loads(shown.stdout)
assert len(shown) == len(late)
for row, expected in zip(shown, late):
    for name in cells:
        found = json.loads(row[name]) if name in lists and row[name] is not None else row[name]
        assert found == expected[name], ("datasette", name, found, expected[name])

# OTLP with the code of docs/export.md; without it ids are others, and nothing fails.
guide = pathlib.Path("docs/export.md").read_text()
block = next(block for block in re.findall(r"```python\n(.*?)```", guide, re.S) if "def read_traces" in block)
names = {}
exec(block, names)
ids = 0
with open(work / "rare-spans.jsonl", encoding="utf-8", newline="\n") as file:
    for line in file:
        span = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        read = names["read_traces"](line).resource_spans[0].scope_spans[0].spans[0]
        assert read.trace_id.hex() == span["traceId"] and read.span_id.hex() == span["spanId"]
        ids += 1
    wrong = names["json_format"].Parse(line, names["TracesData"]()).resource_spans[0].scope_spans[0].spans[0]
    assert wrong.trace_id.hex() != span["traceId"], "json_format reads hex now: docs/export.md can be shorter"
assert ids == len(truth)

print(f"exports: {len(truth)} requests with {len(fields)} fields, rare ones last, read alike by 7 programs")
