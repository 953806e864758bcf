#!/usr/bin/env bash
# A streamed OpenAI response that hit its token limit has no final response in the SDK, so no usage.
#
# The stream of the Responses API ends with `response.incomplete` (reason max_output_tokens), carrying the whole response and
# its usage. `get_final_response()` knows `response.completed` only and raises RuntimeError. Without streaming, the same response
# is returned like any other, with status "incomplete" and its usage.
#
# openai 3.57.0 (PyPI). Output seen:
#   streamed: RuntimeError: Didn't receive a `response.completed` event.
#   not streamed: incomplete, 4108 tokens
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0
"$dir/v/bin/python" - <<'PY'
import http.server, json, threading, openai

begun = {"id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "gpt-5", "output": [],
         "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None}
ended = {**begun, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
         "usage": {"input_tokens": 12, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 4096,
                   "output_tokens_details": {"reasoning_tokens": 4096}, "total_tokens": 4108}}
events = [{"type": "response.created", "sequence_number": 0, "response": begun},
          {"type": "response.incomplete", "sequence_number": 1, "response": ended}]

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body, kind = json.dumps(ended), "application/json"
        if asked.get("stream"):
            body, kind = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events), "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass

api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{api.server_port}")
with client.responses.stream(model="gpt-5", input="?", max_output_tokens=4096) as stream:
    try:
        streamed = stream.get_final_response().usage.total_tokens
    except RuntimeError as error:
        streamed = f"RuntimeError: {error}"
whole = client.responses.create(model="gpt-5", input="?", max_output_tokens=4096)
print("streamed:", streamed)
print(f"not streamed: {whole.status}, {whole.usage.total_tokens} tokens")
assert str(streamed).startswith("RuntimeError") and whole.usage.total_tokens == 4108, "behaviour has changed"
PY
