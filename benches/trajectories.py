#!/usr/bin/env python3
"""Turns published agent trajectories into the calls that a gateway saw: lines for `auditlite record` and `--corpus`.

    python3 benches/trajectories.py gpt-4o-airline.json --model gpt-4o > calls.jsonl

A trajectory is a list of messages in the form of OpenAI chat, under `traj` (tau-bench) or `messages` (mini-swe-agent). Every
message of the assistant is one call: its request has all messages before it, its response is the recorded one where the file has it
(`extra.response`), else an envelope around the message. Files may hold one trajectory, a list of them, or one a line.
docs/traffic.md says where there are some.
"""

import argparse
import json
import pathlib
import sys


def trajectories(path):
    """Yields a name and the messages of each trajectory in a file."""
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    for number, trajectory in enumerate(found if isinstance(found, list) else [found]):
        messages = trajectory.get("traj") or trajectory.get("messages")
        if messages:
            yield f"{path.stem}-{number}", messages


def calls(name, messages, model, tools):
    """Yields what the gateway saw: each message of the assistant answers all before it."""
    history = []
    for message in messages:
        sent = {key: value for key, value in message.items() if key != "extra"}
        if message["role"] == "assistant" and history:
            request = {"model": model, "messages": history}
            if tools:
                request["tools"] = tools
            recorded = (message.get("extra") or {}).get("response")
            yield {
                "conversation": name,
                "wire": "openai.chat",
                "model": model,
                "request": request,
                "response": recorded or envelope(f"{name}-{len(history)}", model, sent),
            }
        history = history + [sent]


def envelope(response_id, model, message):
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": response_id, "object": "chat.completion", "model": model, "choices": [choice]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--model", default="unknown", help="the model of the calls, where trajectories do not say")
    parser.add_argument("--tools", type=pathlib.Path, help="a JSON file with the tools that every request offers")
    parser.add_argument("--limit", type=int, help="most calls that are written")
    arguments = parser.parse_args()
    tools = json.loads(arguments.tools.read_text(encoding="utf-8")) if arguments.tools else None
    written = request_bytes = 0
    for path in arguments.files:
        for name, messages in trajectories(path):
            for call in calls(name, messages, arguments.model, tools):
                if written == arguments.limit:
                    break
                line = json.dumps(call, ensure_ascii=False, separators=(",", ":"))
                print(line)
                written += 1
                request_bytes += len(line.encode())
    print(f"{written} calls, {request_bytes:,} bytes", file=sys.stderr)
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
