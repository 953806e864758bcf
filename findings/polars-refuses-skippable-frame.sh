#!/usr/bin/env bash
# Polars cannot read a zstd log whose first frame is a skippable one; others can.
#
# Parallel compressors put a skippable frame (sizes, a seek hint) before the data; decoders have to pass over it. Polars takes the file for
# uncompressed text. The same frame between or after data frames does no harm.
#
# polars 2.1.0, duckdb 2.0.1, pyarrow 26.0.1, zstandard 0.25.0 (PyPI). Output seen, rows read of 2:
#   polars, frame in the middle: 2
#   polars, frame at the start:  ComputeError
#   duckdb, frame at the start:  2
#   pyarrow, frame at the start: 2
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 zstandard==0.25.0
"$dir/v/bin/python" - "$dir" <<'PY'
import struct, sys, duckdb, polars, pyarrow, zstandard
import pyarrow.json

one, two = (zstandard.ZstdCompressor().compress(line) for line in (b'{"n":1}\n', b'{"n":2}\n'))
skippable = struct.pack("<II", 0x184D2A50, 4) + struct.pack("<I", len(one))
paths = []
for name, data in (("middle", one + skippable + two), ("start", skippable + one + two)):
    paths.append(f"{sys.argv[1]}/{name}.jsonl.zst")
    open(paths[-1], "wb").write(data)
    assert zstandard.open(paths[-1]).read() == b'{"n":1}\n{"n":2}\n'

def rows(read, path):
    try:
        return read(path)
    except polars.exceptions.PolarsError as error:
        return type(error).__name__

by_polars = lambda path: polars.read_ndjson(path).height
by_duckdb = lambda path: duckdb.sql(f"SELECT count(n) FROM '{path}'").fetchall()[0][0]
by_pyarrow = lambda path: pyarrow.json.read_json(pyarrow.input_stream(path, compression="zstd")).num_rows
seen = rows(by_polars, paths[0]), rows(by_polars, paths[1]), rows(by_duckdb, paths[1]), rows(by_pyarrow, paths[1])
for name, got in zip(("polars, frame in the middle: ", "polars, frame at the start:  ", "duckdb, frame at the start:  ", "pyarrow, frame at the start: "), seen):
    print(name + str(got))
assert seen == (2, "ComputeError", 2, 2), "behaviour has changed"
PY
