"""Compares what the clients sent with the trail that the gateway recorded.

Reads the trail with the `auditlite` program only. Prints every difference, and exits with 1 where
there is one. Needs nothing but Python's standard library.
"""

import argparse
import json
import os
import subprocess
import sys


class Trail:
    def __init__(self, program, db):
        self.command = [program, "--db", db]
        lines = self.run("list", "--json", "-n", "0").decode()
        self.text = lines
        self.records = [json.loads(line) for line in lines.splitlines()]

    def run(self, *arguments):
        """Output of the program; an exit code other than 0 is an error."""
        done = subprocess.run([*self.command, *arguments], capture_output=True)
        if done.returncode != 0:
            sys.exit(
                f"check_trail: auditlite {' '.join(arguments)} exited with {done.returncode}: "
                f"{done.stderr.decode(errors='replace')}"
            )
        return done.stdout

    def payload(self, record, side):
        return self.run("payload", record["request_id"], side)


class Check:
    """Differences found in one call."""

    def __init__(self, call, problems):
        self.name = f"{call['kind']} ({call['model'] or 'no model'})"
        self.problems = problems

    def equal(self, what, found, wanted):
        if found != wanted:
            self.problems.append(f"{self.name}: {what}: expected {wanted!r}, found {found!r}")

    def true(self, what, holds):
        if not holds:
            self.problems.append(f"{self.name}: {what}")


def check_record(call, record, check):
    check.equal("status", record.get("status"), call["expected_status"])
    check.equal("http_status", record.get("http_status"), call["http_status"])
    check.equal("request_model", record.get("request_model"), call.get("read_model", call["model"]))
    check.equal("is_streaming", record.get("is_streaming"), call["streamed"])
    for name in ["user_id", "conversation_id", "trace_id"]:
        check.equal(name, record.get(name), call[name])
    check.true("latency_us is zero or absent", (record.get("latency_us") or 0) > 0)
    if call["expected_status"] == "rejected":
        check.equal("provider_name", record.get("provider_name"), None)
    else:
        check.equal("provider_name", record.get("provider_name"), call.get("provider_name", "openai"))
    for name in ["response_id", "error_type", "temperature", "max_tokens"]:
        if name in call:
            check.equal(name, record.get(name), call[name])
    if "response_model" in call:
        served = record.get("response_model") or record.get("request_model")
        check.equal("response_model", served, call["response_model"])
    for name in ["finish_reasons", "tool_call_count"]:
        if name in call:
            check.equal(name, record.get(name), call[name])
    for name, tokens in call.get("usage", {}).items():
        check.equal(name, record.get(name), tokens)
    if "usage" in call:
        check.true("no cost", record.get("cost_microdollars") is not None)
    if call["streamed"]:
        check.true("no time_to_first_chunk_us", record.get("time_to_first_chunk_us") is not None)


def check_request(call, record, trail, check):
    if "request_body" not in call:
        return b""
    body = trail.payload(record, "request")
    wanted = call["request_body"].encode()
    check.equal("request body", body, wanted)
    check.equal("request_bytes", record.get("request_bytes"), len(body))
    if call["model"] and body == wanted:
        check.equal("model in the request body", json.loads(body)["model"], call["model"])
    return body


def check_response(call, record, trail, check):
    body = trail.payload(record, "response")
    check.true("response body is empty", body)
    check.equal("response_bytes", record.get("response_bytes"), len(body))
    if "response_body" in call:
        check.equal("response body", body, call["response_body"].encode())
    if call["streamed"] and call.get("provider_name", "openai") == "openai":
        is_whole = body.decode().rstrip().endswith("data: [DONE]")
        check.equal("response body is a whole stream", is_whole, not call.get("is_cut_off", False))
    if call["streamed"] and "answer" in call:
        check.equal("text of the streamed response", streamed_text(body), call["answer"])
    return body


def check_tool_calls(call, record, trail, check):
    if "tool_calls" not in call:
        return
    details = json.loads(trail.run("show", "--json", record["request_id"]))
    found = details["tool_calls"]
    for wanted, found in zip(call["tool_calls"], found):
        check.equal("tool call", {name: found.get(name) for name in wanted}, wanted)


def streamed_text(body):
    text = ""
    for line in body.decode().splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[len("data: ") :])["choices"]:
                text += choice["delta"].get("content") or ""
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sent", required=True, nargs="+", help="output of the clients")
    parser.add_argument("--auditlite", required=True, help="the program")
    parser.add_argument("--db", required=True)
    arguments = parser.parse_args()
    key = os.environ["OPENAI_API_KEY"]
    calls = []
    for path in arguments.sent:
        with open(path, encoding="utf-8") as file:
            calls += json.load(file)

    trail = Trail(arguments.auditlite, arguments.db)
    problems = []
    if len(trail.records) != len(calls):
        problems.append(f"{len(calls)} calls were sent, {len(trail.records)} stand in the trail")
    if key in trail.text:
        problems.append("the list contains the API key")
    for call in calls:
        check = Check(call, problems)
        found = [record for record in trail.records if record.get("trace_id") == call["trace_id"]]
        if len(found) != 1:
            check.equal("records", len(found), 1)
            continue
        [record] = found
        check_record(call, record, check)
        check_tool_calls(call, record, trail, check)
        bodies = [
            check_request(call, record, trail, check),
            check_response(call, record, trail, check),
        ]
        for body in bodies:
            check.true("a body contains the API key", key.encode() not in body)
    for suffix in ["", "-wal"]:
        try:
            with open(arguments.db + suffix, "rb") as file:
                if key.encode() in file.read():
                    problems.append(f"the file {arguments.db + suffix} contains the API key")
        except FileNotFoundError:
            pass

    for problem in problems:
        print(f"check_trail: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"check_trail: all {len(calls)} calls stand in the trail as they were sent")


if __name__ == "__main__":
    main()
