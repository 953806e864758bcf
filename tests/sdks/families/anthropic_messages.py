"""Anthropic messages, of the stable and of the beta types; the stream's result is the SDK's `accumulate_event`."""

import json

import httpx2
from anthropic import types
from anthropic._models import construct_type
from anthropic.lib.streaming._beta_messages import accumulate_event as accumulate_beta
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import beta

from exchange import Exchange, cut, document, events
from generate import members, type_name

PATH = "/v1/messages"


def usage_of(g, cls):
    usage = g.model(cls)
    usage["output_tokens"] = max(1, usage["output_tokens"])
    iterations = usage.get("iterations")
    if iterations:
        # The turns of the loop are what the totals count.
        for part in iterations:
            part.update(input_tokens=part.get("input_tokens", 0), output_tokens=part.get("output_tokens", 0))
    details = usage.get("output_tokens_details")
    if details:
        details["thinking_tokens"] = g.random.randint(0, usage["output_tokens"])
    writes = usage.get("cache_creation")
    if writes:
        usage["cache_creation_input_tokens"] = sum(writes.values())
    return usage


def message_of(g, is_beta):
    cls = beta.BetaMessage if is_beta else types.Message
    body = g.model(cls)
    body["model"] = g.word("claude-")
    body["content"] = [block_of(g, cls) for _ in range(g.random.choice([0, 1, 1, 2, 3, 4]))]
    for block in body["content"]:
        if block["type"] == "fallback":
            # The model that served is the one that the last fallback went to.
            body["model"] = block["to"]["model"]
    if body.get("stop_reason") is None:
        body["stop_reason"] = "end_turn"
    body["usage"] = usage_of(g, cls.model_fields["usage"].annotation)
    for part in body["usage"].get("iterations") or []:
        if part["type"] == "fallback_message":
            part["model"] = body["model"]
    body.pop("container", None)
    body.pop("parsed_output", None)
    return body


def block_of(g, cls):
    blocks = [member for part in members(cls.model_fields["content"].annotation.__args__[0])
              for member in members(part)]
    return g.model(blocks[g.turn(cls, len(blocks))])


def read_usage(exchange, usage):
    owner = type_name(type(usage))
    counts = [usage.input_tokens, usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0]
    output = usage.output_tokens
    reads, writes = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    details = usage.output_tokens_details if hasattr(usage, "output_tokens_details") else None
    # What the types say of iterations: compaction and advisor are not in the totals, and are what was used too.
    for part in getattr(usage, "iterations", None) or []:
        if part.type in ("compaction", "advisor_message"):
            counts += [part.input_tokens, part.cache_read_input_tokens or 0, part.cache_creation_input_tokens or 0]
            output += part.output_tokens
            if part.cache_read_input_tokens:
                reads = (reads or 0) + part.cache_read_input_tokens
            if part.cache_creation_input_tokens:
                writes = (writes or 0) + part.cache_creation_input_tokens
    exchange.usage(owner, input=sum(counts), output=output, cache_read=reads, cache_write=writes,
                   reasoning=details and details.thinking_tokens)


def read(exchange, message):
    model = message.model
    exchange.fact("response_model", model)
    exchange.fact("response_id", message.id)
    exchange.fact("finish_reasons", [message.stop_reason])
    exchange.fact("status", "completed")
    read_usage(exchange, message.usage)
    for block in message.content:
        owner = type_name(type(block))
        if block.type == "text":
            exchange.text(block.text, owner)
        elif block.type == "thinking":
            exchange.text(block.thinking, owner)
        elif block.type.endswith("tool_use"):
            exchange.call(block.id, getattr(block, "name", None), json.dumps(plain_json(block.input)), owner)
    return exchange


def plain_json(value):
    return value.to_dict() if hasattr(value, "to_dict") else value


def whole(g, is_beta):
    body = message_of(g, is_beta)
    cls = beta.BetaMessage if is_beta else types.Message
    exchange = Exchange("anthropic.messages", type_name(cls), PATH, document(body))
    return read(exchange, construct_type(type_=cls, value=body))


