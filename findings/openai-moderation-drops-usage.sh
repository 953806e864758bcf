#!/usr/bin/env bash
# Asking OpenAI for moderation inside a streamed chat makes the SDKs forget what the call used.
#
# With `moderation` in the request and `include_usage`, the API sends a chunk with the verdict AFTER the chunk with the
# usage; like every other chunk it says "usage": null. The stream helpers keep the usage of the LAST chunk that has the
# key, so null wins.
#
# openai 3.57.0 (PyPI) and openai 6.49.0 (npm). Output seen:
#   python without moderation: usage 24 tokens; with: None
#   node   without moderation: usage 24 tokens; with: null
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check openai==3.57.0
npm install --silent --no-audit --no-fund --prefix "$dir" openai@6.49.0 >/dev/null

cat >"$dir/run.py" <<'PY'
import http.server, json, os, subprocess, threading, openai

def chunk(**fields):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5",
            "choices": [], "usage": None, **fields}

def choice(delta, finish=None):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

usage = {"prompt_tokens": 13, "completion_tokens": 11, "total_tokens": 24}
plain = [chunk(**choice({"role": "assistant", "content": "Paris."})), chunk(**choice({}, "stop")), chunk(usage=usage)]
verdict = chunk(moderation={"input": {"type": "moderation_results", "model": "omni-moderation-latest", "results": []},
                            "output": {"type": "moderation_results", "model": "omni-moderation-latest", "results": []}})

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        chunks = plain + [verdict] if "moderation" in asked else plain
        body = "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass

api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{api.server_port}"
client = openai.OpenAI(api_key="none", base_url=url)

def python(**more):
    with client.chat.completions.stream(model="gpt-5", messages=[{"role": "user", "content": "?"}],
                                        stream_options={"include_usage": True}, extra_body=more) as stream:
        used = stream.get_final_completion().usage
    return used and used.total_tokens

moderation = {"moderation": {"model": "omni-moderation-latest"}}
py = python(), python(**moderation)
node = json.loads(subprocess.check_output(["node", "run.mjs"], env={**os.environ, "URL": url}, cwd=os.path.dirname(__file__)))
print(f"python without moderation: usage {py[0]} tokens; with: {py[1]}")
print(f"node   without moderation: usage {node[0]} tokens; with: {json.dumps(node[1])}")
assert py == (24, None) and node == [24, None], "behaviour has changed"
PY
cat >"$dir/run.mjs" <<'JS'
import OpenAI from 'openai';
const client = new OpenAI({ apiKey: 'none', baseURL: process.env.URL });
const seen = [];
for (const more of [{}, { moderation: { model: 'omni-moderation-latest' } }]) {
  const stream = client.chat.completions.stream({
    model: 'gpt-5', messages: [{ role: 'user', content: '?' }], stream_options: { include_usage: true }, ...more });
  seen.push((await stream.finalChatCompletion()).usage?.total_tokens ?? null);
}
console.log(JSON.stringify(seen));
JS
"$dir/v/bin/python" "$dir/run.py"
