#!/usr/bin/env bash
# A tool call's id grows with every chunk in one OpenAI SDK, and not in the other.
#
# Some compatible hosts (seen at Baseten) repeat `id` and `type` in every chunk of a streamed tool call. The Python helper appends
# every string but `type`, so the id comes out repeated and matches no tool result. The JavaScript helper takes the latest value.
#
# openai 3.57.0 (PyPI) and openai 6.49.0 (npm). Output seen:
#   python: id call_1call_1call_1
#   node:   id call_1
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0
npm install --silent --no-audit --no-fund --prefix "$dir" openai@6.49.0 >/dev/null

cat >"$dir/run.py" <<'PY'
import http.server, json, os, subprocess, threading, openai

def chunk(delta, finish=None):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

def part(**function):
    return chunk({"role": "assistant", "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})

chunks = [part(name="look_up", arguments=""), part(arguments='{"city":'), part(arguments='"Paris"}'), chunk({}, "tool_calls")]
body = ("".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n").encode()

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
client = openai.OpenAI(api_key="none", base_url=url)
with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "?"}]) as stream:
    py = stream.get_final_completion().to_dict()["choices"][0]["message"]
node = json.loads(subprocess.check_output(["node", "run.mjs"], env={**os.environ, "URL": url}, cwd=os.path.dirname(__file__)))
seen = []
for name, message in (("python:", py), ("node:  ", node)):
    [call] = message["tool_calls"]
    assert call["function"]["name"] == "look_up" and json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    seen.append(call["id"])
    print(name, "id", call["id"])
assert seen == ["call_1call_1call_1", "call_1"], "behaviour has changed"
PY
cat >"$dir/run.mjs" <<'JS'
import OpenAI from 'openai';
const client = new OpenAI({ apiKey: 'none', baseURL: process.env.URL });
const stream = client.chat.completions.stream({ model: 'm', messages: [{ role: 'user', content: '?' }] });
console.log(JSON.stringify((await stream.finalChatCompletion()).choices[0].message));
JS
"$dir/v/bin/python" "$dir/run.py"
