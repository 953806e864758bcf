#!/usr/bin/env bash
# What auditlite reads of bodies against what the official SDKs say of them: thousands of instances and streams are
# drawn from the types of `openai`, `anthropic`, `google-genai`, `mistralai`, `cohere`, `ollama` and `mcp`, recorded
# and compared. Fails if a protocol has fewer right facts than tests/sdks/floor.json, or if docs/wire.md does not list
# what is not read.
#
#   tests/sdks/run.sh            a bounded run, for CI
#   tests/sdks/run.sh full       more than 20,000 exchanges
#   tests/sdks/run.sh write      the bounded run; raises the floor and rewrites the table of docs/wire.md
#   tests/sdks/run.sh -- ARGS    options of main.py: --samples 40, --family NAME, --seed N
#
# Needs Python 3.10 or later with venv, and network access for pip on the first run.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."

target="$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"

venv="$target/sdks-python"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
[ "${1:-}" != install ] || exit 0

cargo build --quiet --all-features --bin auditlite

arguments=(--count 4000)
case "${1:-}" in
full) arguments=(--count 24000) ;;
write) arguments=(--count 4000 --raise-floor --write-table) ;;
--) arguments=("${@:2}") ;;
'') ;;
*)
    echo "run.sh: unknown argument: $1" >&2
    exit 2
    ;;
esac
# Types without an order of their own must not get one by chance.
PYTHONHASHSEED=0 "$venv/bin/python" "$here/main.py" --auditlite "$target/debug/auditlite" "${arguments[@]}"
