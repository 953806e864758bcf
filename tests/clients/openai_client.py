"""Calls a running example gateway with the official `openai` package.

Checks every answer, and prints what was sent and received as a JSON list on standard output, for
check_trail.py to compare with the recorded trail. Exits with 1 and a message on a mismatch.

The gateway must stand in front of its built-in upstream, whose answers depend on the request alone.
"""

import argparse
import json
import os
import secrets
import sys
import urllib.error
import urllib.request

import openai

from expectations import Mismatch, expect

USER = "u-python"
CONVERSATION = "c-python"
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Calls:
    """The calls made so far; each gets a trace id of its own, by which it is found in the trail."""

    def __init__(self, client):
        self.client = client
        self.made = []

    def begin(self, kind, model, status, **more):
        """Notes a call that is about to be made; returns the note and the headers to send."""
        call = {
            "kind": kind,
            "model": model,
            "streamed": False,
            "expected_status": status,
            "http_status": 200,
            "trace_id": secrets.token_hex(16),
            "user_id": USER,
            "conversation_id": CONVERSATION,
            **more,
        }
        self.made.append(call)
        return call, {"traceparent": f"00-{call['trace_id']}-{secrets.token_hex(8)}-01"}


def sent(http_request):
    """The exact body of a request of the HTTP client beneath the package."""
    return http_request.content.decode()


def usage(usage):
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def plain(calls):
    call, headers = calls.begin("chat", "gpt-4o", "completed")
    raw = calls.client.chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "Grüße, 世界 👋"},
        ],
        temperature=0.25,
        max_tokens=64,
        extra_headers=headers,
    )
    answer = raw.parse()
    text = answer.choices[0].message.content
    expect("answer", text, "This is message 3. You said: Grüße, 世界 👋")
    call.update(
        answer=text,
        request_body=sent(raw.http_request),
        response_body=raw.content.decode(),
        response_id=answer.id,
        response_model=answer.model,
        finish_reasons=[answer.choices[0].finish_reason],
        temperature=0.25,
        max_tokens=64,
        usage=usage(answer.usage),
    )


def streamed(calls):
    call, headers = calls.begin("chat_stream", "gpt-4o", "completed", streamed=True)
    raw = calls.client.chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Count to 40"}],
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=headers,
    )
    text = ""
    for chunk in raw.parse():
        call.update(response_id=chunk.id, response_model=chunk.model)
        if chunk.usage:
            call["usage"] = usage(chunk.usage)
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.finish_reason:
                call["finish_reasons"] = [choice.finish_reason]
    expect("streamed answer", text, " ".join(str(n) for n in range(1, 41)))
    expect("usage is in the stream", "usage" in call, True)
    call.update(answer=text, request_body=sent(raw.http_request))


def tool_call(calls):
    messages = [{"role": "user", "content": "What is the weather in Lisbon?"}]
    call, headers = calls.begin("tool_call", "gpt-4o-mini", "completed", tool_call_count=1)
    raw = calls.client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=messages, tools=[WEATHER_TOOL], extra_headers=headers
    )
    answer = raw.parse()
    message = answer.choices[0].message
    asked = message.tool_calls[0]
    expect("tool", asked.function.name, "get_weather")
    expect("tool's input", json.loads(asked.function.arguments), {"city": "Lisbon"})
    call.update(
        answer="",
        request_body=sent(raw.http_request),
        response_body=raw.content.decode(),
        response_id=answer.id,
        response_model=answer.model,
        finish_reasons=["tool_calls"],
        usage=usage(answer.usage),
    )

    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": asked.id, "content": "24 °C, sunny"},
    ]
    call, headers = calls.begin("tool_result", "gpt-4o-mini", "completed", tool_call_count=0)
    raw = calls.client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini", messages=messages, tools=[WEATHER_TOOL], extra_headers=headers
    )
    answer = raw.parse()
    text = answer.choices[0].message.content
    expect("answer to the tool's result", text, "The tool says: 24 °C, sunny")
    call.update(
        answer=text,
        request_body=sent(raw.http_request),
        response_body=raw.content.decode(),
        response_id=answer.id,
        response_model=answer.model,
        finish_reasons=["stop"],
        usage=usage(answer.usage),
    )


def streamed_tool_call(calls):
    call, headers = calls.begin(
        "tool_call_stream", "gpt-4o", "completed", streamed=True, tool_call_count=1
    )
    raw = calls.client.chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "And the weather in Oslo?"}],
        tools=[WEATHER_TOOL],
        stream=True,
        extra_headers=headers,
    )
    arguments = ""
    for chunk in raw.parse():
        call.update(response_id=chunk.id, response_model=chunk.model)
        for piece in chunk.choices[0].delta.tool_calls or []:
            arguments += piece.function.arguments or ""
    expect("streamed tool's input", json.loads(arguments), {"city": "Oslo"})
    call.update(
        answer="", request_body=sent(raw.http_request), finish_reasons=["tool_calls"]
    )


