"""Writes src/pricing/built_in.json.zst: prices of first-party models from a pinned LiteLLM list.

    tests/prices/make_built_in.py LIST --date 2026-11-28

Kept are entries of the providers below that can be billed by what a response says, and of them only the fields that
price something. An entry that equals another one but for its name is kept as an alias of it.
"""

import argparse
import json
import pathlib
import re
import subprocess

PROVIDERS = {
    "openai", "text-completion-openai", "anthropic", "gemini", "mistral", "codestral", "cohere", "cohere_chat", "xai",
    "deepseek", "moonshot",
}
MODES = {"chat", "responses", "completion", "embedding", "rerank", "moderation", "realtime", "audio_transcription",
         "ocr", "image_generation"}
PRICED = re.compile(
    r"^(cache_creation_input_token_cost|cache_read_input_(audio_|image_)?token_cost|citation_cost_per_token"
    r"|input_cost_per_(audio_|image_|video_)?token|output_cost_per_(audio_|image_|video_|reasoning_)?token)"
    r"(_above_1hr|_above_12hr)?(_above_\d+k?_tokens)?(_batches|_flex|_priority|_balanced|_ultrafast)?$"
    r"|^(off_peak_pricing|search_context_cost_per_query|web_search_billing_unit|google_maps_grounding_cost_per_query"
    r"|code_interpreter_cost_per_session|input_cost_per_query|output_cost_per_image|input_cost_per_second"
    r"|output_cost_per_second|ocr_cost_per_page|ocr_cost_per_page_batches"
    r"|regional_processing_uplift_multiplier_(eu|us)|tiered_pricing)$"
)
BY_MODE = {"output_cost_per_second", "input_cost_per_second"}


def priced(entry):
    """The fields of an entry that price something."""
    kept = {}
    for field, value in entry.items():
        if not PRICED.match(field) or value is None:
            continue
        if field == "search_context_cost_per_query":
            # One size is enough where all cost the same.
            sizes = set(value.values())
            value = {"search_context_size_medium": sizes.pop()} if len(sizes) == 1 else value
        kept[field] = value
    factors = {
        name: factor
        for name, factor in (entry.get("provider_specific_entry") or {}).items()
        if name in ("us", "fast")
    }
    if factors:
        kept["provider_specific_entry"] = factors
    for field in ("cache_creation_input_token_cost", "cache_read_input_token_cost"):
        # Cached input costs what input does where nothing else is said.
        if kept.get(field) is not None and kept[field] == kept.get("input_cost_per_token"):
            del kept[field]
    if kept.get("output_cost_per_reasoning_token") == kept.get("output_cost_per_token"):
        kept.pop("output_cost_per_reasoning_token", None)
    if BY_MODE & kept.keys():
        kept["mode"] = entry.get("mode")
    return kept


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("list", type=pathlib.Path)
    arguments.add_argument("--date", required=True, help="the day of the list, such as 2026-11-28")
    arguments = arguments.parse_args()
    entries = json.loads(arguments.list.read_text())
    book, seen = {}, {}
    for key, entry in sorted(entries.items()):
        provider = entry.get("litellm_provider")
        if provider not in PROVIDERS or entry.get("mode") not in MODES:
            continue
        kept = priced(entry)
        if not any("cost" in field for field in kept):
            continue
        kept = {"litellm_provider": provider, **kept}
        text = json.dumps(kept, sort_keys=True)
        if text in seen:
            book[key] = {"alias_of": seen[text]}
        else:
            seen[text] = key
            book[key] = kept
    for key, entry in entries.items():
        target = entry.get("alias_of")
        if target in book:
            book[key] = {"alias_of": target}
    lines = [f"{json.dumps(key)}:{json.dumps(entry, separators=(',', ':'))}" for key, entry in sorted(book.items())]
    root = pathlib.Path(__file__).resolve().parents[2]
    path = root / "src/pricing/built_in.json.zst"
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    packed = subprocess.run(["zstd", "-19", "-q", "-c"], input=text.encode(), capture_output=True, check=True).stdout
    path.write_bytes(packed)
    (root / "src/pricing/built_in.date").write_text(arguments.date)
    print(f"{path}: {len(book)} prices, {len(text):,} bytes, packed {len(packed):,}")


main()
