"""Writes an export whose rare fields are null in so many lines that every reader that guesses has guessed by then.

DuckDB looks at 20,480 lines. The last lines have every field, with values that a guess spoils: whole numbers that no
fraction holds, a user named NA, an id of digits, texts that look like times and truths.
"""

import json
import pathlib
import sys

COMMON = 20_600
plain = {
    "opened_seq": 0, "ended_seq": 1, "request_id": "", "status": "completed", "opened_at": 1_764_000_000_000_000,
    "wire_protocol": "custom", "is_streaming": False, "attributes": {}, "finish_reasons": [], "tool_call_count": 0,
    "request_bytes": 0, "adjusted_fields": [], "body_flags": [], "is_erased": False, "is_id_shared": False,
    "tool_calls": [], "request": None, "response": None,
}
big = 2**53 + 1
rare = plain | {
    "status": "failed", "latency_us": 12_345, "upstream_latency_us": 12_000, "time_to_first_chunk_us": 900,
    "user_id": "NA", "session_id": "00012", "context_id": "null", "conversation_id": "2026-11-01", "trace_id": "true",
    "actor_type": "job", "actor_id": "1e5", "operation_name": "chat", "url_path": "/v1/x", "provider_name": "None",
    "response_provider_name": "nan", "client_model": "a", "request_model": "b", "response_model": "3.0",
    "is_streaming": True, "max_tokens": 4096, "temperature": 0.1, "top_p": 0.95, "attributes": {"team": "x\"y", "n": "1"},
    "input_tokens": 1200, "output_tokens": 80, "cache_read_input_tokens": 7, "cache_write_input_tokens": 8,
    "reasoning_output_tokens": 9, "usage_source": "partial", "cost_microdollars": big, "cost_source": "stated",
    "usage_details": {"input": {"text_tokens": 1100, "image_tokens": 100}, "service_tier": "flex"},
    "finish_reasons": ["stop", "length"],
    "response_id": "0123", "http_status": 500, "error_type": "timeout", "error_message": "it said:\n\"no\"; =1+1",
    "tool_calls": [{"tool_call_id": "0", "tool_name": "weather", "input": "{\"at\":1}"}],
    "request": {"length": 4, "text": "true"}, "response": {"length": 2, "base64": "//8="},
}

with open(pathlib.Path(sys.argv[1]), "w", encoding="utf-8") as out:
    for at in range(COMMON + 2):
        line = (plain if at < COMMON else rare) | {"request_id": f"r-{at}", "opened_seq": 2 * at, "ended_seq": 2 * at + 1}
        line["opened_at"] += at * 1_000_000
        out.write(json.dumps(line) + "\n")
