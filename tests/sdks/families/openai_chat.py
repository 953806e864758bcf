"""OpenAI chat completions; the stream's result is what the SDK's `ChatCompletionStreamState` makes of it."""

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion_usage import CompletionUsage

from exchange import Exchange, cut, document, events, interleaved

PATH = "/v1/chat/completions"


def usage_of(g, cls=CompletionUsage):
    """Counts that agree with each other: parts are within their totals."""
    usage = g.model(cls)
    split(g, usage, "prompt_tokens", "prompt_tokens_details")
    split(g, usage, "completion_tokens", "completion_tokens_details")
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    return usage


def split(g, usage, total, details):
    """Makes each part of a total a part of it."""
    parts = usage.get(details)
    if not parts:
        return
    count = usage.setdefault(total, 0)
    for name in list(parts):
        if isinstance(parts[name], int):
            parts[name] = g.random.randint(0, max(0, count // max(1, len(parts))))


def read_usage(exchange, usage):
    if usage is None:
        exchange.absent("input_tokens", "output_tokens")
        return
    sent, said = usage.prompt_tokens_details, usage.completion_tokens_details
    owner = "openai.types.CompletionUsage"
    exchange.usage(owner, input=usage.prompt_tokens, output=usage.completion_tokens,
                   cache_read=sent and sent.cached_tokens, cache_write=sent and sent.cache_write_tokens,
                   reasoning=said and said.reasoning_tokens)


def read(exchange, completion):
    exchange.fact("response_model", completion.model)
    exchange.fact("response_id", completion.id)
    read_usage(exchange, completion.usage)
    reasons = [choice.finish_reason for choice in completion.choices if choice.finish_reason]
    exchange.fact("finish_reasons", reasons)
    for choice in completion.choices:
        message = choice.message
        owner = "openai.types.chat.ChatCompletionMessage"
        exchange.text(message.content, owner)
        exchange.text(message.refusal, owner)
        if message.audio:
            exchange.text(message.audio.transcript, "openai.types.chat.ChatCompletionAudio")
        for call in message.tool_calls or []:
            if call.type == "function":
                exchange.call(call.id, call.function.name, call.function.arguments,
                              "openai.types.chat.ChatCompletionMessageFunctionToolCall")
            else:
                exchange.call(call.id, call.custom.name, call.custom.input,
                              "openai.types.chat.ChatCompletionMessageCustomToolCall")
        if message.function_call:
            exchange.call(None, message.function_call.name, message.function_call.arguments,
                          "openai.types.chat.FunctionCall")
    return exchange


def whole(g):
    body = g.model(ChatCompletion)
    for index, choice in enumerate(body["choices"]):
        choice["index"] = index
    if "usage" in body:
        body["usage"] = usage_of(g)
    exchange = Exchange("openai.chat", "openai.types.chat.ChatCompletion", PATH, document(body))
    return read(exchange, ChatCompletion.model_validate(body))


def streamed(g):
    """A whole completion, cut into chunks; the chunks' other fields are the generator's."""
    rng = g.random
    head = g.model(ChatCompletionChunk, choices=[], usage=None)
    count = rng.choice([1, 1, 1, 2, 3])
    sequences = []
    for index in range(count):
        deltas = [{"role": "assistant", "content": ""}]
        if g.random.random() < 0.7:
            deltas += [{"content": piece} for piece in cut(rng, g.text())]
        if g.random.random() < 0.2:
            deltas += [{"refusal": piece} for piece in cut(rng, g.text())]
        calls = []
        for number in range(rng.choice([0, 0, 1, 2, 3])):
            begin = {"index": number, "id": g.word("call_"), "type": "function",
                     "function": {"name": g.word("tool_"), "arguments": ""}}
            pieces = [{"index": number, "function": {"arguments": piece}}
                      for piece in cut(rng, '{"x": "%s"}' % g.word("v"))]
            calls.append([{"tool_calls": [call]} for call in [begin] + pieces])
        if rng.random() < 0.3:
            # Every call begins in its turn; the pieces come in any order.
            deltas += [call[0] for call in calls] + interleaved(rng, [call[1:] for call in calls])
        else:
            deltas += [delta for call in calls for delta in call]
        reason = rng.choice(["stop", "length", "tool_calls", "content_filter"])
        chunks = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
        chunks.append({"index": index, "delta": {}, "finish_reason": reason})
        sequences.append(chunks)
    # The SDK wants the choices to begin in order.
    order = [choices[0] for choices in sequences] + interleaved(rng, [choices[1:] for choices in sequences])
    chunks = [{**head, "choices": [choice]} for choice in order]
    if rng.random() < 0.8:
        chunks.append({**head, "choices": [], "usage": usage_of(g)})
    g.seen["openai.types.chat.ChatCompletionChunk"] += 1
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    exchange = Exchange("openai.chat", "openai.types.chat.ChatCompletionChunk", PATH,
                        events(chunks, done=rng.random() < 0.9),
                        request={"model": "asked-for", "messages": [], "stream": True})
    return read(exchange, state.current_completion_snapshot)


def error(g):
    """`ErrorObject`, as any OpenAI API has it."""
    body = {"error": {"message": g.text(), "type": g.word("kind_"), "param": None,
                      "code": g.random.choice([None, g.word("code_")])}}
    exchange = Exchange("openai.chat", "openai.types.shared.ErrorObject", PATH, document(body),
                        status=g.random.choice([400, 401, 404, 429, 500, 503]))
    exchange.failed(body["error"]["code"] or body["error"]["type"], body["error"]["message"])
    return exchange


MAKERS = [(whole, 4), (streamed, 4), (error, 1)]
