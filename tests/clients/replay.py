"""Recorded exchanges, replayed by an upstream, through the example gateway, to the official packages.

The upstream answers with the recorded status and bytes; which ones, the client says in a header. The
packages have to make sense of the answers, and the trail has to say what `tests/wire/expectation.py`
reads in them, and to hold the very bytes. Without a corpus it says so and ends well.
"""

import argparse
import base64
import glob
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
from google import genai
from google.genai import errors, types

from check_trail import Trail

HERE = os.path.dirname(os.path.abspath(__file__))
WIRES = ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate")
# Of each protocol and kind of answer.
EACH = 4
RESPONSE_BYTES = range(200, 100_000)
WAIT_SECONDS = 60
# Share of recorded answers that the packages of today may fail to read; the trail has to all the same.
NOT_UNDERSTOOD_MAX = 0.05


def read_lines(path):
    """Lines of a file that is compressed with zstd."""
    done = subprocess.run(["zstd", "-dc", "--long=27", path], capture_output=True)
    if done.returncode == 0:
        return done.stdout.decode().splitlines()
    import zstandard

    with open(path, "rb") as file:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file)
        return reader.read().decode().splitlines()


def response_of(exchange):
    body = exchange["response_body"]
    if exchange.get("response_body_encoding"):
        return base64.b64decode(body)
    return body.encode()


def kind_of(exchange):
    """What makes answers different to read."""
    body = exchange["response_body"].lstrip()
    is_stream = body.startswith(("data:", "event:", ":"))
    has_tools = any(word in body for word in ('"tool_calls"', '"tool_use"', '"functionCall"', '"function_call"'))
    return exchange["wire"], is_stream, exchange["status"] >= 400, has_tools


def samples(corpus):
    """The same few of each kind every time, from different recordings."""
    found, counts = [], {}
    for path in sorted(glob.glob(os.path.join(corpus, "exchanges-*.jsonl.zst"))):
        for line in read_lines(path):
            exchange = json.loads(line)
            if exchange["wire"] not in WIRES or exchange.get("response_body_encoding"):
                continue
            # One recorder encoded bodies and did not say so; and no package asks for Gemini's arrays,
            # but hangs up on them.
            if not exchange["response_body"].lstrip().startswith(("{", "data:", "event:", ":")):
                continue
            if len(exchange["response_body"]) not in RESPONSE_BYTES:
                continue
            key = (kind_of(exchange), exchange["source"].split(":")[0])
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= EACH:
                found.append(exchange)
    return found


class Upstream(BaseHTTPRequestHandler):
    """Says what was recorded."""

    exchanges = []
    disable_nagle_algorithm = True
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        exchange = self.exchanges[int(self.headers["x-replay"])]
        body = response_of(exchange)
        is_stream = body.lstrip().startswith((b"data:", b"event:", b":"))
        self.send_response(exchange["status"])
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 700):
            piece = body[at:at + 700]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


def call(clients, exchange, headers):
    """Has the package ask, and read the answer. Returns the HTTP status that it saw."""
    _, is_stream, _, _ = kind_of(exchange)
    wire = exchange["wire"]
    try:
        if wire == "openai.chat":
            answer = clients["openai"].chat.completions.create(
                model="replayed", messages=[{"role": "user", "content": "again"}],
                stream=is_stream, extra_headers=headers)
        elif wire == "openai.responses":
            answer = clients["openai"].responses.create(
                model="replayed", input="again", stream=is_stream, extra_headers=headers)
        elif wire == "anthropic.messages":
            answer = clients["anthropic"].messages.create(
                model="replayed", max_tokens=9, messages=[{"role": "user", "content": "again"}],
                stream=is_stream, extra_headers=headers)
        else:
            models = clients["google"].models
            ask = models.generate_content_stream if is_stream else models.generate_content
            config = types.GenerateContentConfig(http_options=types.HttpOptions(headers=headers))
            answer = ask(model="replayed", contents="again", config=config)
        if is_stream:
            for _ in answer:
                pass
        return 200
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return error.status_code
    except errors.APIError as error:
        return error.code
    except (openai.APIError, anthropic.APIError):
        # An error in the middle of a stream.
        return 200
    except (AttributeError, TypeError, ValueError) as error:
        # An answer that a package of today does not know, such as a number where a name should be.
        print(f"replay: {exchange['source']}: the client: {str(error)[:80]!r}", file=sys.stderr)
        return None


