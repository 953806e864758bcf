#!/usr/bin/env bash
# Google's SDK reads server-sent events only in the exact form its own servers write: a heartbeat comment ends the stream.
#
# A comment line (": keep-alive", what proxies and gateways send against idle timeouts), an `event:` or `id:` line, and "data:"
# without the blank that follows are all valid server-sent events. Each is taken for a broken JSON answer and raises.
#
# google-genai 3.6.1 (PyPI). Output seen:
#   as Google writes it: ['Hello']
#   comment before:      UnknownApiResponseError
#   event line:          UnknownApiResponseError
#   id line:             UnknownApiResponseError
#   no blank:            UnknownApiResponseError
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check google-genai==3.6.1
"$dir/v/bin/python" - <<'PY'
import http.server, json, threading
from google import genai

answer = json.dumps({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
                     "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}})
forms = {"as Google writes it": f"data: {answer}\r\n\r\n", "comment before": f": keep-alive\r\n\r\ndata: {answer}\r\n\r\n",
         "event line": f"event: message\r\ndata: {answer}\r\n\r\n", "id line": f"id: 1\r\ndata: {answer}\r\n\r\n",
         "no blank": f"data:{answer}\r\n\r\n"}
body = b""

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
client = genai.Client(api_key="none", http_options={"base_url": f"http://127.0.0.1:{api.server_port}"})
seen = {}
for name, text in forms.items():
    body = text.encode()
    try:
        seen[name] = [part.text for part in client.models.generate_content_stream(model="gemini-2.5-flash", contents="?")]
    except Exception as error:
        seen[name] = type(error).__name__
    print(f"{name + ':':20} {seen[name]}")
assert seen.pop("as Google writes it") == ["Hello"], "behaviour has changed"
assert set(seen.values()) == {"UnknownApiResponseError"}, "behaviour has changed"
PY
