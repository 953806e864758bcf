"""Which fields of the SDKs' types are not read: those whose value changes nothing that is exported.

Takes whole responses, changes one field at a time, records both, and compares the rows. Only fields that can matter are
asked about: all of usage types, and of other types what states a model, an amount, a call, an end or an error.
"""

import copy
import re

import compare
from exchange import Exchange, dumps
from generate import Instance, type_name

TRIALS = 8
USAGE = re.compile(r"Usage|Tokens|TokenCount|BilledUnits|IterationUsage|CacheCreation")
MATTERS = re.compile(r"^(model|modelVersion|.*_model)$|tier|speed|geo$|region|tokens?$|TokenCount$|tool_calls|arguments"
                     r"|^args$|^input$|^action|^queries$|^code$|^operation$|finish|^stop_|stopReason|^error$|refusal"
                     r"|_tool_use$|^category$|^namespace$|toolset|call_id$|partialArgs|transcript|traffic", re.I)
# Of a row, what follows from the bytes and the time alone.
OF_BYTES = {"opened_seq", "ended_seq", "request_id", "opened_at", "opened_at_iso", "response_bytes", "latency_us",
            "request_bytes"}


def places(value, path=()):
    """(type, field, path) of every field of every instance within."""
    if isinstance(value, Instance):
        for name in value:
            yield value.cls, name, path + (name,)
    if isinstance(value, dict):
        for name, part in value.items():
            yield from places(part, path + (name,))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from places(part, path + (at,))


def changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1003
    if isinstance(value, str):
        return value + "x"
    return None


def with_change(body, path):
    """The body with another value there; absent where the value is no scalar."""
    body = copy.deepcopy(body)
    at = body
    for step in path[:-1]:
        at = at[step]
    other = changed(at[path[-1]])
    if other is None:
        del at[path[-1]]
    else:
        at[path[-1]] = other
    return body


def essence(row):
    return {name: value for name, value in row.items() if name not in OF_BYTES}


def find(auditlite, exchanges, work):
    """{type: [fields that are not read]}, and how many fields were asked about."""
    trials, variants = {}, []
    for exchange in exchanges:
        body = getattr(exchange.response, "value", None)
        if body is None or exchange.status != 200:
            continue
        for cls, name, path in places(body):
            if "instructions" in path[:-1]:
                continue  # The request's own input, repeated.
            key = (type_name(cls), name)
            if not (USAGE.search(cls.__name__) or MATTERS.search(name)) or trials.get(key, 0) >= TRIALS:
                continue
            at = body
            for step in path:
                at = at[step]
            if at is None:
                continue
            trials[key] = trials.get(key, 0) + 1
            for variant in (body, with_change(body, path)):
                variants.append((key, Exchange(exchange.family, exchange.kind, exchange.path, dumps(variant),
                                               request=exchange.request, wire=exchange.wire)))
    rows = compare.record(auditlite, [exchange for _, exchange in variants], work)
    read = set()
    for number in range(0, len(variants), 2):
        if essence(rows[f"x{number}"]) != essence(rows[f"x{number + 1}"]):
            read.add(variants[number][0])
    unread = {}
    for key in sorted(set(trials) - read):
        unread.setdefault(key[0], []).append(key[1])
    return unread, len(trials)
