"""Cohere v2 chat. Where billed and counted tokens differ, the billed ones are what was used."""

import cohere
from cohere.v2.types import V2ChatResponse

from exchange import Exchange, cut, document, events

PATH = "/v2/chat"
REASONS = {"COMPLETE", "STOP_SEQUENCE", "MAX_TOKENS", "TOOL_CALL"}


def usage_of(g):
    usage = g.model(cohere.Usage)
    usage["cached_tokens"] = 0
    for part in ("billed_units", "tokens"):
        if part in usage:
            usage[part] = {name: value for name, value in usage[part].items() if value is not None}
            usage[part].update(input_tokens=g.random.randint(1, 999), output_tokens=g.random.randint(1, 999))
    inputs = [usage[part]["input_tokens"] for part in ("billed_units", "tokens") if part in usage]
    usage["cached_tokens"] = g.random.randint(0, min(inputs) // 2) if inputs else 0
    return usage


def calls_of(g):
    return [{"id": g.word("call_"), "type": "function",
             "function": {"name": g.word("tool_"), "arguments": '{"a": "%s"}' % g.word("v")}}
            for _ in range(g.random.choice([0, 0, 1, 2]))]


def read_usage(exchange, usage):
    if not usage or not (usage.billed_units or usage.tokens):
        exchange.absent("input_tokens", "output_tokens")
        return
    counts = usage.billed_units or usage.tokens
    exchange.usage("cohere.Usage", input=counts.input_tokens, output=counts.output_tokens,
                   cache_read=usage.cached_tokens)


def whole(g):
    body = g.model(V2ChatResponse)
    calls = calls_of(g)
    content = [{"type": "text", "text": g.text()}]
    if g.random.random() < 0.4:
        content.insert(0, {"type": "thinking", "thinking": g.text()})
    message = {"role": "assistant", "content": content, "tool_calls": calls}
    if calls and g.random.random() < 0.5:
        message["tool_plan"] = g.text()
    body["message"] = message
    if "usage" in body:
        body["usage"] = usage_of(g)
    exchange = Exchange("cohere.chat", "cohere.v2.V2ChatResponse", PATH, document(body),
                        request={"model": "asked-for", "messages": []})
    answer = V2ChatResponse.model_validate(body)
    exchange.fact("response_id", answer.id)
    exchange.fact("finish_reasons", [answer.finish_reason])
    read_usage(exchange, answer.usage)
    exchange.text(answer.message.tool_plan)
    for part in answer.message.content:
        exchange.text(getattr(part, "text", None) or getattr(part, "thinking", None))
    for call in answer.message.tool_calls or []:
        exchange.call(call.id, call.function.name, call.function.arguments, "cohere.ToolCallV2")
    return exchange


def streamed(g):
    rng = g.random
    text, plan, calls = g.text(), g.text() if rng.random() < 0.3 else None, calls_of(g)
    steps = [{"type": "message-start", "id": g.word("id-"), "delta": {"message": {
        "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}}]
    if plan:
        steps += [{"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}} for piece in cut(rng, plan)]
    index = 0
    if rng.random() < 0.3:
        thinking = g.text()
        steps.append({"type": "content-start", "index": 0, "delta": {"message": {"content": {
            "type": "thinking", "thinking": ""}}}})
        steps += [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": piece}}}}
                  for piece in cut(rng, thinking)]
        steps.append({"type": "content-end", "index": 0})
        index = 1
    else:
        thinking = None
    steps.append({"type": "content-start", "index": index, "delta": {"message": {"content": {
        "type": "text", "text": ""}}}})
    steps += [{"type": "content-delta", "index": index, "delta": {"message": {"content": {"text": piece}}}}
              for piece in cut(rng, text)]
    steps.append({"type": "content-end", "index": index})
    for number, call in enumerate(calls):
        begin = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
        steps.append({"type": "tool-call-start", "index": number, "delta": {"message": {"tool_calls": begin}}})
        steps += [{"type": "tool-call-delta", "index": number, "delta": {"message": {"tool_calls": {
            "function": {"arguments": piece}}}}} for piece in cut(rng, call["function"]["arguments"])]
        steps.append({"type": "tool-call-end", "index": number})
    reason, usage = rng.choice(sorted(REASONS)), usage_of(g)
    steps.append({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}})
    exchange = Exchange("cohere.chat", "cohere.v2.V2ChatStreamResponse", PATH, events(steps, names=rng.random() < 0.5),
                        request={"model": "asked-for", "messages": [], "stream": True})
    exchange.fact("response_id", steps[0]["id"])
    exchange.fact("finish_reasons", [reason])
    read_usage(exchange, cohere.Usage.model_validate(usage))
    for said in (text, plan, thinking):
        exchange.text(said)
    for call in calls:
        exchange.call(call["id"], call["function"]["name"], call["function"]["arguments"], "cohere.ToolCallV2")
    return exchange


def embed(g):
    body = {"id": g.word("id-"), "response_type": "embeddings_by_type", "embeddings": {"float": [[0.1]]},
            "texts": ["q"], "meta": {"api_version": {"version": "2"},
                                     "billed_units": {"input_tokens": g.random.randint(1, 99)}}}
    answer = cohere.EmbedByTypeResponse.model_validate(body)
    exchange = Exchange("cohere.embed", "cohere.EmbedByTypeResponse", "/v2/embed", document(body),
                        request={"model": "asked-for", "texts": ["q"]})
    exchange.usage("cohere.ApiMetaBilledUnits", input=answer.meta.billed_units.input_tokens)
    return exchange


def error(g):
    body = {"id": g.word("id-"), "message": g.text()}
    exchange = Exchange("cohere.chat", "cohere.errors.BadRequestError", PATH, document(body),
                        status=g.random.choice([400, 401, 429, 500]))
    exchange.failed(None, body["message"])
    return exchange


MAKERS = [(whole, 2), (streamed, 2), (embed, 0.5), (error, 0.3)]
