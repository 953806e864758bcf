#!/usr/bin/env bash
# Compares what two builds export of the same databases, byte by byte; of SQLite exports, what `sqlite3` dumps of
# them without the comments of the schema.
#
#   tests/exports/same.sh OLD-auditlite NEW-auditlite DATABASE...
#
# Digests are asked for where a build has the option, since others write them in any case. Ends with 1 if anything
# differs.
set -euo pipefail
old=$1 new=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

exported() { # PROGRAM DATABASE FORMAT CONTENT FILE
    local digests=()
    if "$1" export --help | grep -q -- '--digests'; then digests=(--digests); fi
    "$1" export --db "$2" --format "$3" --content "$4" "${digests[@]}" --output "$5" >/dev/null 2>&1
    if [ "$3" = sqlite ]; then
        sqlite3 "$5" .dump | sed 's/ *-- .*//' >"$5.dump"
        mv "$5.dump" "$5"
    fi
}

for database; do
    for format in jsonl csv otlp sqlite; do
        for content in none excerpt full; do
            exported "$old" "$database" "$format" "$content" "$folder/old"
            exported "$new" "$database" "$format" "$content" "$folder/new"
            if cmp "$folder/old" "$folder/new"; then
                echo "same: $database $format $content"
            else
                echo "DIFFERENT: $database $format $content"
                status=1
            fi
            rm -f "$folder"/*
        done
    done
done
exit $status
