"""Streams and sessions that are no chats: interactions, realtime sessions, images and transcripts, batches."""

import json

from google.genai import interactions
from openai.types import Batch, ImagesResponse
from openai.types.audio import Transcription, TranscriptionTextDoneEvent
from openai.types.image_gen_completed_event import ImageGenCompletedEvent
from openai.types.realtime.realtime_response_usage import RealtimeResponseUsage

from exchange import Exchange, cut, document, events, lines


def interaction_usage(g):
    usage = {"total_input_tokens": g.random.randint(1, 999), "total_output_tokens": g.random.randint(1, 999),
             "total_thought_tokens": g.random.randint(0, 99)}
    usage["total_tokens"] = sum(usage.values())
    interactions.Usage.model_validate(usage)
    return usage


def steps_of(g):
    steps = [{"type": "thought", "summary": [{"type": "text", "text": g.text()}]},
             {"type": "model_output", "content": [{"type": "text", "text": g.text()}]},
             {"type": "function_call", "id": g.word("call_"), "name": g.word("tool_"),
              "arguments": {"a": g.word("v")}},
             {"type": "google_search_call", "id": g.word("call_"), "arguments": {"queries": [g.word("q")]}},
             {"type": "mcp_server_tool_call", "id": g.word("call_"), "name": g.word("tool_"), "server_name": "s",
              "arguments": {"a": g.word("v")}}]
    return g.random.sample(steps, g.random.randint(1, len(steps)))


def read_interaction(exchange, body, steps):
    said = interactions.Interaction.model_validate({**body, "steps": steps})
    usage = said.usage
    owner = "google.genai.interactions.Usage"
    exchange.fact("response_model", body["model"])
    exchange.fact("response_id", said.id)
    exchange.fact("finish_reasons", [body["status"]])
    exchange.fact("status", "completed")
    exchange.usage(owner, input=usage.total_input_tokens,
                   output=usage.total_output_tokens + usage.total_thought_tokens, reasoning=usage.total_thought_tokens)
    for step in steps:
        owner = "google.genai.interactions." + step["type"]
        for block in step.get("summary") or step.get("content") or []:
            exchange.text(block["text"], owner)
        if step["type"].endswith("_call"):
            exchange.call(step["id"], step.get("name"), json.dumps(step["arguments"]), owner)
    return exchange


def interaction(g):
    steps = steps_of(g)
    body = {"id": g.word("id-"), "model": g.word("gemini-"), "status": g.random.choice(["completed", "requires_action"]),
            "usage": interaction_usage(g)}
    if g.random.random() < 0.5:
        exchange = Exchange("gemini.interactions", "google.genai.interactions.Interaction", "/v1beta/interactions",
                            document({**body, "steps": steps}), request={"model": "asked-for", "input": "q"})
        return read_interaction(exchange, body, steps)
    out = [{"event_type": "interaction.created", "interaction": {"id": body["id"], "model": body["model"],
                                                                 "status": "in_progress"}}]
    for index, step in enumerate(steps):
        begin = {**step, "content": [], "summary": []} if "arguments" not in step else dict(step)
        deltas = []
        if step["type"] == "model_output":
            deltas = [{"type": "text", "text": piece} for piece in cut(g.random, step["content"][0]["text"])]
        elif step["type"] == "thought":
            deltas = [{"type": "thought_summary", "content": block} for block in step["summary"]]
        elif step["type"] == "function_call":
            begin["arguments"] = {}
            deltas = [{"type": "arguments_delta", "arguments": piece}
                      for piece in cut(g.random, json.dumps(step["arguments"]))]
        begin = {name: value for name, value in begin.items() if value != []}
        out.append({"event_type": "step.start", "index": index, "step": begin})
        out += [{"event_type": "step.delta", "index": index, "delta": delta} for delta in deltas]
        out.append({"event_type": "step.stop", "index": index})
    out.append({"event_type": "interaction.completed", "interaction": body})
    exchange = Exchange("gemini.interactions", "google.genai.interactions.InteractionSSEEvent", "/v1beta/interactions",
                        events(out), request={"model": "asked-for", "input": "q", "stream": True})
    return read_interaction(exchange, body, steps)


