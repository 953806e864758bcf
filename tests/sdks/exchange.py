"""One exchange, and what the SDK says of it."""

import json


class Exchange:
    """`kind`: the type that the response is an instance of. `facts`: who states it, its name, its value."""

    def __init__(self, family, kind, path, response, request=None, status=200, wire=None):
        self.family = family
        self.kind = kind
        self.path = path
        self.wire = wire
        self.request = request if request is not None else {"model": "asked-for"}
        self.response = response
        self.status = status
        self.facts = []

    def fact(self, name, value, owner=None):
        self.facts.append((owner or self.kind, name, value))
        return self

    def absent(self, *names):
        for name in names:
            self.fact(name, None)
        return self

    def text(self, text, owner=None):
        if text:
            self.fact("text", text, owner)

    def call(self, call_id, name, arguments, owner=None):
        """A tool call; what is None is not stated."""
        self.fact("call", (call_id, name, arguments), owner)

    def usage(self, owner=None, **counts):
        """Counts by our names. Totals include their parts."""
        names = {"input": "input_tokens", "output": "output_tokens", "cache_read": "cache_read_input_tokens",
                 "cache_write": "cache_write_input_tokens", "reasoning": "reasoning_output_tokens"}
        for name, value in counts.items():
            if value is not None:
                self.fact(names[name], int(value), owner)

    def failed(self, error_type, message=None, owner=None):
        self.fact("status", "failed", owner)
        if error_type:
            self.fact("error_type", error_type, owner)
        if message:
            self.fact("error_message", message, owner)


def dumps(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Body(bytes):
    """The bytes of one document, which knows its value."""

    value = None


def document(value):
    body = Body(dumps(value))
    body.value = value
    return body


def events(values, names=False, done=False):
    """Server-sent events, with their names if asked for."""
    out = []
    for value in values:
        if names:
            out.append(b"event: " + value["type"].encode() + b"\n")
        out.append(b"data: " + dumps(value) + b"\n\n")
    if done:
        out.append(b"data: [DONE]\n\n")
    return b"".join(out)


def lines(values):
    return b"".join(dumps(value) + b"\n" for value in values)


def cut(rng, text, pieces=4):
    """The text in a few pieces, none empty."""
    if len(text) < 2:
        return [text]
    places = sorted(rng.sample(range(1, len(text)), min(rng.randint(0, pieces), len(text) - 1)))
    return [text[a:b] for a, b in zip([0] + places, places + [len(text)])]


def interleaved(rng, sequences):
    """All items of all sequences, each sequence in its order."""
    sequences = [list(sequence) for sequence in sequences if sequence]
    out = []
    while sequences:
        sequence = rng.choice(sequences)
        out.append(sequence.pop(0))
        if not sequence:
            sequences.remove(sequence)
    return out
