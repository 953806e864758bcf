"""Usages that every model is priced with: each kind of token, tier, fee, factor and hour, alone and together."""

SUNDAY = "2026-11-22T12:00:00Z"
MONDAY_PEAK = "2026-11-23T02:30:00Z"

# name: (input, output, more). `more`: `read`, `write`, `reasoning`; `write_5m` and so on; `in_audio`, `cached_audio`,
# `out_audio` and so on; `tier`, `speed`, `geo`, `residency`, `web_search`, `maps`, `at`.
TOKENS = {
    "plain": (1_000, 500, {}),
    "no output": (12_345, 0, {}),
    "one token": (1, 1, {}),
    "100k": (120_000, 2_000, {}),
    "at 128k": (128_000, 10, {}),
    "200k": (250_001, 3_000, {}),
    "272k": (300_000, 3_000, {}),
    "cache read": (20_000, 700, {"read": 12_000}),
    "cache read, 272k": (300_000, 700, {"read": 250_000}),
    "cache write": (20_000, 700, {"write": 9_000}),
    "cache write, 5 min": (20_000, 700, {"write": 9_000, "write_5m": 9_000}),
    "cache write, 1 h": (20_000, 700, {"write": 9_000, "write_1h": 9_000}),
    "cache write, 1 h and 5 min, 272k": (300_000, 700, {"write": 90_000, "write_1h": 50_000, "write_5m": 40_000}),
    "cache write, 12 h": (20_000, 700, {"write": 9_000, "write_12h": 9_000}),
    "cache write, 12 h and 30 min, 272k": (300_000, 700, {"write": 90_000, "write_12h": 50_000, "write_30m": 30_000}),
    "cache read and write": (20_000, 700, {"read": 8_000, "write": 9_000}),
    "reasoning": (5_000, 4_000, {"reasoning": 3_000}),
    "flex": (20_000, 1_000, {"tier": "flex"}),
    "flex, cache, reasoning, 272k": (300_000, 4_000, {"tier": "flex", "read": 200_000, "reasoning": 3_000}),
    "priority": (20_000, 1_000, {"tier": "priority"}),
    "priority, cache, reasoning, 272k": (300_000, 4_000, {"tier": "priority", "read": 200_000, "reasoning": 3_000}),
    "priority, 12 h": (20_000, 1_000, {"tier": "priority", "write": 9_000, "write_12h": 9_000}),
    "balanced": (20_000, 1_000, {"tier": "balanced", "read": 5_000}),
    "ultrafast": (300_000, 1_000, {"tier": "ultrafast", "read": 5_000}),
    "batch": (20_000, 1_000, {"tier": "batch"}),
    "batch, cache, 272k": (300_000, 1_000, {"tier": "batch", "read": 100_000, "write": 50_000}),
    "audio in": (5_000, 500, {"in_audio": 3_000}),
    "audio in, 200k": (250_000, 500, {"in_audio": 200_000}),
    "audio in, cached": (5_000, 500, {"in_audio": 3_000, "read": 2_000, "cached_audio": 2_000}),
    "audio in, priority": (5_000, 500, {"in_audio": 3_000, "tier": "priority"}),
    "image in": (5_000, 500, {"in_image": 3_000}),
    "image in, cached": (5_000, 500, {"in_image": 3_000, "read": 2_000, "cached_image": 2_000}),
    "video in": (50_000, 500, {"in_video": 40_000}),
    "audio out": (500, 5_000, {"out_audio": 4_000}),
    "image out": (500, 5_000, {"out_image": 4_000}),
    "image out, priority": (500, 5_000, {"out_image": 4_000, "tier": "priority"}),
    "video out": (500, 5_000, {"out_video": 4_000}),
    "image out and reasoning": (500, 6_000, {"out_image": 4_000, "reasoning": 1_000}),
    "web search": (5_000, 500, {"web_search": 3}),
    "maps": (5_000, 500, {"maps": 2}),
    "inference in the US": (5_000, 500, {"geo": "us", "read": 1_000}),
    "fast": (5_000, 500, {"speed": "fast", "read": 1_000}),
    "fast in the US": (5_000, 500, {"speed": "fast", "geo": "us"}),
    "data in the EU": (5_000, 500, {"residency": "eu", "read": 1_000}),
    "FedRAMP": (5_000, 500, {"residency": "fedramp", "read": 1_000}),
    "Sunday": (50_000, 500, {"at": SUNDAY, "read": 10_000, "reasoning": 100}),
    "Monday, peak": (50_000, 500, {"at": MONDAY_PEAK, "read": 10_000, "reasoning": 100}),
    "citations": (5_000, 500, {"citations": 7_000}),
}

# By what is not a token: for entries with a price of it.
UNITS = {
    "images": {"images": 3},
    "audio seconds": {"audio_ms": 90_000},
    "characters": {"characters": 4_000},
    "pages": {"pages": 7},
    "queries": {"queries": 2},
    "video seconds": {"video_ms": 8_000},
}


def line(name, model, provider, request_id):
    """What `record` takes."""
    made = {
        "request_id": request_id,
        "request_body": "{}",
        "status": 200,
        "model": model,
        "provider_name": provider,
        "started_at": MONDAY_PEAK,
    }
    if name in UNITS:
        return {**made, "usage_details": {"billed_units": [{"unit": unit, "count": count} for unit, count in UNITS[name].items()]}}
    tokens_in, tokens_out, more = TOKENS[name]
    made["started_at"] = more.get("at", MONDAY_PEAK)
    made["usage"] = {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cache_read_input_tokens": more.get("read", 0),
        "cache_write_input_tokens": more.get("write", 0),
        "reasoning_output_tokens": more.get("reasoning", 0),
    }
    details = {
        "service_tier": more.get("tier"),
        "speed": more.get("speed"),
        "region": more.get("geo") or more.get("residency"),
        "citation_tokens": more.get("citations"),
        "cache_write": {f"{age}_tokens": more.get(f"write_{age}") for age in ("5m", "30m", "1h", "12h")},
        "input": {f"{kind}_tokens": more.get(f"in_{kind}") for kind in ("audio", "image", "video")},
        "cache_read": {f"{kind}_tokens": more.get(f"cached_{kind}") for kind in ("audio", "image")},
        "output": {f"{kind}_tokens": more.get(f"out_{kind}") for kind in ("audio", "image", "video")},
        "server_tools": [
            {"tool_name": tool, "request_count": more[key]}
            for key, tool in (("web_search", "web_search"), ("maps", "google_maps"))
            if key in more
        ],
    }
    made["usage_details"] = {
        name: {key: count for key, count in value.items() if count} if isinstance(value, dict) else value
        for name, value in details.items()
        if value
    }
    return made