def wait_for(path, prefix):
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with open(path) as file:
            for line in file:
                if line.startswith(prefix):
                    return line[len(prefix):].strip()
        time.sleep(0.05)
    sys.exit(f"replay: the gateway did not say {prefix!r} within {WAIT_SECONDS} s")


def check(record, exchange, expected, trail, problems):
    name = f"{exchange['source']}:{exchange['seq']} ({exchange['wire']})"

    def equal(what, found, wanted):
        if found != wanted:
            problems.append(f"{name}: {what}: expected {wanted!r}, found {found!r}")

    equal("http_status", record["http_status"], exchange["status"])
    equal("response_model", record["response_model"], expected["model"])
    equal("response_id", record["response_id"], expected["id"])
    equal("finish_reasons", record["finish_reasons"], expected["finish"])
    equal("tool_call_count", record["tool_call_count"], len(expected["calls"]))
    usage = expected["usage"] or {}
    for field, key in [("input_tokens", "input"), ("output_tokens", "output"),
                       ("cache_read_input_tokens", "read"), ("cache_write_input_tokens", "write"),
                       ("reasoning_output_tokens", "reasoning")]:
        equal(field, record[field], usage.get(key))
    if exchange["status"] >= 400:
        equal("status", record["status"], "failed")
    equal("response", trail.payload(record, "response"), response_of(exchange))
    if record["time_to_first_chunk_us"] is None:
        problems.append(f"{name}: no time to the first chunk")


def main():
    parser = argparse.ArgumentParser()
    for name in ("corpus", "gateway", "auditlite"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    if not glob.glob(os.path.join(arguments.corpus, "exchanges-*.jsonl.zst")):
        print("SKIPPED: no recorded traffic (docs/traffic.md); nothing is replayed", file=sys.stderr)
        return
    exchanges = samples(arguments.corpus)
    script = os.path.join(HERE, "..", "wire", "expectation.py")
    lines = "".join(json.dumps(exchange) + "\n" for exchange in exchanges)
    done = subprocess.run([sys.executable, script], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    expectations = [json.loads(line) for line in done.stdout.splitlines()]
    Upstream.exchanges = exchanges
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()

    with tempfile.TemporaryDirectory() as work:
        db, said = os.path.join(work, "audit.db"), os.path.join(work, "gateway.out")
        with open(said, "w") as out:
            gateway = subprocess.Popen(
                [arguments.gateway, "--listen", "127.0.0.1:0", "--db", db,
                 "--upstream", f"http://127.0.0.1:{upstream.server_port}"], stdout=out, stderr=subprocess.DEVNULL)
        try:
            address = wait_for(said, "listening on ")
            more = {"api_key": "none", "max_retries": 0, "timeout": 30}
            clients = {
                "openai": openai.OpenAI(base_url=f"{address}/v1", **more),
                "anthropic": anthropic.Anthropic(base_url=address, **more),
                "google": genai.Client(api_key="none", http_options=types.HttpOptions(base_url=address)),
            }
            problems, traces, not_understood = [], [], 0
            for number, exchange in enumerate(exchanges):
                trace = secrets.token_hex(16)
                traces.append(trace)
                headers = {"x-replay": str(number), "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
                status = call(clients, exchange, headers)
                not_understood += status is None
                if status not in (exchange["status"], None):
                    problems.append(f"{exchange['source']}: the client saw {status}")
            gateway.terminate()
            if gateway.wait(WAIT_SECONDS) != 0:
                problems.append("the gateway did not end well")
        finally:
            gateway.kill()
        trail = Trail(arguments.auditlite, db)
        records = {record["trace_id"]: record for record in trail.records}
        for trace, exchange, expected in zip(traces, exchanges, expectations):
            if trace in records:
                check(records[trace], exchange, expected, trail, problems)
            else:
                problems.append(f"{exchange['source']}: not in the trail")
    if not_understood > NOT_UNDERSTOOD_MAX * len(exchanges):
        problems.append(f"{not_understood} answers that the clients did not understand")
    for problem in problems:
        print(f"replay: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    kinds = len({kind_of(exchange) for exchange in exchanges})
    print(f"replay: {len(exchanges)} recorded exchanges of {kinds} kinds, as they were")


if __name__ == "__main__":
    main()
