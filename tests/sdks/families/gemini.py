"""Gemini `generateContent`, whole and streamed (server-sent events and one array)."""

import json

from google.genai import types

from exchange import Exchange, document, dumps, events
from generate import type_name

MODEL = "/v1beta/models/gemini-3-pro:"


def usage_of(g):
    usage = g.model(types.GenerateContentResponseUsageMetadata)
    usage["cachedContentTokenCount"] = min(usage.get("cachedContentTokenCount", 0), usage.get("promptTokenCount", 0))
    counts = [usage.get(name, 0) for name in ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount",
                                              "thoughtsTokenCount")]
    usage["totalTokenCount"] = sum(counts)
    for name in list(usage):
        if name.endswith("Details"):
            del usage[name]
    for total, details in (("promptTokenCount", "promptTokensDetails"),
                           ("candidatesTokenCount", "candidatesTokensDetails")):
        if total in usage and g.random.random() < 0.5:
            usage[details] = [{"modality": "TEXT", "tokenCount": usage[total]}]
    return usage


PARTS = ["text", "thought", "functionCall", "executableCode", "codeExecutionResult", "inlineData", "toolCall",
         "functionResponse", "fileData", "audioTranscription"]


def part_of(g):
    kind = PARTS[g.turn("gemini part", len(PARTS))]
    if kind == "text":
        return {"text": g.text()}
    if kind == "thought":
        return {"text": g.text(), "thought": True}
    fields = {field.alias or name: field for name, field in types.Part.model_fields.items()}
    if kind not in fields:
        return {"text": g.text()}
    value = g.value(fields[kind].annotation, kind, ("part", kind), 3)
    if kind == "functionCall":
        value.setdefault("name", g.word("tool_"))
        for name in ("partialArgs", "willContinue"):
            value.pop(name, None)
        value["args"] = {"a": g.word("v")}
    return {kind: value}


def candidate_of(g, index):
    candidate = g.model(types.Candidate)
    candidate["index"] = index
    candidate["content"] = {"role": "model", "parts": [part_of(g) for _ in range(g.random.randint(1, 4))]}
    candidate["finishReason"] = g.random.choice(["STOP", "MAX_TOKENS", "SAFETY", "MALFORMED_FUNCTION_CALL"])
    return candidate


def read(exchange, responses):
    """The SDK has no accumulator: the last counts hold, parts are added up, as its own chat does."""
    last = responses[-1]
    exchange.fact("response_model", last.model_version)
    exchange.fact("response_id", last.response_id)
    usage = last.usage_metadata
    owner = "google.genai.types.GenerateContentResponseUsageMetadata"
    if usage:
        sent = [count for count in (usage.prompt_token_count, usage.tool_use_prompt_token_count) if count is not None]
        said = [count for count in (usage.candidates_token_count, usage.thoughts_token_count) if count is not None]
        exchange.usage(owner, input=sum(sent) if sent else None, output=sum(said) if said else None,
                       cache_read=usage.cached_content_token_count, reasoning=usage.thoughts_token_count)
    else:
        exchange.absent("input_tokens", "output_tokens")
    reasons = {}
    for response in responses:
        for candidate in response.candidates or []:
            if candidate.finish_reason:
                reasons[candidate.index or 0] = candidate.finish_reason.value
            for part in (candidate.content and candidate.content.parts) or []:
                read_part(exchange, part)
    exchange.fact("finish_reasons", [reasons[index] for index in sorted(reasons)])
    exchange.fact("status", "completed")
    return exchange


def read_part(exchange, part):
    if part.text:
        exchange.text(part.text, "google.genai.types.Part")
    elif part.function_call:
        call = part.function_call
        exchange.call(call.id or call.name, call.name, json.dumps(call.args), "google.genai.types.FunctionCall")
    elif part.tool_call:
        kind = part.tool_call.tool_type and part.tool_call.tool_type.value
        arguments = part.tool_call.args
        exchange.call(part.tool_call.id, kind, None if arguments is None else json.dumps(arguments),
                      "google.genai.types.ToolCall")
    elif part.executable_code:
        exchange.call(None, "code_execution", part.executable_code.code, "google.genai.types.ExecutableCode")
    elif getattr(part, "audio_transcription", None) and part.audio_transcription.text:
        exchange.text(part.audio_transcription.text, type_name(type(part.audio_transcription)))


def body_of(g):
    body = g.model(types.GenerateContentResponse)
    for name in ("sdkHttpResponse", "automaticFunctionCallingHistory", "parsed", "promptFeedback"):
        body.pop(name, None)
    body["modelVersion"] = g.word("gemini-")
    body["responseId"] = g.word("id-")
    body["usageMetadata"] = usage_of(g)
    return body


def whole(g):
    body = body_of(g)
    body["candidates"] = [candidate_of(g, index) for index in range(g.random.choice([1, 1, 2]))]
    exchange = Exchange("gemini.generate", "google.genai.types.GenerateContentResponse", MODEL + "generateContent",
                        document(body), request={"contents": []})
    return read(exchange, [types.GenerateContentResponse.model_validate(body)])


def streamed(g):
    head = body_of(g)
    final = head.pop("usageMetadata")
    bodies = []
    for _ in range(g.random.randint(1, 4)):
        body = {**head, "candidates": [candidate_of(g, 0)]}
        body["candidates"][0].pop("finishReason")
        if g.random.random() < 0.5:
            body["usageMetadata"] = {"promptTokenCount": final.get("promptTokenCount", 1)}
        bodies.append(body)
    bodies[-1]["candidates"][0]["finishReason"] = "STOP"
    bodies[-1]["usageMetadata"] = final
    array = g.random.random() < 0.4
    response = b"[" + b",\r\n".join(dumps(body) for body in bodies) + b"]" if array else events(bodies)
    exchange = Exchange("gemini.generate", "google.genai.types.GenerateContentResponse (stream)",
                        MODEL + "streamGenerateContent", response, request={"contents": []})
    return read(exchange, [types.GenerateContentResponse.model_validate(body) for body in bodies])


def error(g):
    body = {"error": {"code": g.random.choice([400, 403, 429, 500]), "message": g.text(),
                      "status": g.random.choice(["INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "INTERNAL"])}}
    exchange = Exchange("gemini.generate", "google.genai.errors.APIError", MODEL + "generateContent",
                        document(body), request={"contents": []}, status=body["error"]["code"])
    exchange.failed(body["error"]["status"], body["error"]["message"])
    return exchange


MAKERS = [(whole, 3), (streamed, 3), (error, 0.5)]
