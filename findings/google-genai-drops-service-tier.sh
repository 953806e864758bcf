#!/usr/bin/env bash
# Google's SDK drops what it does not know of a response, among it the service tier that decides the price.
#
# The Gemini API states `serviceTier` inside `usageMetadata`. The SDK's type has no such field and discards it without a word, so
# neither the object nor its JSON dump can tell which price applied. openai keeps unknown fields of its responses.
#
# google-genai 3.6.1, openai 3.57.0 (PyPI). Output seen:
#   google-genai: ['candidates_token_count', 'prompt_token_count', 'total_token_count']
#   openai:       ['brand_new', 'completion_tokens', 'prompt_tokens', 'total_tokens']
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check google-genai==3.6.1 openai==3.57.0
"$dir/v/bin/python" - <<'PY'
import http.server, json, threading, openai
from google import genai

gemini = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
          "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4, "serviceTier": "flex"},
          "modelVersion": "gemini-2.5-flash"}
chat = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "brand_new": 1}}

class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(chat if self.path.endswith("/completions") else gemini).encode())
    def log_message(self, *_):
        pass

api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=api.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{api.server_port}"
client = genai.Client(api_key="none", http_options={"base_url": url})
one = client.models.generate_content(model="gemini-2.5-flash", contents="?")
two = openai.OpenAI(api_key="none", base_url=url).chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
kept = sorted(one.usage_metadata.model_dump(exclude_none=True))
print("google-genai:", kept)
print("openai:      ", sorted(two.usage.to_dict()))
assert kept == ["candidates_token_count", "prompt_token_count", "total_token_count"], "behaviour has changed"
assert "flex" not in one.model_dump_json(exclude={"sdk_http_response"}) and "brand_new" in two.usage.to_dict(), "behaviour has changed"
PY
