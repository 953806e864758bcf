#!/usr/bin/env bash
# OpenLLMetry adds up Anthropic's running counts: more output tokens than were made, and the input of the beginning.
#
# Anthropic's `message_delta` says how much it is so far, not how much came on top. The instrumentation adds its output count to the one of
# `message_start`, and ignores the corrected input and cache counts that follow a server tool. OpenInference reads both right.
#
# opentelemetry-instrumentation-anthropic 0.62.4, openinference-instrumentation-anthropic 3.1.0, anthropic 2.14.0 (PyPI).
# The provider says: in 2292 + 12032 written to the cache, out 150. Output seen:
#   openllmetry:   in 2285, out 175
#   openinference: in 14324, out 150
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check anthropic==2.14.0 opentelemetry-sdk==1.45.2 \
  opentelemetry-instrumentation-anthropic==0.62.4 openinference-instrumentation-anthropic==3.1.0
cat >"$dir/run.py" <<'PY'
import http.server, json, sys, threading, anthropic
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if sys.argv[1] == "openllmetry":
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    keys = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
else:
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    keys = "llm.token_count.prompt", "llm.token_count.completion"

events = [
    {"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 2285, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 25}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"input_tokens": 2292, "cache_creation_input_tokens": 12032, "cache_read_input_tokens": 0, "output_tokens": 150}},
    {"type": "message_stop"},
]

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write("".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode())
    def log_message(self, *_):
        pass

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
AnthropicInstrumentor().instrument(tracer_provider=provider)
api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
client = anthropic.Anthropic(api_key="none", base_url=f"http://127.0.0.1:{api.server_port}")
for _ in client.messages.create(model="claude-opus-4-6", max_tokens=9, messages=[{"role": "user", "content": "?"}], stream=True):
    pass
[span] = spans.get_finished_spans()
counts = [span.attributes[key] for key in keys]
print(f"{sys.argv[1] + ':':14} in {counts[0]}, out {counts[1]}")
assert counts == ([2285, 175] if sys.argv[1] == "openllmetry" else [14324, 150]), "behaviour has changed"
PY
"$dir/v/bin/python" "$dir/run.py" openllmetry
"$dir/v/bin/python" "$dir/run.py" openinference
