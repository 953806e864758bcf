"""OpenAI responses: every kind of output item, whole and streamed, with all other events between them.

The stream's result is that of the SDK's `ResponseStreamState` where it has one, which ends in the final response.
"""

import json
import typing

from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseOutputItem, ResponseStreamEvent, ResponseUsage

from exchange import Exchange, cut, document, events, interleaved
from generate import members, type_name

PATH = "/v1/responses"
ITEMS = members(ResponseOutputItem)
EVENTS = members(ResponseStreamEvent)
# Strings that are streamed piece by piece: kind of item, field, events of pieces and of the whole, field there.
STREAMED = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "code_interpreter_call": ("code", "response.code_interpreter_call_code"),
}
DONE_FIELD = {"function_call": "arguments", "mcp_call": "arguments", "custom_tool_call": "input",
              "code_interpreter_call": "code"}
# These are part of the streams below, or end them.
OWN_EVENTS = ("response.created", "response.in_progress", "response.queued", "response.completed", "response.failed",
              "response.incomplete", "error", "response.output_item", "response.content_part",
              "response.output_text.delta", "response.output_text.done", "response.refusal", "response.reasoning",
              "response.shell_call_command", "_arguments.", "_input.", "_call_code.")


def kind_of_event(cls):
    return typing.get_args(cls.model_fields["type"].annotation)[0]


OTHER_EVENTS = [cls for cls in EVENTS if not any(own in kind_of_event(cls) for own in OWN_EVENTS)]


