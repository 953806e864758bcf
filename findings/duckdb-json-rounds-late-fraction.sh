#!/usr/bin/env bash
# DuckDB rounds a cost to whole numbers, without an error, if the first fraction comes late in a JSON Lines file.
#
# Types are guessed from the first 20,480 lines. A column that was whole so far becomes BIGINT, and 0.5 on a later line is read as
# 0. One line earlier it would have made the column DOUBLE. Text at the same place is an error; pyarrow widens, Polars refuses.
#
# duckdb 2.0.1, pyarrow 26.0.1, polars 2.1.0 (PyPI). Output seen, for N whole costs and then 0.5, 1.5, 2.5:
#   duckdb  N=20479: DOUBLE, the last three add up to 4.5
#   duckdb  N=20480: BIGINT, the last three add up to 4
#   pyarrow N=20480: double, the last three add up to 4.5
#   polars  N=20480: ComputeError
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0
"$dir/v/bin/python" - "$dir" <<'PY'
import sys, duckdb, polars
import pyarrow.json

def write(whole):
    path = f"{sys.argv[1]}/{whole}.jsonl"
    with open(path, "w") as file:
        file.write('{"cost":0}\n' * whole + '{"cost":0.5}\n{"cost":1.5}\n{"cost":2.5}\n')
    return path

seen = []
for whole in (20479, 20480):
    seen.append(duckdb.sql(f"SELECT any_value(typeof(cost)), sum(cost) FROM '{write(whole)}'").fetchall()[0])
    print(f"duckdb  N={whole}: {seen[-1][0]}, the last three add up to {seen[-1][1]}")
column = pyarrow.json.read_json(write(20480))["cost"]
print(f"pyarrow N=20480: {column.type}, the last three add up to {sum(column.to_pylist())}")
try:
    polars.read_ndjson(write(20480))
    refused = "accepted"
except polars.exceptions.PolarsError as error:
    refused = type(error).__name__
print("polars  N=20480:", refused)
assert seen == [("DOUBLE", 4.5), ("BIGINT", 4)] and sum(column.to_pylist()) == 4.5 and refused == "ComputeError", "behaviour has changed"
PY
