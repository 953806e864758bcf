"""Mistral: chat, fim and agents completions; conversations."""

import json

from mistralai.client import models

from exchange import Exchange, cut, document, events

OPENAI_LIKE = ["/v1/chat/completions", "/v1/fim/completions", "/v1/agents/completions"]


def usage_of(g, cls=models.UsageInfo):
    usage = g.model(cls)
    usage["prompt_tokens"] = g.random.randint(1, 999)
    usage["completion_tokens"] = g.random.randint(1, 999)
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    usage.pop("connector_tokens", None)
    return usage


def calls_of(g):
    return [{"id": g.word("call_"), "type": "function", "index": number,
             "function": {"name": g.word("tool_"), "arguments": '{"a": "%s"}' % g.word("v")}}
            for number in range(g.random.choice([0, 0, 1, 2]))]


def read_usage(exchange, usage):
    exchange.usage("mistralai.UsageInfo", input=usage.prompt_tokens, output=usage.completion_tokens)


def whole(g):
    path = OPENAI_LIKE[g.turn("mistral path", len(OPENAI_LIKE))]
    body = g.model(models.ChatCompletionResponse)
    body["usage"] = usage_of(g)
    for index, choice in enumerate(body["choices"]):
        content = g.text() if g.random.random() < 0.5 else [
            {"type": "thinking", "thinking": [{"type": "text", "text": g.text()}]}, {"type": "text", "text": g.text()}]
        choice["index"] = index
        choice["message"] = {"role": "assistant", "content": content, "tool_calls": calls_of(g)}
        choice.pop("messages", None)
        if g.random.random() < 0.2:  # The conversation that an agent led, in place of one message.
            choice["messages"] = [choice.pop("message")]
    exchange = Exchange("mistral.chat", "mistralai.ChatCompletionResponse", path, document(body),
                        request={"model": "asked-for", "messages": []})
    exchange.fact("response_model", body["model"])
    exchange.fact("response_id", body["id"])
    read_usage(exchange, models.UsageInfo.model_validate(body["usage"]))
    exchange.fact("finish_reasons", [choice["finish_reason"] for choice in body["choices"]])
    for choice in body["choices"]:
        message = choice.get("message") or choice["messages"][-1]
        parts = message["content"]
        for part in [parts] if isinstance(parts, str) else [parts[0]["thinking"][0]["text"], parts[1]["text"]]:
            exchange.text(part, "mistralai.AssistantMessage")
        for call in message["tool_calls"]:
            exchange.call(call["id"], call["function"]["name"], call["function"]["arguments"], "mistralai.ToolCall")
    return exchange


def streamed(g):
    rng = g.random
    path = OPENAI_LIKE[g.turn("mistral path", len(OPENAI_LIKE))]
    head = {"id": g.word("id-"), "object": "chat.completion.chunk", "created": 1, "model": g.word("mistral-")}
    text, calls, usage = g.text(), calls_of(g), usage_of(g)
    deltas = [{"role": "assistant", "content": ""}] + [{"content": piece} for piece in cut(rng, text)]
    deltas += [{"content": "", "tool_calls": [call]} for call in calls]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks[-1]["choices"][0]["finish_reason"] = "tool_calls" if calls else "stop"
    chunks[-1]["usage"] = usage
    for chunk in chunks:
        models.CompletionChunk.model_validate(chunk)
        g.seen["mistralai.CompletionChunk"] += 1
    exchange = Exchange("mistral.chat", "mistralai.CompletionChunk", path, events(chunks, done=True),
                        request={"model": "asked-for", "messages": [], "stream": True})
    exchange.fact("response_model", head["model"])
    exchange.fact("finish_reasons", ["tool_calls" if calls else "stop"])
    read_usage(exchange, models.UsageInfo.model_validate(usage))
    exchange.text(text)
    for call in calls:
        exchange.call(call["id"], call["function"]["name"], call["function"]["arguments"], "mistralai.ToolCall")
    return exchange