def usage_of(g):
    usage = g.model(ResponseUsage)
    sent, said = usage["input_tokens_details"], usage["output_tokens_details"]
    sent["cached_tokens"] = g.random.randint(0, usage["input_tokens"] // 2)
    sent["cache_write_tokens"] = g.random.randint(0, usage["input_tokens"] // 3)
    parts = sent.get("cache_write_tokens_details")
    if parts:
        parts["ttl_12h_tokens"] = sent["cache_write_tokens"] // 3
        parts["ttl_30m_tokens"] = sent["cache_write_tokens"] - parts["ttl_12h_tokens"]
    said["reasoning_tokens"] = g.random.randint(0, usage["output_tokens"])
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    return usage


def item_of(g):
    cls = ITEMS[g.turn("responses item", len(ITEMS))]
    item = g.model(cls)
    if item["type"] == "computer_call" and item.get("actions"):
        item.pop("action", None)  # One action or several, never two accounts of what was asked.
    return item


def response_of(g, status):
    body = g.model(Response)
    body["status"] = status
    body["model"] = g.word("gpt-")
    body["error"] = None
    body["incomplete_details"] = None
    if status == "incomplete":
        body["incomplete_details"] = {"reason": g.random.choice(["max_output_tokens", "content_filter"])}
    if status == "failed":
        body["error"] = {"code": "server_error", "message": g.text()}
    body["output"] = [item_of(g) for _ in range(g.random.choice([1, 1, 2, 3, 5]))]
    if g.random.random() < 0.9:
        body["usage"] = usage_of(g)
    else:
        body.pop("usage", None)
    return body


def arguments_of(item):
    """What a call was given: a string, or whatever JSON the item has for it."""
    for name in ("arguments", "input", "action", "actions", "operation", "code", "queries"):
        value = getattr(item, name, None)
        if value is not None:
            return name, value
    return None, None


def read(exchange, response):
    exchange.fact("response_model", response.model)
    exchange.fact("response_id", response.id)
    usage = response.usage
    if usage is None:
        exchange.absent("input_tokens", "output_tokens")
    else:
        exchange.usage("openai.types.responses.ResponseUsage", input=usage.input_tokens, output=usage.output_tokens,
                       cache_read=usage.input_tokens_details.cached_tokens,
                       cache_write=usage.input_tokens_details.cache_write_tokens,
                       reasoning=usage.output_tokens_details.reasoning_tokens)
    if response.status == "failed":
        exchange.failed(response.error.code, response.error.message)
    elif response.status == "incomplete":
        exchange.fact("finish_reasons", [response.incomplete_details.reason])
    else:
        exchange.fact("finish_reasons", [response.status])
        exchange.fact("status", "completed")
    for item in response.output:
        read_item(exchange, item)
    return exchange


def read_item(exchange, item):
    owner = type_name(type(item))
    if item.type == "message":
        for part in item.content:
            exchange.text(getattr(part, "text", None), type_name(type(part)))
            exchange.text(getattr(part, "refusal", None), type_name(type(part)))
    elif item.type == "reasoning":
        for part in (item.summary or []) + (item.content or []):
            exchange.text(part.text, owner)
    elif item.type.endswith("_call") or item.type in ("mcp_approval_request", "program"):
        name = getattr(item, "name", None) if item.type in ("function_call", "mcp_call", "custom_tool_call",
                                                            "mcp_approval_request") else None
        field, value = arguments_of(item)
        if hasattr(value, "to_dict"):
            value = value.to_dict()
        if isinstance(value, list) and value and hasattr(value[0], "to_dict"):
            value = [part.to_dict() for part in value]
        if isinstance(value, (dict, list)):
            value = json.dumps(value)
        exchange.call(getattr(item, "call_id", None) or item.id, name, value, owner)


def whole(g):
    body = response_of(g, g.random.choice(["completed"] * 4 + ["incomplete", "failed"]))
    exchange = Exchange("openai.responses", "openai.types.responses.Response", PATH, document(body))
    return read(exchange, construct_type(type_=Response, value=body))


def item_events(g, index, item):
    """The events of one item, from its beginning to its end."""
    rng, kind = g.random, item["type"]
    at = {"output_index": index, "item_id": item.get("id") or g.word("id-")}
    begin = dict(item)
    steps = []
    if kind == "message":
        begin["content"] = []
        for number, part in enumerate(item["content"]):
            here = {**at, "content_index": number}
            field = "text" if part["type"] == "output_text" else "refusal"
            stem = "response.output_text" if field == "text" else "response.refusal"
            empty = {**part, field: ""}
            steps.append({"type": "response.content_part.added", **here, "part": empty})
            extra = {"logprobs": []} if field == "text" else {}
            steps += [{"type": stem + ".delta", **here, "delta": piece, **extra} for piece in cut(rng, part[field])]
            steps.append({"type": stem + ".done", **here, field: part[field], **extra})
            steps.append({"type": "response.content_part.done", **here, "part": part})
    elif kind == "reasoning":
        begin["summary"] = []
        begin.pop("content", None)
        for number, part in enumerate(item["summary"]):
            here = {**at, "summary_index": number}
            steps.append({"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}})
            steps += [{"type": "response.reasoning_summary_text.delta", **here, "delta": piece}
                      for piece in cut(rng, part["text"])]
            steps.append({"type": "response.reasoning_summary_text.done", **here, "text": part["text"]})
            steps.append({"type": "response.reasoning_summary_part.done", **here, "part": part})
        for number, part in enumerate(item.get("content") or []):
            here = {**at, "content_index": number}
            steps += [{"type": "response.reasoning_text.delta", **here, "delta": piece}
                      for piece in cut(rng, part["text"])]
            steps.append({"type": "response.reasoning_text.done", **here, "text": part["text"]})
    elif kind in STREAMED:
        field, stem = STREAMED[kind]
        begin[field] = ""
        if item.get(field):
            # Some servers send the whole only in the last event.
            pieces = cut(rng, item[field]) if rng.random() < 0.8 else []
            steps += [{"type": stem + ".delta", **at, "delta": piece} for piece in pieces]
            done = {"type": stem + ".done", **at, DONE_FIELD[kind]: item[field]}
            if kind == "function_call":
                done["name"] = item["name"]
            steps.append(done)
    elif kind == "shell_call":
        commands = item["action"].get("commands") or []
        begin["action"] = {**item["action"], "commands": []}
        for number, command in enumerate(commands):
            here = {**at, "command_index": number}
            steps.append({"type": "response.shell_call_command.added", **here, "command": ""})
            steps += [{"type": "response.shell_call_command.delta", **here, "delta": piece}
                      for piece in cut(rng, command)]
            steps.append({"type": "response.shell_call_command.done", **here, "command": command})
    if rng.random() < 0.5 and OTHER_EVENTS:
        cls = OTHER_EVENTS[g.turn("responses event", len(OTHER_EVENTS))]
        other = g.model(cls)
        for name in ("output_index", "item_id"):
            if name in other:
                other[name] = at[name]
        if "content_index" in other:
            other["content_index"] = 0
        steps.insert(rng.randint(0, len(steps)), other)
    return ([{"type": "response.output_item.added", "output_index": index, "item": begin}] + steps
            + [{"type": "response.output_item.done", "output_index": index, "item": item}])


def streamed(g):
    rng = g.random
    status = rng.choice(["completed"] * 4 + ["incomplete", "failed"])
    body = response_of(g, status)
    begun = {**body, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None, "error": None}
    sequences = [item_events(g, index, item) for index, item in enumerate(body["output"])]
    middle = interleaved(rng, sequences) if rng.random() < 0.3 else [step for steps in sequences for step in steps]
    last = dict(body)
    if status == "completed" and rng.random() < 0.2:
        last["output"] = []  # Some servers leave it to the events before.
    steps = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    steps += middle + [{"type": "response." + status, "response": last}]
    for number, step in enumerate(steps):
        step["sequence_number"] = number
        for cls in EVENTS:
            if kind_of_event(cls) == step["type"]:
                g.seen[type_name(cls)] += 1
    exchange = Exchange("openai.responses", "openai.types.responses.ResponseStreamEvent", PATH,
                        events(steps, names=rng.random() < 0.8),
                        request={"model": "asked-for", "input": "q", "stream": True})
    final = construct_type(type_=Response, value=body)
    if status == "completed" and last["output"]:
        state = ResponseStreamState(text_format=__import__("openai").omit, input_tools=__import__("openai").omit)
        try:
            for step in steps:
                state.handle_event(construct_type(type_=ResponseStreamEvent, value=step))
            final = state._completed_response or final
        except (RuntimeError, AssertionError, AttributeError, IndexError, ValueError, TypeError):
            pass  # Orders that the SDK itself refuses: the final response is the result.
    return read(exchange, final)


def error(g):
    """A stream that an error event ends."""
    body = response_of(g, "completed")
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    code, message = g.word("code_"), g.text()
    steps = [{"type": "response.created", "response": begun, "sequence_number": 0},
             {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 1}]
    exchange = Exchange("openai.responses", "openai.types.responses.ResponseErrorEvent", PATH, events(steps, True))
    exchange.fact("response_model", body["model"])
    exchange.failed(code, message)
    return exchange


MAKERS = [(whole, 4), (streamed, 6), (error, 1)]
