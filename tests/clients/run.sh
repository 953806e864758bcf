#!/usr/bin/env bash
# The example gateway against clients that were not written for it: the official `openai`,
# `anthropic` and `google-genai` packages. Starts the gateway with its built-in upstream, lets the
# clients talk, stops the gateway, and compares the trail, as the `auditlite` program shows it, with
# what the clients sent. Then the same with an upstream that replays recorded exchanges.
#
# Needs Python 3.9 or later with venv, and network access for pip on the first run.
set -euo pipefail

PACKAGES=('openai>=3,<4' 'anthropic<1' 'google-genai>=3,<4' 'zstandard<1')
WAIT_SECONDS=60

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."

target="$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"

venv="$target/openai-client"
if ! "$venv/bin/python" -c 'import openai, anthropic, google.genai, zstandard' 2>/dev/null; then
    python3 -m venv --clear "$venv"
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check "${PACKAGES[@]}"
[ "${1:-}" != install ] || exit 0

cargo build --all-features --example gateway --bin auditlite

work="$(mktemp -d)"
gateway=''
cleanup() {
    code=$?
    trap - EXIT
    if [ -n "$gateway" ] && kill -0 "$gateway" 2>/dev/null; then
        kill -KILL "$gateway" 2>/dev/null || true
        wait "$gateway" 2>/dev/null || true
    fi
    if [ "$code" -ne 0 ] && [ -e "$work/gateway.err" ]; then
        echo '--- the gateway said:' >&2
        tail -n 50 "$work/gateway.out" "$work/gateway.err" >&2
    fi
    rm -rf "$work"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a command until it succeeds.
wait_until() {
    local tries=$((WAIT_SECONDS * 10))
    until "$@"; do
        tries=$((tries - 1))
        if [ "$tries" -le 0 ]; then
            echo "run.sh: gave up after $WAIT_SECONDS s: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}
has_begun_or_ended() { grep -q '^recording to ' "$work/gateway.out" || has_ended; }
has_ended() { ! kill -0 "$gateway" 2>/dev/null; }

# Random, so that it can be looked for in the trail, where it must not be.
OPENAI_API_KEY="sk-test-$(python3 -c 'import secrets; print(secrets.token_hex(24))')"
export OPENAI_API_KEY
db="$work/audit.db"

"$target/debug/examples/gateway" --listen 127.0.0.1:0 --db "$db" \
    >"$work/gateway.out" 2>"$work/gateway.err" &
gateway=$!
wait_until has_begun_or_ended
address="$(sed -n 's/^listening on //p' "$work/gateway.out")"
if [ -z "$address" ]; then
    echo 'run.sh: the gateway did not start' >&2
    exit 1
fi

# A proxy of the environment must not stand between client and gateway.
NO_PROXY='*' no_proxy='*' "$venv/bin/python" "$here/openai_client.py" \
    --base-url "$address/v1" >"$work/openai.json"
NO_PROXY='*' no_proxy='*' "$venv/bin/python" "$here/other_clients.py" \
    --base-url "$address" >"$work/others.json"

kill -TERM "$gateway"
wait_until has_ended
if ! wait "$gateway"; then
    echo 'run.sh: the gateway did not end well' >&2
    exit 1
fi
gateway=''
grep '^closed: ' "$work/gateway.out"
if grep -qF "$OPENAI_API_KEY" "$work/gateway.out" "$work/gateway.err"; then
    echo "run.sh: the gateway's log contains the API key" >&2
    exit 1
fi

"$venv/bin/python" "$here/check_trail.py" \
    --sent "$work/openai.json" "$work/others.json" --auditlite "$target/debug/auditlite" --db "$db"

NO_PROXY='*' no_proxy='*' "$venv/bin/python" "$here/replay.py" --corpus "${AUDITLITE_CORPUS:-../shared/corpus}" \
    --gateway "$target/debug/examples/gateway" --auditlite "$target/debug/auditlite"
