#!/usr/bin/env bash
# Situations that operators meet, re-enacted with the `auditlite` program and real parts: mount
# namespaces, tmpfs, overlay and loop-mounted file systems, wrong clocks, small limits, other tools.
#
#   run.sh install        installs what the situations use (Debian and PyPI packages)
#   run.sh [NAME…]        runs all, or those whose name contains one of the words, and a sample of the matrix
#   run.sh --matrix       runs all environments × faults (matrix/), minutes; with words, those cells
#
# A situation whose needs are not met (root, a command) says so and is counted as skipped; in CI
# (CI=true, as root) a skipped one is a failure.
set -euo pipefail

COMMANDS=(faketime:faketime sqlite3:sqlite3 restic:restic rsync:rsync mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs strace:strace mkfs.ext4:e2fsprogs systemd-analyze:systemd)
PACKAGES=('duckdb<2' 'datasette<1')

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$here/../.."
target="$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"
venv="$target/operations-python"

if [ "${1:-}" = install ]; then
    missing=()
    for entry in "${COMMANDS[@]}"; do
        PATH="$PATH:/usr/sbin" command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" apt-get update -qq
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq "${missing[@]}" >/dev/null
    fi
    [ -x "$venv/bin/python" ] || python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${PACKAGES[@]}"
    exit
fi

cargo build --quiet --all-features --bin auditlite
python="$venv/bin/python"
[ -x "$python" ] || python=python3
export PATH="$PATH:/usr/sbin:$venv/bin"
exec "$python" "$here/run.py" --auditlite "$target/debug/auditlite" "$@"
