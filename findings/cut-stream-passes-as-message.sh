#!/usr/bin/env bash
# A stream that broke off in the middle is a finished message to the Python SDKs and an error to the JavaScript ones.
#
# The connection closes in order, but the answer does not end: no finish reason, no `[DONE]`, no `message_stop`. The stream
# helpers for Python return the part as final message, Anthropic's with the output count of the beginning (1 token); those for
# JavaScript reject.
#
# openai 3.57.0, anthropic 2.14.0 (PyPI); openai 6.49.0, @anthropic-ai/sdk 1.14.0 (npm). Output seen:
#   python openai:    'The answer is', finish None
#   python anthropic: 'The answer is', stop None, 1 output token
#   node openai:      missing finish_reason for choice 0
#   node anthropic:   stream ended without producing a Message with role=assistant
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0 anthropic==2.14.0
npm install --silent --no-audit --no-fund --prefix "$dir" openai@6.49.0 @anthropic-ai/sdk@1.14.0 >/dev/null

cat >"$dir/run.py" <<'PY'
import http.server, json, os, subprocess, threading, anthropic, openai

chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
    {"index": 0, "delta": {"role": "assistant", "content": "The answer is"}, "finish_reason": None}]}
events = [
    {"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "The answer is"}},
]

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = f"data: {json.dumps(chunk)}\n\n"
        if self.path.endswith("/messages"):
            body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass

api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{api.server_port}"
ask = [{"role": "user", "content": "?"}]
with openai.OpenAI(api_key="none", base_url=url).chat.completions.stream(model="m", messages=ask) as stream:
    one = stream.get_final_completion().choices[0]
with anthropic.Anthropic(api_key="none", base_url=url).messages.stream(model="claude-opus-4-6", max_tokens=9, messages=ask) as stream:
    two = stream.get_final_message()
print(f"python openai:    {one.message.content!r}, finish {one.finish_reason}")
print(f"python anthropic: {two.content[0].text!r}, stop {two.stop_reason}, {two.usage.output_tokens} output token")
assert (one.message.content, one.finish_reason) == ("The answer is", None), "behaviour has changed"
assert (two.content[0].text, two.stop_reason, two.usage.output_tokens) == ("The answer is", None, 1), "behaviour has changed"
subprocess.run(["node", "run.mjs"], env={**os.environ, "URL": url}, cwd=os.path.dirname(__file__), check=True)
PY
cat >"$dir/run.mjs" <<'JS'
import OpenAI from 'openai';
import Anthropic from '@anthropic-ai/sdk';
const how = { apiKey: 'none', baseURL: process.env.URL }, messages = [{ role: 'user', content: '?' }];
const expectError = async (name, final) => {
  const seen = await final.then(() => 'accepted', error => error.message);
  console.log(name, seen);
  if (seen === 'accepted') { console.error('behaviour has changed'); process.exitCode = 1; }
};
await expectError('node openai:     ', new OpenAI(how).chat.completions.stream({ model: 'm', messages }).finalChatCompletion());
await expectError('node anthropic:  ', new Anthropic(how).messages.stream({ model: 'claude-opus-4-6', max_tokens: 9, messages }).finalMessage());
JS
"$dir/v/bin/python" "$dir/run.py"
