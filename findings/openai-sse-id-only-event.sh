#!/usr/bin/env bash
# An event without data ends a stream in OpenAI's Python SDK, where the standard says to skip it.
#
# A server that marks its place for reconnection may send a lone "id: 1" block; by the server-sent events standard an event with empty
# data is not dispatched. The Python SDK parses the empty text as JSON and raises; the JavaScript SDK and Anthropic's and Mistral's
# Python SDKs read on.
#
# openai 3.57.0, anthropic 2.14.0, mistralai 3.7.0 (PyPI); openai 6.49.0 (npm). Output seen:
#   python openai:    JSONDecodeError
#   python anthropic: Hello
#   python mistralai: Hello
#   node openai:      Hello
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0 anthropic==2.14.0 mistralai==3.7.0
npm install --silent --no-audit --no-fund --prefix "$dir" openai@6.49.0 >/dev/null

cat >"$dir/run.py" <<'PY'
import http.server, json, os, subprocess, threading, anthropic, openai
from mistralai.client import Mistral

chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
    {"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
events = [
    {"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        if self.path.endswith("/messages"):
            body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"id: 1\n\n" + body.encode())
    def log_message(self, *_):
        pass

api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{api.server_port}"
ask = [{"role": "user", "content": "?"}]

def by_openai():
    with openai.OpenAI(api_key="none", base_url=url).chat.completions.stream(model="m", messages=ask) as stream:
        return stream.get_final_completion().choices[0].message.content

def by_anthropic():
    with anthropic.Anthropic(api_key="none", base_url=url).messages.stream(model="claude-opus-4-6", max_tokens=9, messages=ask) as stream:
        return stream.get_final_message().content[0].text

def by_mistral():
    return "".join(e.data.choices[0].delta.content for e in Mistral(api_key="none", server_url=url).chat.stream(model="m", messages=ask))

seen = []
for name, read in (("openai:   ", by_openai), ("anthropic:", by_anthropic), ("mistralai:", by_mistral)):
    try:
        seen.append(read())
    except Exception as error:
        seen.append(type(error).__name__)
    print("python", name, seen[-1])
seen.append(subprocess.check_output(["node", "run.mjs"], env={**os.environ, "URL": url}, cwd=os.path.dirname(__file__), text=True).strip())
print("node openai:     ", seen[-1])
assert seen == ["JSONDecodeError", "Hello", "Hello", "Hello"], "behaviour has changed"
PY
cat >"$dir/run.mjs" <<'JS'
import OpenAI from 'openai';
const client = new OpenAI({ apiKey: 'none', baseURL: process.env.URL });
const stream = client.chat.completions.stream({ model: 'm', messages: [{ role: 'user', content: '?' }] });
console.log((await stream.finalChatCompletion()).choices[0].message.content);
JS
"$dir/v/bin/python" "$dir/run.py"
