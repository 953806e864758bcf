"""Kinds of difference between our costs and those of LiteLLM's calculator. docs/prices.md says who is right of each."""

import pathlib

from usages import TOKENS

SAME = "equal"
NO_KIND = "no kind"
DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/prices.md"
# Calculators that are not told the tier of service.
WITHOUT_TIERS = {"fireworks_ai", "xai", "deepseek", "tencent", "perplexity", "dashscope", "qwencloud", "qwen_ai_platform"}
TIERS = {"flex", "priority", "balanced", "ultrafast"}


def of(name, key, entry, told, cost, source, unpriced):
    is_known = not isinstance(told, str)
    if is_known and cost is not None and abs(told * 1e6 - cost) <= 1.0:
        return SAME
    if not is_known and cost is None:
        return SAME
    more = TOKENS[name][2] if name in TOKENS else {}
    provider = entry["litellm_provider"]
    is_marked = bool(unpriced) and source == "incomplete"
    if "github_copilot" in key and not is_known:
        return "asks the network"
    if not is_known and cost is not None:
        return "raises"
    if cost is None:
        return "zero without a price"
    if provider == "perplexity" and entry.get("input_cost_per_request"):
        return "price of a request"
    if key.startswith("perplexity/perplexity/"):
        return "provider twice in the name"
    if more.get("tier") == "batch":
        if is_marked:
            return "batch without a price"
        if entry.get("output_cost_per_token") is None and entry.get("output_cost_per_image_token"):
            return "images in a batch"
    is_tier_priced = not any(what.startswith("tier ") for what in unpriced)
    if more.get("tier") in TIERS and provider in WITHOUT_TIERS and is_tier_priced:
        return "tier not passed on"
    if "maps" in more and "google_maps" in unpriced:
        return "maps without a price"
    if "web_search" in more and "web_search" in unpriced:
        return "search without a price"
    if provider == "perplexity":
        return "Perplexity by flat rates"
    if provider == "parallel_ai":
        return "searches of Parallel"
    return NO_KIND


def undocumented(kinds):
    text = DOCUMENT.read_text()
    return sorted(kind for kind in kinds - {SAME, NO_KIND} if f"| {kind} |" not in text)
