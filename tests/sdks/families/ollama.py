"""Ollama: chat, generate, embed."""

import json

import ollama

from exchange import Exchange, cut, document, lines


def end_of(g, body):
    body.update(done=True, done_reason=g.random.choice(["stop", "length"]),
                prompt_eval_count=g.random.randint(1, 999), eval_count=g.random.randint(1, 999))
    return body


def read(exchange, parts):
    last = parts[-1]
    owner = "ollama.BaseGenerateResponse"
    exchange.fact("response_model", last.model)
    exchange.usage(owner, input=last.prompt_eval_count, output=last.eval_count)
    exchange.fact("finish_reasons", [last.done_reason], owner)
    exchange.fact("status", "completed")
    return exchange


def chat(g, is_stream):
    text, thinking = g.text(), g.text() if g.random.random() < 0.4 else None
    calls = [{"function": {"name": g.word("tool_"), "arguments": {"a": g.word("v")}}}
             for _ in range(g.random.choice([0, 0, 1, 2]))]
    head = {"model": g.word("llama-"), "created_at": "2026-11-01T12:00:00Z"}
    bodies = []
    if is_stream:
        bodies += [{**head, "message": {"role": "assistant", "content": "", "thinking": piece}, "done": False}
                   for piece in (cut(g.random, thinking) if thinking else [])]
        bodies += [{**head, "message": {"role": "assistant", "content": piece}, "done": False}
                   for piece in cut(g.random, text)]
        bodies += [{**head, "message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False}
                   for call in calls]
        bodies.append(end_of(g, {**head, "message": {"role": "assistant", "content": ""}}))
    else:
        message = {"role": "assistant", "content": text, "tool_calls": calls}
        if thinking:
            message["thinking"] = thinking
        bodies.append(end_of(g, {**head, "message": message}))
    exchange = Exchange("ollama.chat", "ollama.ChatResponse" + (" (stream)" if is_stream else ""), "/api/chat",
                        lines(bodies) if is_stream else document(bodies[0]),
                        request={"model": "asked-for", "messages": [], "stream": is_stream})
    parts = [ollama.ChatResponse.model_validate(body) for body in bodies]
    g.seen["ollama.ChatResponse"] += len(parts)
    exchange.text("".join(part.message.content or "" for part in parts), "ollama.Message")
    exchange.text("".join(part.message.thinking or "" for part in parts), "ollama.Message")
    for part in parts:
        for call in part.message.tool_calls or []:
            exchange.call(None, call.function.name, json.dumps(call.function.arguments), "ollama.Message.ToolCall")
    return read(exchange, parts)


def generate(g, is_stream):
    text = g.text()
    head = {"model": g.word("llama-"), "created_at": "2026-11-01T12:00:00Z"}
    bodies = [{**head, "response": piece, "done": False} for piece in cut(g.random, text)] if is_stream else []
    bodies.append(end_of(g, {**head, "response": "" if is_stream else text, "context": [1, 2]}))
    exchange = Exchange("ollama.generate", "ollama.GenerateResponse" + (" (stream)" if is_stream else ""),
                        "/api/generate", lines(bodies) if is_stream else document(bodies[0]),
                        request={"model": "asked-for", "prompt": "q", "stream": is_stream})
    parts = [ollama.GenerateResponse.model_validate(body) for body in bodies]
    g.seen["ollama.GenerateResponse"] += len(parts)
    exchange.text("".join(part.response or "" for part in parts))
    return read(exchange, parts)


def embed(g):
    body = {"model": g.word("embed-"), "embeddings": [[0.1, 0.2]], "prompt_eval_count": g.random.randint(1, 99)}
    exchange = Exchange("ollama.embed", "ollama.EmbedResponse", "/api/embed", document(body),
                        request={"model": "asked-for", "input": "q"})
    answer = ollama.EmbedResponse.model_validate(body)
    exchange.fact("response_model", answer.model)
    exchange.usage(input=answer.prompt_eval_count)
    return exchange


def error(g):
    body = {"error": g.text()}
    exchange = Exchange("ollama.chat", "ollama.ResponseError", "/api/chat", document(body), status=404)
    exchange.failed(None, body["error"])
    return exchange


MAKERS = [(lambda g: chat(g, False), 1), (lambda g: chat(g, True), 1), (lambda g: generate(g, False), 1),
          (lambda g: generate(g, True), 1), (embed, 0.5), (error, 0.3)]