def entries_of(g):
    entries = []
    for _ in range(g.random.randint(1, 4)):
        kind = g.random.choice(["message.output", "function.call", "tool.execution", "agent.handoff"])
        entry = {"type": kind, "object": "entry", "id": g.word("id-"), "model": "mistral-large"}
        if kind == "message.output":
            entry.update(role="assistant", content=g.text() if g.random.random() < 0.5 else [
                {"type": "text", "text": g.text()}])
        elif kind == "function.call":
            entry.update(tool_call_id=g.word("call_"), name=g.word("tool_"), arguments='{"a": "%s"}' % g.word("v"))
        elif kind == "tool.execution":
            entry.update(name=g.random.choice(["web_search", "code_interpreter"]), arguments='{"q": "x"}')
        else:
            entry.update(previous_agent_id=g.word("id-"), previous_agent_name="a", next_agent_id=g.word("id-"),
                         next_agent_name="b")
        entries.append(entry)
    return entries


def read_entries(exchange, entries):
    for entry in entries:
        if entry["type"] == "message.output":
            content = entry["content"]
            exchange.text(content if isinstance(content, str) else content[0]["text"], "mistralai.MessageOutputEntry")
        elif entry["type"] == "function.call":
            exchange.call(entry["tool_call_id"], entry["name"], entry["arguments"], "mistralai.FunctionCallEntry")
        elif entry["type"] == "tool.execution":
            exchange.call(None, entry["name"], entry["arguments"], "mistralai.ToolExecutionEntry")


def conversation(g):
    entries, usage = entries_of(g), usage_of(g, models.ConversationUsageInfo)
    body = {"object": "conversation.response", "conversation_id": g.word("conv_"), "outputs": entries, "usage": usage}
    models.ConversationResponse.model_validate(body)
    g.seen["mistralai.ConversationResponse"] += 1
    exchange = Exchange("mistral.conversations", "mistralai.ConversationResponse", "/v1/conversations", document(body),
                        request={"model": "asked-for", "inputs": "q"})
    read_usage(exchange, models.UsageInfo.model_validate(usage))
    exchange.fact("response_id", body["conversation_id"])
    read_entries(exchange, entries)
    return exchange


def conversation_stream(g):
    rng = g.random
    usage, text = usage_of(g, models.ConversationUsageInfo), g.text()
    call = {"id": g.word("id-"), "tool_call_id": g.word("call_"), "name": g.word("tool_")}
    arguments = '{"a": "%s"}' % g.word("v")
    at = "2026-11-01T12:00:00Z"
    steps = [{"type": "conversation.response.started", "conversation_id": g.word("conv_"), "created_at": at}]
    steps += [{"type": "message.output.delta", "id": "m1", "output_index": 0, "content_index": 0, "role": "assistant",
               "model": "mistral-large", "content": piece, "created_at": at} for piece in cut(rng, text)]
    steps += [{"type": "function.call.delta", "output_index": 1, "arguments": piece, "created_at": at, **call}
              for piece in cut(rng, arguments)]
    steps.append({"type": "conversation.response.done", "usage": usage, "created_at": at})
    for step in steps:
        models.ConversationEvents.model_validate({"event": step["type"], "data": step})
        g.seen["mistralai.ConversationEvents"] += 1
    exchange = Exchange("mistral.conversations", "mistralai.ConversationEvents", "/v1/conversations",
                        events(steps, names=True), request={"model": "asked-for", "inputs": "q", "stream": True})
    exchange.fact("response_id", steps[0]["conversation_id"])
    exchange.fact("status", "completed")
    read_usage(exchange, models.UsageInfo.model_validate(usage))
    exchange.text(text)
    exchange.call(call["tool_call_id"], call["name"], arguments, "mistralai.FunctionCallEvent")
    return exchange


MAKERS = [(whole, 2), (streamed, 2), (conversation, 1), (conversation_stream, 1)]
