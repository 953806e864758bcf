#!/usr/bin/env bash
# A chat whose stream ended in the provider's error is a span with status OK.
#
# OpenAI and compatible hosts report a failure after the first bytes as an `error` event in the stream. The SDK raises it to the program;
# the span of OpenLLMetry says OK and has no exception. OpenInference says ERROR.
#
# opentelemetry-instrumentation-openai 0.62.4, openinference-instrumentation-openai 0.1.66, openai 3.57.0 (PyPI). Output seen:
#   openllmetry:   the program got APIError, the span says OK, exceptions 0
#   openinference: the program got APIError, the span says ERROR, exceptions 1
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0 opentelemetry-sdk==1.45.2 \
  opentelemetry-instrumentation-openai==0.62.4 openinference-instrumentation-openai==0.1.66
cat >"$dir/run.py" <<'PY'
import http.server, json, sys, threading, openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if sys.argv[1] == "openllmetry":
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor
else:
    from openinference.instrumentation.openai import OpenAIInstrumentor

chunks = [{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5", "choices": [
              {"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]},
          {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}]

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write("".join(f"data: {json.dumps(c)}\n\n" for c in chunks).encode())
    def log_message(self, *_):
        pass

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
OpenAIInstrumentor().instrument(tracer_provider=provider)
api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{api.server_port}")
try:
    for _ in client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "?"}], stream=True):
        pass
    got = "nothing"
except openai.APIError as error:
    got = type(error).__name__
[span] = spans.get_finished_spans()
said, raised = span.status.status_code.name, sum(event.name == "exception" for event in span.events)
print(f"{sys.argv[1] + ':':14} the program got {got}, the span says {said}, exceptions {raised}")
assert (got, said, raised) == ("APIError", *(("OK", 0) if sys.argv[1] == "openllmetry" else ("ERROR", 1))), "behaviour has changed"
PY
"$dir/v/bin/python" "$dir/run.py" openllmetry
"$dir/v/bin/python" "$dir/run.py" openinference