def realtime(g):
    model, frames, input_tokens, output_tokens = g.word("gpt-realtime-"), [], 0, 0
    frames.append({"type": "session.created", "event_id": "e", "session": {"type": "realtime", "id": g.word("id-"),
                                                                          "model": model}})
    facts = []
    for _ in range(g.random.randint(1, 3)):
        usage = {"input_tokens": g.random.randint(1, 99), "output_tokens": g.random.randint(1, 99)}
        RealtimeResponseUsage.model_validate(usage)
        input_tokens += usage["input_tokens"]
        output_tokens += usage["output_tokens"]
        text, call = g.text(), {"type": "function_call", "id": g.word("id-"), "call_id": g.word("call_"),
                                "name": g.word("tool_"), "arguments": '{"a": "%s"}' % g.word("v")}
        items = [{"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": text}]}]
        facts.append(("text", text))
        if g.random.random() < 0.5:
            items.append(call)
            facts.append(("call", call))
        frames.append({"type": "response.done", "event_id": "e", "response": {
            "id": g.word("id-"), "object": "realtime.response", "status": "completed", "output": items,
            "usage": usage}})
    exchange = Exchange("openai.realtime", "openai.types.realtime.ResponseDoneEvent", "/v1/realtime", lines(frames))
    exchange.fact("response_model", model)
    exchange.fact("status", "completed")
    exchange.usage("openai.types.realtime.RealtimeResponseUsage", input=input_tokens, output=output_tokens)
    for name, value in facts:
        if name == "text":
            exchange.text(value)
        else:
            exchange.call(value["call_id"], value["name"], value["arguments"],
                          "openai.types.realtime.RealtimeConversationItemFunctionCall")
    return exchange


def media(g):
    kind = g.turn("media", 4)
    if kind == 0:
        body = g.model(Transcription)
        exchange = Exchange("openai.media", "openai.types.audio.Transcription", "/v1/audio/transcriptions",
                            document(body))
        said = Transcription.model_validate(body)
        exchange.text(said.text)
        usage = said.usage
        if usage and usage.type == "tokens":
            exchange.usage(input=usage.input_tokens, output=usage.output_tokens)
        return exchange
    if kind == 1:
        last = g.model(TranscriptionTextDoneEvent)
        out = [{"type": "transcript.text.delta", "delta": piece} for piece in cut(g.random, last["text"])] + [last]
        exchange = Exchange("openai.media", "openai.types.audio.TranscriptionStreamEvent", "/v1/audio/transcriptions",
                            events(out, names=True))
        exchange.text(last["text"])
        usage = last.get("usage")
    elif kind == 2:
        last = g.model(ImageGenCompletedEvent)
        exchange = Exchange("openai.media", "openai.types.ImageGenCompletedEvent", "/v1/images/generations",
                            events([last], names=True))
        usage = last["usage"]
    else:
        body = g.model(ImagesResponse)
        exchange = Exchange("openai.media", "openai.types.ImagesResponse", "/v1/images/generations", document(body))
        usage = body.get("usage")
    exchange.fact("status", "completed")
    if usage:
        exchange.usage(input=usage["input_tokens"], output=usage["output_tokens"])
    return exchange


def batch(g):
    body = g.model(Batch)
    body["errors"] = None
    exchange = Exchange("batches", "openai.types.Batch", "/v1/batches/" + g.word("batch_"), document(body))
    exchange.fact("response_id", body["id"])
    exchange.fact("status", "completed")
    # A look at a batch uses nothing.
    return exchange.absent("input_tokens", "output_tokens")


MAKERS = [(interaction, 1), (realtime, 1), (media, 1), (batch, 0.3)]
