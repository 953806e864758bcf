#!/usr/bin/env bash
# What OpenLLMetry records of the same OpenAI usage depends on how the program happened to call the SDK.
#
# One answer, one usage, three ways: whole, streamed, and streamed through `with_raw_response` (as frameworks call it that want
# the headers). Reasoning tokens and the service tier are recorded only of the first; of the last no tokens at all.
#
# opentelemetry-instrumentation-openai 0.62.4, openai 3.57.0 (PyPI). Output seen:
#   whole:        in 1000, out 500, reasoning 400, tier flex
#   streamed:     in 1000, out 500, reasoning None, tier None
#   raw streamed: in None, out None, reasoning None, tier None
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0 opentelemetry-sdk==1.45.2 \
  opentelemetry-instrumentation-openai==0.62.4
"$dir/v/bin/python" - <<'PY'
import http.server, json, threading, openai
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
         "completion_tokens_details": {"reasoning_tokens": 400}}
base = {"id": "chatcmpl-1", "created": 1, "model": "gpt-5", "service_tier": "flex"}
whole = {**base, "object": "chat.completion", "usage": usage, "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}]}
piece = {**base, "object": "chat.completion.chunk", "usage": None}
chunks = [{**piece, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]},
          {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {**piece, "choices": [], "usage": usage}]

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body, kind = json.dumps(whole), "application/json"
        if asked.get("stream"):
            body = "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n"
            kind = "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
OpenAIInstrumentor().instrument(tracer_provider=provider)
api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
chat = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{api.server_port}").chat.completions
ask = {"model": "gpt-5", "messages": [{"role": "user", "content": "?"}]}
streamed = {**ask, "stream": True, "stream_options": {"include_usage": True}}
seen = []
for name, call in (("whole", lambda: chat.create(**ask)), ("streamed", lambda: list(chat.create(**streamed))),
                   ("raw streamed", lambda: list(chat.with_raw_response.create(**streamed).parse()))):
    call()
    [span] = spans.get_finished_spans()
    spans.clear()
    seen.append([span.attributes.get(key) for key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
                                                      "gen_ai.usage.reasoning_tokens", "openai.response.service_tier")])
    print(f"{name + ':':13} in {seen[-1][0]}, out {seen[-1][1]}, reasoning {seen[-1][2]}, tier {seen[-1][3]}")
assert seen == [[1000, 500, 400, "flex"], [1000, 500, None, None], [None] * 4], "behaviour has changed"
PY
