#!/usr/bin/env bash
# Exports, read by programs that nobody here wrote: Python's csv and json, DuckDB, pandas, Polars, jq where it is
# installed, opentelemetry-proto, sqlite-utils, Datasette; and JSON output against the schemas in docs/schemas.
#
# Records a sample of the recorded traffic in the folder AUDITLITE_CORPUS (docs/traffic.md; without it the sample
# of tests/cli), exports it in every form, reads everything back, and imports it into an empty store.
# AUDITLITE_CORPUS_FULL=1 takes all of it.
#
# Needs Python 3.10 or later with venv, and network access for pip on the first run.
set -euo pipefail

PACKAGES=(
    'opentelemetry-proto==1.45.2'
    'opentelemetry-semantic-conventions==0.66b2' # names of version 1.44.0
    'sqlite-utils>=4,<5'
    'jsonschema>=4.20,<5'
    # The newest: what they guess changes.
    'duckdb>=2.0.1'
    'pandas>=3.1'
    'polars>=2.1'
    'datasette>=0.65'
)
# Of each file of trajectories.
SAMPLE_CALLS=60

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."

target="$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"
auditlite="$target/debug/auditlite"

venv="$target/exports-python"
if ! "$venv/bin/python" -c 'import opentelemetry.proto, sqlite_utils, jsonschema, duckdb, pandas, polars, datasette' 2>/dev/null; then
    python3 -m venv --clear "$venv"
fi
"$venv/bin/pip" install --quiet --upgrade --disable-pip-version-check "${PACKAGES[@]}"
[ "${1:-}" != install ] || exit 0

cargo build --all-features --bin auditlite

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export AUDITLITE_DB="$work/audit.db"

corpus="${AUDITLITE_CORPUS:-../shared/corpus}"
files=(tests/cli/sample.jsonl)
if compgen -G "$corpus/exchanges-*.jsonl.zst" >/dev/null; then
    exchanges=("$corpus"/exchanges-*.jsonl.zst)
    if [ -z "${AUDITLITE_CORPUS_FULL:-}" ]; then exchanges=("${exchanges[@]:0:3}"); fi
    files+=("${exchanges[@]}")
    limit=(--limit 3) # conversations
    if [ -n "${AUDITLITE_CORPUS_FULL:-}" ]; then limit=(); fi
    for file in "$corpus"/trajectories-*.jsonl.zst; do
        [ -e "$corpus/expand.py" ] || continue
        calls="$work/$(basename "$file" .zst)"
        python3 "$corpus/expand.py" "$file" --out "$calls" "${limit[@]}" >/dev/null
        if [ -z "${AUDITLITE_CORPUS_FULL:-}" ]; then
            sed -i "$((SAMPLE_CALLS + 1))"',$d' "$calls"
        fi
        files+=("$calls")
    done
else
    echo "exports: no recorded traffic (docs/traffic.md); only the sample of tests/cli is exported" >&2
fi
"$auditlite" record --quiet "${files[@]}"

"$auditlite" export --content full -o "$work/all.jsonl"
"$auditlite" export --content full --zstd -o "$work/all.jsonl.zst"
"$auditlite" export --format csv --content excerpt -o "$work/all.csv"
"$auditlite" export --format otlp --content full -o "$work/spans.jsonl"
"$auditlite" export --format sqlite --content full -o "$work/plain.db"

if command -v jq >/dev/null; then
    [ "$(jq -s 'length' "$work/all.jsonl")" = "$(jq .requests "$work/all.jsonl.manifest.json")" ]
else
    echo "exports: jq is not installed; JSON Lines are read by Python alone" >&2
fi

AUDITLITE_DB="$work/second.db" "$auditlite" import --quiet --origin first "$work/all.jsonl.zst"
AUDITLITE_DB="$work/second.db" "$auditlite" import --origin first "$work/all.jsonl"
AUDITLITE_DB="$work/second.db" "$auditlite" export --content full -o "$work/second.jsonl"
AUDITLITE_DB="$work/second.db" "$auditlite" verify >/dev/null

"$venv/bin/python" tests/exports/check.py "$auditlite" "$work" docs/schemas docs/otlp.md

python3 tests/exports/rare.py "$work/made.jsonl"
export AUDITLITE_DB="$work/rare-audit.db"
"$auditlite" import --quiet "$work/made.jsonl"
"$auditlite" export --content full -o "$work/rare.jsonl"
"$auditlite" export --format csv --content full -o "$work/rare.csv"
"$auditlite" export --format otlp --content full -o "$work/rare-spans.jsonl"
"$auditlite" export --format sqlite --content full -o "$work/rare.db"
"$venv/bin/python" tests/exports/readers.py "$auditlite" "$work"