def streamed(g, is_beta):
    rng = g.random
    body = message_of(g, is_beta)
    begun = {**body, "content": [], "stop_reason": None, "stop_sequence": None}
    last = dict(body["usage"])
    if any(block["type"] == "fallback" for block in body["content"]):
        begun["model"] = g.word("claude-")  # The one that declined.
    begun["usage"] = {**last, "output_tokens": 1}
    for name in ("iterations", "output_tokens_details", "server_tool_use", "fallback_credit"):
        begun["usage"].pop(name, None)
    steps = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(body["content"]):
        begin, deltas = dict(block), []
        if block["type"] == "text":
            begin["text"] = ""
            deltas = [{"type": "text_delta", "text": piece} for piece in cut(rng, block["text"])]
        elif block["type"] == "thinking":
            begin.update(thinking="", signature="")
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(rng, block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] in ("tool_use", "server_tool_use", "mcp_tool_use") and isinstance(block["input"], dict):
            begin["input"] = {}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *cut(rng, text)]]
        steps.append({"type": "content_block_start", "index": index, "content_block": begin})
        steps += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        steps.append({"type": "content_block_stop", "index": index})
        if rng.random() < 0.1:
            steps.append({"type": "ping"})
    usage = {name: last[name] for name in last if name not in ("cache_creation", "inference_geo", "service_tier",
                                                               "speed")}
    if rng.random() < 0.3:
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            usage.pop(name, None)
    steps.append({"type": "message_delta", "usage": usage, "delta": {
        "stop_reason": body["stop_reason"], "stop_sequence": None, "stop_details": None, "container": None}})
    steps.append({"type": "message_stop"})
    event = beta.BetaRawMessageStreamEvent if is_beta else types.RawMessageStreamEvent
    accumulate = accumulate_beta if is_beta else accumulate_event
    snapshot, buffers = None, {}
    for step in steps:
        if step["type"] == "ping":
            continue
        value = construct_type(type_=event, value=json.loads(json.dumps(step)))
        g.seen[type_name(type(value))] += 1
        more = {"request_headers": httpx2.Headers()} if is_beta else {}
        snapshot = accumulate(event=value, current_snapshot=snapshot, json_bufs=buffers, **more)
    exchange = Exchange("anthropic.messages", type_name(beta.BetaMessage if is_beta else types.Message) + " (stream)",
                        PATH, events(steps, names=True),
                        request={"model": "asked-for", "max_tokens": 9, "messages": [], "stream": True})
    return read(exchange, snapshot)


ERRORS = [member for member in members(types.ErrorObject)]


def error(g):
    cls = ERRORS[g.turn("anthropic error", len(ERRORS))]
    body = {"type": "error", "error": g.model(cls), "request_id": g.word("req_")}
    exchange = Exchange("anthropic.messages", type_name(cls), PATH, document(body),
                        status=g.random.choice([400, 401, 403, 404, 429, 500, 529]))
    exchange.failed(body["error"]["type"], body["error"].get("message"))
    return exchange


def error_in_stream(g):
    body = message_of(g, False)
    cls = ERRORS[g.turn("anthropic error", len(ERRORS))]
    body["content"] = []
    failure = g.model(cls)
    steps = [{"type": "message_start", "message": {**body, "stop_reason": None}},
             {"type": "error", "error": failure}]
    exchange = Exchange("anthropic.messages", type_name(cls), PATH, events(steps, names=True))
    exchange.fact("response_model", body["model"])
    exchange.failed(failure["type"], failure.get("message"))
    return exchange


def tokens(g):
    is_beta = g.random.random() < 0.5
    cls = beta.BetaMessageTokensCount if is_beta else types.MessageTokensCount
    body = g.model(cls)
    exchange = Exchange("anthropic.count_tokens", type_name(cls), PATH + "/count_tokens", document(body))
    exchange.fact("status", "completed")
    # A count is not a use: nothing is generated and nothing is billed.
    exchange.absent("input_tokens", "output_tokens")
    return exchange


MAKERS = [(lambda g: whole(g, False), 2), (lambda g: whole(g, True), 2), (lambda g: streamed(g, False), 3),
          (lambda g: streamed(g, True), 3), (error, 1), (error_in_stream, 1), (tokens, 0.3)]
