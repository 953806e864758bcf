#!/usr/bin/env python3
"""What recorded exchanges say, read from plain JSON and nothing else.

Standard input: exchanges, one JSON object a line (wire, path, request_body, response_body,
response_body_encoding). Standard output: for each, one line of JSON with what a reader of the
providers' documentation expects: usage, model, finish reasons, tool calls, id, error, text, and of
the request model, max_tokens, temperature, stream, and how many messages and tools.

This is the yardstick of the Rust parsers. It shares nothing with them: whole bodies, Python's own
JSON, events split with regular expressions, no care for speed or memory.
"""

import base64
import json
import re
import struct
import sys
from urllib.parse import unquote

SUPPORTED = {
    "openai.chat", "openai.responses", "openai.embeddings", "anthropic.messages",
    "gemini.generate", "bedrock.converse", "ollama.chat",
}


def get(value, *path):
    """The value at a path of keys, or None."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def first(*values):
    return next((value for value in values if value is not None), None)


def plus(*counts):
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def parse(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def aws_events(data):
    at = 0
    while at + 16 <= len(data):
        total, head = struct.unpack_from(">II", data, at)
        end, pos, headers = at + total, at + 12, {}
        if total < 16 or end > len(data):
            return
        while pos < at + 12 + head:
            length = data[pos]
            name = data[pos + 1:pos + 1 + length].decode()
            pos += 1 + length
            assert data[pos] == 7, "only strings are expected"
            (length,) = struct.unpack_from(">H", data, pos + 1)
            headers[name] = data[pos + 3:pos + 3 + length].decode()
            pos += 3 + length
        payload = parse(data[at + 12 + head:end - 4]) or {}
        name = headers.get(":event-type") or headers.get(":exception-type")
        yield {name: payload}
        at = end


def documents(body):
    """The JSON documents of a response: one, or those of a stream."""
    if isinstance(body, bytes):
        if body[:1] == b"\0":
            return list(aws_events(body))
        body = body.decode("utf-8", "replace")
    whole = parse(body)
    if isinstance(whole, list):
        return whole
    if whole is not None:
        return [whole]
    if re.match(r"\s*\{", body):
        return [d for d in map(parse, body.splitlines()) if d is not None]
    events = []
    for block in re.split(r"\r?\n\r?\n", body):
        lines = re.findall(r"^data:[ ]?(.*?)\r?$", block, re.M)
        document = parse("\n".join(lines))
        if document is not None:
            events.append(document)
    return events


def usage(kind, *counts):
    return dict(zip(("input", "output", "read", "write", "reasoning"), counts))


def openai_usage(u):
    details = first(u.get("prompt_tokens_details"), u.get("input_tokens_details")) or {}
    out = first(u.get("completion_tokens_details"), u.get("output_tokens_details")) or {}
    n_in = first(u.get("prompt_tokens"), u.get("input_tokens"))
    n_out = first(u.get("completion_tokens"), u.get("output_tokens"))
    reasoning = first(out.get("reasoning_tokens"), u.get("reasoning_tokens"))
    return usage(
        "openai", n_in, n_out,
        first(details.get("cached_tokens"), u.get("prompt_cache_hit_tokens"),
              u.get("cached_tokens"), u.get("num_cached_tokens"), u.get("cache_read_input_tokens")),
        first(details.get("cache_write_tokens"), details.get("cache_creation_input_tokens"),
              u.get("cache_creation_input_tokens")),
        reasoning)


def error_of(value):
    """The message of an error object, or the error itself where it is prose."""
    if isinstance(value, dict):
        message = first(value.get("message"), value.get("msg"))
        return message if isinstance(message, str) or message is None else json.dumps(message)
    return value if isinstance(value, str) else json.dumps(value)


def bare_error(d):
    if not isinstance(d, dict):
        return None
    if d.get("error") is not None:
        return error_of(d["error"])
    for key in ("detail", "message"):
        if d.get(key):
            return d[key] if isinstance(d[key], str) else json.dumps(d[key])
    return None


class Result:
    def __init__(self):
        self.id = self.model = self.usage = self.error = None
        self.finish, self.calls, self.text = {}, {}, ""

    def call(self, key, id, name, piece):
        known = self.calls.setdefault(key, ["", "", ""])
        known[0], known[1] = id or known[0], name or known[1]
        known[2] += piece if isinstance(piece, str) else "" if piece is None else json.dumps(piece)

    def output(self):
        return {
            "id": self.id or None, "model": self.model or None,
            "usage": self.usage if self.usage and any(v is not None for v in self.usage.values()) else None,
            "finish": [self.finish[k] for k in sorted(self.finish)],
            "calls": list(self.calls.values()), "error": self.error, "text": self.text,
        }


def chat(docs, r):
    for d in docs:
        if not isinstance(d, dict):
            continue
        r.id, r.model = r.id or d.get("id"), r.model or d.get("model")
        u = first(d.get("usage"), get(d, "x_groq", "usage"))
        if isinstance(u, dict):
            r.usage = openai_usage(u)
        if not d.get("choices"):
            r.error = first(r.error, bare_error(d))
        elif d.get("error"):
            r.error = first(r.error, error_of(d["error"]))
        for at, c in enumerate(d.get("choices") or []):
            index = first(c.get("index"), at)
            if c.get("finish_reason"):
                r.finish[index] = c["finish_reason"]
            if c.get("error"):
                r.error = first(r.error, error_of(c["error"]))
            m = c.get("delta") or c.get("message") or {}
            content = m.get("content")
            if index == 0 and isinstance(content, str):
                r.text += content
            elif index == 0 and isinstance(content, list):
                r.text += "".join(p.get("text", "") for p in content if p.get("type") == "text")
            if index == 0 and m.get("audio"):
                r.text += m["audio"].get("transcript") or ""
            for at, t in enumerate(m.get("tool_calls") or []):
                f = t.get("function") or t.get("custom") or {}
                # A known id names the call; else its number does, and goes on with the last one.
                number = (index, first(t.get("index"), at))
                ids = r.__dict__.setdefault("open", {})
                if t.get("id") and ids.get(number) != t["id"]:
                    ids[number] = t["id"]
                key = (number, ids.get(number))
                r.call(key, t.get("id"), f.get("name"), first(f.get("arguments"), f.get("input")))
            f = m.get("function_call")
            if f:
                r.call((index, "function"), None, f.get("name"), f.get("arguments"))


CALLS = {"web_search", "file_search", "code_interpreter", "tool_search", "mcp", "function",
         "custom_tool", "computer", "local_shell", "shell", "apply_patch", "image_generation"}


def responses(docs, r):
    final = None
    for d in docs:
        if not isinstance(d, dict):
            continue
        kind = d.get("type", "")
        body = d.get("response") or (d if d.get("object") in ("response",) else None)
        if kind == "error" or (body is None and not kind.startswith("response.")):
            r.error = first(r.error, bare_error(d))
        if body:
            r.id, r.model = r.id or body.get("id"), r.model or body.get("model")
            if body.get("usage"):
                r.usage = openai_usage(body["usage"])
            if body.get("error"):
                r.error = first(r.error, error_of(body["error"]))
            if body.get("status") not in ("queued", "in_progress"):
                final = body
                r.finish[0] = get(body, "incomplete_details", "reason") or body.get("status")
    items = final["output"] if final and final.get("output") else [
        d["item"] for d in docs if isinstance(d, dict) and d.get("type") == "response.output_item.done"]
    texts = []
    for at, item in enumerate(items):
        name = item["type"].removesuffix("_call")
        if item["type"].endswith("_call") and name in CALLS:
            given = [item.get(k) for k in ("arguments", "input", "action", "operation", "code", "queries")]
            r.call(at, item.get("call_id") or item.get("id"), item.get("name") or name, first(*given))
        for part in item.get("content") or []:
            if item["type"] == "message" and part.get("text"):
                texts.append(part["text"])
    r.text = "\n".join(texts)


def anthropic(docs, r):
    u, blocks = {}, {}
    for d in docs:
        kind = d.get("type") if isinstance(d, dict) else None
        m = d if kind == "message" else d.get("message") if kind == "message_start" else {}
        if m:
            r.id, r.model = m.get("id"), m.get("model")
            for at, b in enumerate(m.get("content") or []):
                blocks[at] = dict(b)
            if m.get("stop_reason"):
                r.finish[0] = m["stop_reason"]
        if kind == "content_block_start":
            blocks[d["index"]] = dict(d["content_block"])
        if kind == "content_block_delta":
            b, delta = blocks[d["index"]], d["delta"]
            if "text" in delta:
                b["text"] = b.get("text", "") + delta["text"]
            if "partial_json" in delta:
                b["json"] = b.get("json", "") + delta["partial_json"]
        if kind == "message_delta" and d["delta"].get("stop_reason"):
            r.finish[0] = d["delta"]["stop_reason"]
        if kind == "error" or (kind is None and isinstance(d, dict)):
            r.error = first(r.error, bare_error(d))
        for new in (m.get("usage") or {}, d.get("usage") or {} if kind == "message_delta" else {}):
            u.update({k: v for k, v in new.items() if v is not None})
    if u:
        # The counts leave out iterations that compact the context or advise.
        for i in u.pop("iterations", None) or []:
            if i.get("type") in ("compaction", "advisor_message"):
                for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
                    u[name] = plus(u.get(name), i.get(name))
        r.usage = usage(
            "anthropic",
            plus(u.get("input_tokens"), u.get("cache_read_input_tokens"), u.get("cache_creation_input_tokens")),
            u.get("output_tokens"), u.get("cache_read_input_tokens"), u.get("cache_creation_input_tokens"),
            get(u, "output_tokens_details", "thinking_tokens"))
    texts = []
    for at, b in sorted(blocks.items()):
        if b["type"] in ("tool_use", "server_tool_use", "mcp_tool_use"):
            r.call(at, b["id"], b["name"], b.get("json") or b["input"])
        if b["type"] == "text" and b["text"]:
            texts.append(b["text"])
    r.text = "\n".join(texts)


# google.ai.generativelanguage.Candidate.FinishReason, for clients that ask for numbers.
GEMINI_NUMBERS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION"}


def gemini(docs, r):
    texts, was_text = [], False
    for d in docs:
        if not isinstance(d, dict):
            continue
        r.id, r.model = r.id or d.get("responseId"), r.model or d.get("modelVersion")
        u = d.get("usageMetadata")
        if u:
            r.usage = usage(
                "gemini", plus(u.get("promptTokenCount"), u.get("toolUsePromptTokenCount")),
                plus(u.get("candidatesTokenCount"), u.get("thoughtsTokenCount")),
                u.get("cachedContentTokenCount"), None, u.get("thoughtsTokenCount"))
        if not d.get("candidates"):
            r.error = first(r.error, bare_error(d))
        if get(d, "promptFeedback", "blockReason"):
            r.finish[0] = d["promptFeedback"]["blockReason"]
        for at, c in enumerate(d.get("candidates") or []):
            index = first(c.get("index"), at)
            if c.get("finishReason"):
                r.finish[index] = GEMINI_NUMBERS.get(c["finishReason"], c["finishReason"])
            for p in get(c, "content", "parts") or []:
                f = p.get("functionCall") or p.get("toolCall")
                code = p.get("executableCode")
                key = (index, len(r.calls))
                if f:
                    name = f.get("name") or f.get("toolType")
                    r.call(key, f.get("id") or name, name, f.get("args"))
                if code:
                    r.call(key, code.get("id") or "code_execution", "code_execution", code.get("code"))
                is_text = bool(p.get("text")) and not p.get("thought")
                if index == 0 and is_text:
                    if was_text:
                        texts[-1] += p["text"]
                    else:
                        texts.append(p["text"])
                if p.get("text") or len(p) > 1 or "thoughtSignature" not in p:
                    was_text = is_text if p.get("text") != "" else was_text
    r.text = "\n".join(texts)


def bedrock(docs, r):
    texts = {}
    for d in docs:
        if len(d) == 1 and not {"message", "Message"} & set(d):
            ((kind, d),) = d.items()
            if kind.endswith("Exception"):
                r.error = d.get("message")
        elif "output" not in d:
            r.error = bare_error(d)
        at = first(d.get("contentBlockIndex"), 0)
        blocks = list(enumerate(get(d, "output", "message", "content") or []))
        blocks += [(at, d[k]) for k in ("start", "delta") if k in d]
        for at, b in blocks:
            t = b.get("toolUse")
            if t:
                r.call(at, t.get("toolUseId"), t.get("name"), t.get("input"))
            if "text" in b:
                texts[at] = texts.get(at, "") + b["text"]
        if d.get("stopReason"):
            r.finish[0] = d["stopReason"]
        u = d.get("usage")
        if u:
            r.usage = usage(
                "bedrock", plus(u["inputTokens"], u.get("cacheReadInputTokens"), u.get("cacheWriteInputTokens")),
                u["outputTokens"], u.get("cacheReadInputTokens"), u.get("cacheWriteInputTokens"), None)
    r.text = "\n".join(t for _, t in sorted(texts.items()) if t)


def ollama(docs, r):
    for d in docs:
        r.model = r.model or d.get("model")
        r.error = first(r.error, d.get("error"))
        r.text += get(d, "message", "content") or ""
        for t in get(d, "message", "tool_calls") or []:
            f = t["function"]
            r.call(len(r.calls), t.get("id") or f["name"], f["name"], f["arguments"])
        if d.get("done"):
            if d.get("done_reason"):
                r.finish[0] = d["done_reason"]
            r.usage = usage("ollama", d.get("prompt_eval_count"), d.get("eval_count"), None, None, None)


def embeddings(docs, r):
    for d in docs:
        r.id, r.model = d.get("id"), d.get("model")
        if d.get("usage"):
            r.usage = openai_usage(d["usage"])
            r.usage["input"] = first(r.usage["input"], d["usage"].get("total_tokens"))
        if not d.get("data"):
            r.error = bare_error(d)


READERS = {
    "openai.chat": chat, "openai.responses": responses, "openai.embeddings": embeddings,
    "anthropic.messages": anthropic, "gemini.generate": gemini, "bedrock.converse": bedrock,
    "ollama.chat": ollama,
}


def request(wire, path, body):
    b = parse(body)
    if not isinstance(b, dict):
        return None
    stream, model = bool(b.get("stream", wire == "ollama.chat")), b.get("model")
    config = {
        "gemini.generate": first(b.get("generationConfig"), b.get("generation_config")),
        "bedrock.converse": b.get("inferenceConfig"), "ollama.chat": b.get("options"),
    }.get(wire, b) or {}
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens",
             "maxTokens", "num_predict")
    listed = first(b.get("messages"), b.get("contents"), b.get("input"))
    tools = b.get("tools") or get(b, "toolConfig", "tools") or []
    if wire == "gemini.generate":
        tools = tools if isinstance(tools, list) else [tools]
        tools = [f for t in tools for f in first(t.get("functionDeclarations"), t.get("function_declarations"), [t])]
        found = re.search(r"/models/([^/]+):(\w+)$", path)
        if found:
            model, stream = first(model, unquote(found[1])), found[2].startswith("stream")
    if wire == "bedrock.converse":
        found = re.search(r"/model/([^/]+)/(converse(?:-stream)?)$", path)
        model, stream = unquote(found[1]), found[2].endswith("-stream")
    return {
        "model": model or None,
        "max_tokens": first(*(config.get(name) for name in names)),
        "temperature": config.get("temperature"), "top_p": first(config.get("top_p"), config.get("topP")),
        "stream": stream, "messages": 1 if isinstance(listed, str) else len(listed or []),
        "tools": len(tools) + len(b.get("functions") or []),
    }


for line in sys.stdin:
    exchange = json.loads(line)
    wire = exchange["wire"]
    if wire not in SUPPORTED:
        print("null")
        continue
    response = exchange["response_body"]
    if exchange.get("response_body_encoding") == "base64":
        response = base64.b64decode(response)
    result = Result()
    READERS[wire](documents(response), result)
    out = result.output()
    out["request"] = request(wire, exchange["path"], exchange["request_body"])
    print(json.dumps(out))