def failure(calls, model, http_status, error, error_type):
    call, headers = calls.begin(
        "error", model, "failed", http_status=http_status, error_type=error_type
    )
    try:
        calls.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello?"}], extra_headers=headers
        )
    except error as raised:
        expect("error's status", raised.status_code, http_status)
        call.update(
            request_body=sent(raised.request),
            response_body=raised.response.content.decode(),
        )
    else:
        raise Mismatch(f"{model}: expected {error.__name__}, found an answer")


def broken_stream(calls):
    call, headers = calls.begin(
        "broken_stream",
        "broken-stream",
        "failed",
        streamed=True,
        error_type="upstream_broke_off",
        is_cut_off=True,
    )
    raw = calls.client.chat.completions.with_raw_response.create(
        model="broken-stream",
        messages=[{"role": "user", "content": "Will this ever end?"}],
        stream=True,
        extra_headers=headers,
    )
    call["request_body"] = sent(raw.http_request)
    chunks = 0
    try:
        for _ in raw.parse():
            chunks += 1
    except Exception as raised:  # Which one is a matter of the HTTP client's version.
        print(f"the broken stream raised {type(raised).__name__}", file=sys.stderr)
    else:
        raise Mismatch("broken stream: expected an error, found an end")
    expect("the broken stream's first chunks came", chunks > 0, True)


def hang_up(calls):
    call, headers = calls.begin(
        "hang_up", "gpt-4o-mini", "abandoned", streamed=True, http_status=200, is_cut_off=True
    )
    raw = calls.client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Count to 5000"}],
        stream=True,
        extra_headers=headers,
    )
    call["request_body"] = sent(raw.http_request)
    stream = raw.parse()
    for chunk in stream:
        call["response_model"] = chunk.model
        break
    stream.close()


def models(calls):
    call, headers = calls.begin("models", None, "completed")
    raw = calls.client.models.with_raw_response.list(extra_headers=headers)
    names = [model.id for model in raw.parse()]
    expect("models has gpt-4o", "gpt-4o" in names, True)
    call.update(response_body=raw.content.decode())


def embeddings(calls):
    model = "text-embedding-3-small"
    call, headers = calls.begin("embeddings", model, "completed")
    raw = calls.client.embeddings.with_raw_response.create(
        model=model, input=["one text", "another"], encoding_format="float", extra_headers=headers
    )
    answer = raw.parse()
    expect("embeddings", [len(item.embedding) for item in answer.data], [4, 4])
    call.update(
        request_body=sent(raw.http_request),
        response_body=raw.content.decode(),
        response_model=answer.model,
        usage={"input_tokens": answer.usage.prompt_tokens},
    )


def by_hand(calls, base_url, kind, body, status, http_status, key, **more):
    """A request that the package would not send."""
    call, headers = calls.begin(kind, None, status, http_status=http_status, **more)
    headers.update({
        "content-type": "application/json",
        "x-user-id": USER,
        "x-conversation-id": CONVERSATION,
    })
    if key:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        f"{base_url}/chat/completions", data=body.encode(), headers=headers
    )
    try:
        urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as raised:
        expect(f"{kind}: status", raised.code, http_status)
        call["response_body"] = raised.read().decode()
    else:
        raise Mismatch(f"{kind}: expected {http_status}, found an answer")
    return call


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True, help="ends in /v1")
    base_url = parser.parse_args().base_url.rstrip("/")
    key = os.environ["OPENAI_API_KEY"]
    client = openai.OpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=0,
        timeout=30,
        default_headers={"x-user-id": USER, "x-conversation-id": CONVERSATION},
    )
    calls = Calls(client)
    models(calls)
    plain(calls)
    streamed(calls)
    tool_call(calls)
    streamed_tool_call(calls)
    failure(calls, "error-429", 429, openai.RateLimitError, "rate_limit_exceeded")
    failure(calls, "error-500", 500, openai.InternalServerError, "server_error")
    failure(calls, "no-such-model", 404, openai.NotFoundError, "model_not_found")
    broken_stream(calls)
    hang_up(calls)
    embeddings(calls)
    body = '{"model":"gpt-4o","messages":[{"role":"user","content":"Hello?"}]}'
    by_hand(calls, base_url, "no_key", body, "rejected", 401, None, error_type="unauthorized")
    body = '{"model":"gpt-4o", this is no JSON'
    call = by_hand(calls, base_url, "no_json", body, "failed", 400, key, error_type="invalid_json")
    # What comes before the fault is read.
    call.update(request_body=body, read_model="gpt-4o")
    json.dump(calls.made, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    try:
        main()
    except (Mismatch, openai.OpenAIError, OSError) as error:
        sys.exit(f"openai_client: {type(error).__name__}: {error}")
