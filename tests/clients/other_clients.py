"""Calls a running example gateway with the official `anthropic` and `google-genai` packages.

As openai_client.py: checks every answer and prints what was sent and received, for check_trail.py.
"""

import argparse
import json
import os
import secrets
import sys

import anthropic
from google import genai
from google.genai import errors, types

from expectations import Mismatch, expect

USER = "u-python"
CONVERSATION = "c-python"
CLAUDE = "claude-sonnet-4-5"
GEMINI = "gemini-2.5-pro"
WORDS = {False: "".join(f"{n} " for n in range(1, 9)), True: "".join(f"{n} " for n in range(1, 201))}


class Calls:
    """The calls made so far; each has a trace id of its own, by which it is found in the trail."""

    def __init__(self):
        self.made = []

    def begin(self, kind, provider, model, status="completed", **more):
        call = {
            "kind": kind,
            "provider_name": provider,
            "model": model,
            "streamed": False,
            "expected_status": status,
            "http_status": 200,
            "trace_id": secrets.token_hex(16),
            "user_id": USER,
            "conversation_id": CONVERSATION,
            "response_model": model,
            **more,
        }
        self.made.append(call)
        headers = {
            "x-user-id": USER,
            "x-conversation-id": CONVERSATION,
            "traceparent": f"00-{call['trace_id']}-{secrets.token_hex(8)}-01",
        }
        return call, headers


def claude_usage(usage):
    """The trail counts cached tokens as part of the input, Anthropic beside it."""
    cached = usage.cache_read_input_tokens or 0
    return {
        "input_tokens": usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
    }


def claude(calls, base_url, key):
    client = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0, timeout=30)
    tool = {
        "name": "get_weather",
        "description": "The weather in a city, now",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }

    def ask(text):
        return {"model": CLAUDE, "max_tokens": 64, "messages": [{"role": "user", "content": text}]}

    call, headers = calls.begin("claude", "anthropic", CLAUDE, max_tokens=64)
    raw = client.messages.with_raw_response.create(**ask("Hello?"), extra_headers=headers)
    message = raw.parse()
    expect("claude's answer", message.content[0].text, WORDS[False])
    call.update(
        response_id=message.id,
        finish_reasons=[message.stop_reason],
        usage=claude_usage(message.usage),
        request_body=raw.http_request.content.decode(),
        response_body=raw.content.decode(),
    )

    call, headers = calls.begin("claude_tool", "anthropic", CLAUDE, streamed=True, tool_call_count=1)
    question = ask("What is the weather in Paris?")
    with client.messages.stream(**question, tools=[tool], extra_headers=headers) as stream:
        for _ in stream:
            pass
        message = stream.get_final_message()
    expect("claude's tool", message.content[1].input, {"city": "Paris"})
    call.update(
        response_id=message.id,
        finish_reasons=["tool_use"],
        usage=claude_usage(message.usage),
        tool_calls=[{"tool_call_id": "toolu_1", "tool_name": "get_weather", "input": '{"city":"Paris"}'}],
    )

    call, headers = calls.begin("claude_hang_up", "anthropic", CLAUDE, "abandoned", streamed=True)
    with client.messages.stream(**ask("Count, please"), extra_headers=headers) as stream:
        for event in stream:
            if event.type == "text":
                break
    call.update(is_cut_off=True)

    for status, error, kind in [
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (529, anthropic.APIStatusError, "overloaded_error"),
    ]:
        model = f"error-{status}"
        call, headers = calls.begin(
            "claude_error", "anthropic", model, "failed", http_status=status, error_type=kind
        )
        del call["response_model"]
        try:
            client.messages.create(**{**ask("Hello?"), "model": model}, extra_headers=headers)
        except error as raised:
            call.update(response_body=raised.response.content.decode())
        else:
            raise Mismatch(f"{model}: expected {error.__name__}, found an answer")


def gemini_usage(usage):
    return {"input_tokens": usage.prompt_token_count, "output_tokens": usage.candidates_token_count}


def gemini(calls, base_url, key):
    clients = []

    def client(headers):
        options = types.HttpOptions(base_url=base_url, headers=headers, timeout=30_000)
        made = genai.Client(api_key=key, vertexai=False, http_options=options)
        clients.append(made)  # One that nobody holds closes itself, in the middle of a stream too.
        return made

    call, headers = calls.begin("gemini", "gcp.gemini", GEMINI, max_tokens=64)
    config = types.GenerateContentConfig(max_output_tokens=64)
    answer = client(headers).models.generate_content(model=GEMINI, contents="Hello?", config=config)
    expect("gemini's answer", answer.text, WORDS[False])
    call.update(response_id="resp-1", finish_reasons=["STOP"], usage=gemini_usage(answer.usage_metadata))

    call, headers = calls.begin("gemini_tool", "gcp.gemini", GEMINI, streamed=True, tool_call_count=1)
    weather = types.FunctionDeclaration(
        name="get_weather",
        parameters={"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
    )
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[weather])])
    asked, usage = None, None
    stream = client(headers).models.generate_content_stream(
        model=GEMINI, contents="What is the weather in Paris?", config=config
    )
    for chunk in stream:
        asked = chunk.function_calls or asked
        usage = chunk.usage_metadata
    expect("gemini's tool", dict(asked[0].args), {"city": "Paris"})
    call.update(
        finish_reasons=["STOP"],
        usage=gemini_usage(usage),
        tool_calls=[{"tool_name": "get_weather", "input": '{"city":"Paris"}'}],
    )

    call, headers = calls.begin("gemini_broken", "gcp.gemini", "broken-stream", "failed", streamed=True)
    call.update(error_type="upstream_broke_off", is_cut_off=True)
    try:
        for _ in client(headers).models.generate_content_stream(
            model="broken-stream", contents="Will this ever end?"
        ):
            pass
    except Exception as raised:  # Which one is a matter of the HTTP client beneath.
        print(f"the broken stream raised {type(raised).__name__}", file=sys.stderr)
    else:
        raise Mismatch("broken stream: expected an error, found an end")

    call, headers = calls.begin(
        "gemini_error", "gcp.gemini", "error-429", "failed",
        http_status=429, error_type="RESOURCE_EXHAUSTED",
    )
    del call["response_model"]
    try:
        client(headers).models.generate_content(model="error-429", contents="Hello?")
    except errors.ClientError as raised:
        expect("gemini's status", raised.code, 429)
    else:
        raise Mismatch("error-429: expected an error, found an answer")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True, help="without a path")
    base_url = parser.parse_args().base_url.rstrip("/")
    key = os.environ["OPENAI_API_KEY"]
    calls = Calls()
    claude(calls, base_url, key)
    gemini(calls, base_url, key)
    json.dump(calls.made, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    try:
        main()
    except (Mismatch, anthropic.AnthropicError, errors.APIError, OSError) as error:
        sys.exit(f"other_clients: {type(error).__name__}: {error}")
