#!/usr/bin/env bash
# Our costs against those of LiteLLM's own calculator, from the list that its package has, without network: models of
# every provider with more than 40 usages each. Fails if less than 99.5 % of the costs that no kind of difference
# explains are equal within a millionth of a dollar, or if docs/prices.md does not say who is right of a kind.
#
#   tests/prices/run.sh            some models of each provider, for CI
#   tests/prices/run.sh full       all priced models
#   tests/prices/run.sh -- ARGS    options of compare.py: --models 40, --seed N, --differences FILE
#
# Needs Python 3.10 or later with venv, and network access for pip on the first run.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."

target="$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"

venv="$target/prices-python"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
[ "${1:-}" != install ] || exit 0

cargo build --quiet --all-features --bin auditlite

# The seed of the run, as for all random tests.
arguments=(--models 500 --seed "${AUDITLITE_SEED:-1}")
case "${1:-}" in
full) arguments=() ;;
--) arguments=("${@:2}") ;;
'') ;;
*)
    echo "run.sh: unknown argument: $1" >&2
    exit 2
    ;;
esac
LITELLM_LOCAL_MODEL_COST_MAP=True "$venv/bin/python" "$here/compare.py" --auditlite "$target/debug/auditlite" "${arguments[@]}"
