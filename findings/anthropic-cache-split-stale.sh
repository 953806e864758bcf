#!/usr/bin/env bash
# After a stream with a server tool, Anthropic's SDKs report cache writes whose 5 min / 1 h split says none were made.
#
# `message_delta` brings the final counts: when a server tool (web search) ran, more was read and written to the cache than
# `message_start` knew. Both SDKs take over the total `cache_creation_input_tokens`, but leave `cache_creation`, the split
# by lifetime, as it was at the start. Lifetimes have different prices, so the two give different costs.
#
# anthropic 2.14.0 (PyPI) and @anthropic-ai/sdk 1.14.0 (npm). Output seen:
#   python: written 12032, split 0 + 0
#   node:   written 12032, split 0 + 0
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check anthropic==2.14.0
npm install --silent --no-audit --no-fund --prefix "$dir" @anthropic-ai/sdk@1.14.0 >/dev/null

cat >"$dir/run.py" <<'PY'
import http.server, json, os, subprocess, threading, anthropic

events = [
    {"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 2285, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                  "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                  "output_tokens": 25, "service_tier": "standard"}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
     "usage": {"input_tokens": 2292, "cache_creation_input_tokens": 12032, "cache_read_input_tokens": 0,
               "output_tokens": 150, "server_tool_use": {"web_search_requests": 1}}},
    {"type": "message_stop"},
]
body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{api.server_port}"
client = anthropic.Anthropic(api_key="none", base_url=url)
with client.messages.stream(model="claude-opus-4-6", max_tokens=9, messages=[{"role": "user", "content": "?"}]) as stream:
    py = stream.get_final_message().usage.to_dict()
node = json.loads(subprocess.check_output(["node", "run.mjs"], env={**os.environ, "URL": url}, cwd=os.path.dirname(__file__)))
for name, used in (("python:", py), ("node:  ", node)):
    split = used["cache_creation"]
    print(name, f"written {used['cache_creation_input_tokens']}, split {split['ephemeral_5m_input_tokens']} + {split['ephemeral_1h_input_tokens']}")
    assert used["cache_creation_input_tokens"] == 12032 and not any(split.values()), "behaviour has changed"
PY
cat >"$dir/run.mjs" <<'JS'
import Anthropic from '@anthropic-ai/sdk';
const client = new Anthropic({ apiKey: 'none', baseURL: process.env.URL });
const stream = client.messages.stream({ model: 'claude-opus-4-6', max_tokens: 9, messages: [{ role: 'user', content: '?' }] });
console.log(JSON.stringify((await stream.finalMessage()).usage));
JS
"$dir/v/bin/python" "$dir/run.py"
