"""Compares auditlite's costs with those of LiteLLM's calculator. See run.sh."""

import argparse
import collections
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile

# First: it says that the list of the package is to be used.
import calculator
import kinds
import litellm
from usages import TOKENS, UNITS, line

PRICE_OF_UNIT = {
    "images": ("output_cost_per_image",),
    "audio seconds": ("input_cost_per_second", "output_cost_per_second"),
    "characters": ("input_cost_per_character",),
    "pages": ("ocr_cost_per_page",),
    "queries": ("input_cost_per_query",),
    "video seconds": ("output_cost_per_second", "output_cost_per_video_per_second"),
}
MODE_OF_UNIT = {
    "images": {"image_generation"},
    "audio seconds": {"audio_transcription"},
    "characters": {"audio_speech"},
    "pages": {"ocr"},
    "queries": {"rerank", "search"},
    "video seconds": {"video_generation"},
}
MODES_WITHOUT_TOKENS = {"image_generation", "image_edit", "video_generation", "ocr", "search", "guardrail",
                        "vector_store", "audio_speech", "audio_transcription", "rerank", "extraction"}


def usages_of(entry):
    mode = entry.get("mode")
    if "input_cost_per_token" in entry or "output_cost_per_token" in entry or "tiered_pricing" in entry:
        if mode not in MODES_WITHOUT_TOKENS or entry.get("input_cost_per_token"):
            yield from TOKENS
    for unit, fields in PRICE_OF_UNIT.items():
        if mode in MODE_OF_UNIT[unit] and any(entry.get(field) for field in fields):
            yield unit


def models(count, seed):
    entries = {
        key: entry
        for key, entry in litellm.model_cost.items()
        if key not in ("sample_spec", "fallback_generalizations") and entry.get("litellm_provider")
    }
    keys = sorted(entries)
    if count and count < len(keys):
        # Some of each provider, then any.
        chance = random.Random(seed)
        chance.shuffle(keys)
        by_provider = collections.defaultdict(list)
        for key in keys:
            by_provider[entries[key]["litellm_provider"]].append(key)
        first = [key for known in by_provider.values() for key in known[:2]]
        keys = list(dict.fromkeys(first + keys))[:count]
    return {key: entries[key] for key in keys}


def raw_list():
    path = pathlib.Path(litellm.__file__).parent / "model_prices_and_context_window_backup.json"
    return path, json.loads(path.read_text())


def ours(auditlite, path, lines):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "lines.jsonl"
        source.write_text("".join(json.dumps(one) + "\n" for one in lines))
        database = f"{folder}/prices.db"
        command = [auditlite, "--db", database]
        subprocess.run(
            [*command, "record", "--quiet", "--no-built-in-prices", "--prices", str(path), str(source)], check=True
        )
        listed = subprocess.run([*command, "list", "--json", "-n", "0"], check=True, capture_output=True, text=True)
    for text in listed.stdout.splitlines():
        record = json.loads(text)
        details = record["usage_details"] or {}
        yield record["request_id"], (record["cost_microdollars"], record["cost_source"], details.get("unpriced", []))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--auditlite", required=True)
    arguments.add_argument("--models", type=int, default=0, help="how many; 0: all")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--differences", type=pathlib.Path, help="a file for all differences, as JSON Lines")
    arguments = arguments.parse_args()

    path, listed = raw_list()
    lines, asked = [], {}
    chosen = models(arguments.models, arguments.seed)
    for key, entry in chosen.items():
        for name in usages_of(entry):
            request_id = hashlib.sha256(f"{key}\0{name}".encode()).hexdigest()[:24]
            asked[request_id] = (key, name)
            lines.append(line(name, key, entry["litellm_provider"], request_id))
    costs = dict(ours(arguments.auditlite, path, lines))

    counts, examples, differences = collections.Counter(), collections.defaultdict(list), []
    for request_id, (key, name) in asked.items():
        entry = {**listed.get(listed.get(key, {}).get("alias_of", key), {})}
        told = calculator.cost(name, key, entry["litellm_provider"], entry.get("mode"))
        cost, source, unpriced = costs[request_id]
        kind = kinds.of(name, key, entry, told, cost, source, unpriced)
        counts[kind] += 1
        if kind != kinds.SAME:
            difference = [kind, key, name, told if isinstance(told, str) else round(told * 1e6, 3), cost, unpriced]
            differences.append(difference)
            if kind == kinds.NO_KIND and len(examples[kind]) < 40:
                examples[kind].append(difference)

    total = sum(counts.values())
    same, unknown = counts[kinds.SAME], counts[kinds.NO_KIND]
    decided = total - same - unknown
    rest = same + unknown
    print(f"{len(chosen):,} models, {total:,} costs: {same:,} equal, {decided:,} of {len(counts) - 1 - (unknown > 0)} "
          f"kinds of difference, {unknown:,} of none; of the rest {same / rest:.2%} equal")
    for kind, count in counts.most_common():
        print(f"{count:8,}  {kind}")
    for example in examples[kinds.NO_KIND]:
        print("  ", *example, sep="  ")
    if arguments.differences:
        arguments.differences.write_text("".join(json.dumps(one) + "\n" for one in differences))
    undocumented = kinds.undocumented(set(counts))
    if undocumented:
        print(f"not in docs/prices.md: {undocumented}", file=sys.stderr)
    if undocumented or same < 0.995 * rest:
        sys.exit(1)


main()
