"""Sessions with agents: Anthropic's sessions and dreams, OpenAI's agents and assistants.

A stream counts each request to a model, or each turn, once. An object that tells what all turns have used so far counts
nothing: each look would count it again. The text of Anthropic's streams is what the SDK's accumulator makes of them.
"""

import json
import typing

from anthropic._models import construct_type
from anthropic.lib.sessions import accumulate_managed_agents_event
from anthropic.types import beta
from anthropic.types.beta import sessions
from openai.types import beta as openai_beta
from openai.types.beta import threads
from openai.types.beta.agents.sessions import Turn
from openai.types.beta.threads import runs

from exchange import Exchange, cut, document, events
from generate import members, type_name

ANTHROPIC = "anthropic.sessions"
OPENAI = "openai.agents"
ASSISTANTS = "openai.assistants"
SESSION_EVENTS = members(sessions.BetaManagedAgentsStreamSessionEvents)
PREVIEWS = ("event_start", "event_delta")


def kind_of(cls):
    return typing.get_args(cls.model_fields["type"].annotation)[0]


def anthropic_counts(usage):
    written = usage.get("cache_creation_input_tokens")
    if written is None and usage.get("cache_creation"):
        parts = [part for part in usage["cache_creation"].values() if part is not None]
        written = sum(parts) if parts else None
    parts = [usage.get("input_tokens"), usage.get("cache_read_input_tokens"), written]
    known = [part for part in parts if part is not None]
    return (sum(known) if known else None), usage.get("output_tokens")


def so_far(exchange, counts):
    for name, count in zip(("input_tokens", "output_tokens"), counts):
        if count is not None:
            exchange.fact("usage_details.so_far.usage." + name, count)


def of_kind(kind):
    return next(cls for cls in SESSION_EVENTS if kind_of(cls) == kind)


def previewed(g, event):
    """A message, with the pieces that come before it."""
    steps = [{"type": "event_start", "event": {"type": "agent.message", "id": event["id"]}}]
    for index, block in enumerate(event["content"]):
        if block["type"] != "text":
            return [event]
        steps += [{"type": "event_delta", "event_id": event["id"],
                   "delta": {"type": "content_delta", "index": index, "content": {"type": "text", "text": piece}}}
                  for piece in cut(g.random, block["text"])]
    return steps + [event]


def anthropic_stream(g):
    steps = [g.model(of_kind("session.status_running"))]
    for _ in range(g.random.randint(2, 9)):
        cls = SESSION_EVENTS[g.turn("session event", len(SESSION_EVENTS))]
        if kind_of(cls) in PREVIEWS:
            cls = of_kind("agent.message")
        event = g.model(cls)
        steps += previewed(g, event) if event["type"] == "agent.message" else [event]
    steps.append(g.model(of_kind("session.status_idle")))
    of_thread = "/threads/x1" if g.random.random() < 0.3 else ""
    way = "stream" if of_thread else "events/stream"
    exchange = Exchange(ANTHROPIC, "anthropic.types.beta.sessions.BetaManagedAgentsStreamSessionEvents",
                        f"/v1/sessions/x1{of_thread}/{way}", events(steps, names=g.random.random() < 0.5), request={})
    for step in steps:
        construct_type(type_=sessions.BetaManagedAgentsStreamSessionEvents, value=step)
    return read_anthropic(exchange, steps)


def read_anthropic(exchange, steps):
    used, model, failure, snapshot = [0, 0], None, None, None
    has_used, last, state = False, None, None
    for step in steps:
        kind, owner = step["type"], type_name(of_kind(step["type"]))
        event = construct_type(type_=sessions.BetaManagedAgentsStreamSessionEvents, value=step)
        snapshot = accumulate_managed_agents_event(snapshot, event)
        if kind == "agent.message":
            for block in snapshot.content:
                exchange.text(getattr(block, "text", None), owner)
        elif kind in ("agent.tool_use", "agent.custom_tool_use", "agent.mcp_tool_use"):
            exchange.call(event.id, event.name, json.dumps(step["input"]), owner)
        elif kind in ("span.model_request_end", "span.outcome_evaluation_end"):
            counts = anthropic_counts(step.get("model_usage") or step["usage"])
            used, has_used = [one + more for one, more in zip(used, counts)], True
        elif kind == "session.usage":
            last = anthropic_counts(step["usage"])
        elif kind == "session.updated" and step.get("agent"):
            model = model or step["agent"]["model"]["id"]
        elif kind == "session.error" and step["error"]["retry_status"]["type"] != "retrying":
            failure = failure or step["error"]
        elif kind == "session.status_idle":
            state = step["stop_reason"]["type"]
    exchange.fact("response_model", model)
    if has_used:
        exchange.usage("anthropic.types.beta.sessions.BetaManagedAgentsSpanModelUsage", input=used[0], output=used[1])
    else:
        exchange.absent("input_tokens", "output_tokens")
    if last:
        so_far(exchange, last)
    if failure:
        exchange.failed(failure["type"], failure.get("message"))
    else:
        exchange.fact("status", "completed")
    exchange.fact("finish_reasons", [state])
    return exchange


OBJECTS = [(beta.BetaManagedAgentsSession, "/v1/sessions/x1"), (sessions.BetaManagedAgentsSessionThread,
                                                               "/v1/sessions/x1/threads/x1"),
           (beta.BetaDream, "/v1/dreams/x1")]


def anthropic_object(g):
    cls, path = OBJECTS[g.turn("session object", len(OBJECTS))]
    body = g.model(cls)
    exchange = Exchange(ANTHROPIC, type_name(cls), path, document(body), request={})
    said = cls.model_validate(body)
    exchange.fact("response_id", said.id)
    model = said.model if body["type"] == "dream" else said.agent.model
    exchange.fact("response_model", getattr(model, "id", model))
    exchange.fact("finish_reasons", [said.status])
    counts = anthropic_counts(body["usage"]) if body.get("usage") else (None, None)
    if body["type"] == "dream" and said.status in ("completed", "failed"):
        exchange.usage(input=counts[0], output=counts[1])
    else:
        exchange.absent("input_tokens", "output_tokens")
        so_far(exchange, counts)
    if body["type"] == "dream" and said.status == "failed" and said.error:
        exchange.failed(said.error.type, said.error.message)
    elif said.status != "failed":
        exchange.fact("status", "completed")
    return exchange


ITEMS = members(openai_beta.AgentSessionTurnItemDoneEvent.model_fields["item"].annotation)
OTHER_EVENTS = [cls for cls in members(openai_beta.AgentSessionEvent)
                if ".environment." in kind_of(cls) or ".subagent." in kind_of(cls) or ".output." in kind_of(cls)]


def openai_usage(g):
    usage = g.model(openai_beta.TokenUsage)
    usage["input_tokens_details"]["cached_tokens"] = g.random.randint(0, usage["input_tokens"])
    usage["output_tokens_details"]["reasoning_tokens"] = g.random.randint(0, usage["output_tokens"])
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    return usage


def session_of(g, status):
    session = g.model(openai_beta.AgentSession)
    session["agent"]["model"] = g.word("gpt-")
    session["status"] = status
    session["error"] = g.text() if status == "failed" else None
    session["usage"] = openai_usage(g) if g.random.random() < 0.8 else None
    if status != "requires_action":
        session["required_actions"] = []
    return session


def arguments_of(item):
    for name in ("arguments", "action", "command", "request"):
        if item.get(name) is not None:
            value = item[name]
            return value if isinstance(value, str) else json.dumps(value)
    if "subagent" in item["type"] and item.get("content"):
        return "\n".join(part["text"] for part in item["content"] if part.get("text")) or None
    return None


def read_item(exchange, item, owner):
    kind = item["type"]
    if kind == "message":
        for part in item["content"]:
            exchange.text(part.get("text"), owner)
    elif kind == "reasoning":
        for part in item["summary"]:
            exchange.text(part["text"], owner)
    elif kind.endswith("_call") or kind in ("command_execution", "computer_use_approval_request"):
        exchange.call(item.get("call_id") or item["id"], item.get("name"), arguments_of(item), owner)


def item_events(g, index, item, at):
    here = {**at, "output_index": index, "item_id": item["id"]}
    begin, middle = dict(item), []
    kind = "agent.session.turn."
    if item["type"] == "message":
        begin["content"] = []
        for number, part in enumerate(item["content"]):
            place = {**here, "content_index": number}
            middle += [{"type": kind + "output_text.delta", **place, "delta": piece}
                       for piece in cut(g.random, part["text"])]
            middle.append({"type": kind + "output_text.done", **place, "text": part["text"]})
    if item["type"] == "reasoning":
        begin["summary"] = []
        for number, part in enumerate(item["summary"]):
            place = {**here, "summary_index": number}
            middle += [{"type": kind + "reasoning_summary_text.delta", **place, "delta": piece}
                       for piece in cut(g.random, part["text"])]
            middle.append({"type": kind + "reasoning_summary_text.done", **place, "text": part["text"]})
    return ([{"type": kind + "item.added", **at, "output_index": index, "item": begin}] + middle
            + [{"type": kind + "item.done", **at, "output_index": index, "item": item}])


def openai_stream(g):
    session = session_of(g, "in_progress")
    session_id = session["id"]
    steps = [{"type": "agent.session.created", "event_id": g.word("ev-"), "session": session}]
    used, has_used, items, status = [0, 0], False, [], None
    for _ in range(g.random.choice([1, 1, 2])):
        turn = g.model(Turn)
        turn.update(session_id=session_id, subagent_id=None, error=None, usage=None)
        at = {"session_id": session_id, "turn_id": turn["id"], "event_id": g.word("ev-")}
        steps += [{"type": "agent.session.turn." + state, **at, "turn": {**turn, "status": state}}
                  for state in ("created", "in_progress") if state != "created"]
        for index in range(g.random.randint(0, 4)):
            cls = ITEMS[g.turn("agent item", len(ITEMS))]
            item = g.model(cls)
            items.append((item, type_name(cls)))
            steps += item_events(g, index, item, at)
            if g.random.random() < 0.3:
                steps.append(g.model(OTHER_EVENTS[g.turn("agent event", len(OTHER_EVENTS))]))
        status = g.random.choice(["completed", "completed", "completed", "cancelled", "failed"])
        usage = openai_usage(g) if g.random.random() < 0.8 else None
        of_event = usage if usage and g.random.random() < 0.5 else None
        turn.update(status=status, usage=None if of_event and g.random.random() < 0.5 else usage)
        if status == "failed":
            turn["error"] = {"code": "usage_limit_exceeded", "message": g.text()}
        steps.append({"type": "agent.session.turn." + status, **at, "turn": turn, "usage": of_event})
        if usage:
            used, has_used = [used[0] + usage["input_tokens"], used[1] + usage["output_tokens"]], True
        if status == "failed":
            break
    last = {**session, "status": "idle", "usage": openai_usage(g)}
    steps.append({"type": "agent.session.idle", "event_id": g.word("ev-"), "session": last})
    exchange = Exchange(OPENAI, "openai.types.beta.AgentSessionEvent", "/v1/agents/sessions",
                        events(steps, names=g.random.random() < 0.5), request={"agent": {"model": "asked-for"},
                                                                              "stream": True, "input": "q"})
    for step in steps:
        construct_type(type_=openai_beta.AgentSessionEvent, value=step)
    exchange.fact("response_id", session_id)
    exchange.fact("response_model", session["agent"]["model"])
    exchange.fact("finish_reasons", [status])
    for item, owner in items:
        read_item(exchange, item, owner)
    if has_used:
        exchange.usage("openai.types.beta.TokenUsage", input=used[0], output=used[1])
    else:
        exchange.absent("input_tokens", "output_tokens")
    so_far(exchange, (last["usage"]["input_tokens"], last["usage"]["output_tokens"]))
    if status == "failed":
        exchange.failed("usage_limit_exceeded", turn["error"]["message"])
    else:
        exchange.fact("status", "completed")
    return exchange


def openai_object(g):
    if g.turn("agent object", 2):
        body = g.model(Turn)
        body["usage"] = openai_usage(g)
        body["error"] = {"code": "server_error", "message": g.text()} if body["status"] == "failed" else None
        exchange = Exchange(OPENAI, type_name(Turn), "/v1/agents/sessions/x1/turns/x1", document(body), request={})
        usage = body["usage"]
        if body["status"] in ("completed", "failed", "cancelled"):
            exchange.usage("openai.types.beta.TokenUsage", input=usage["input_tokens"], output=usage["output_tokens"],
                           cache_read=usage["input_tokens_details"]["cached_tokens"])
        else:
            exchange.absent("input_tokens", "output_tokens")
            so_far(exchange, (usage["input_tokens"], usage["output_tokens"]))
    else:
        body = session_of(g, g.random.choice(["idle", "in_progress", "requires_action", "failed"]))
        exchange = Exchange(OPENAI, "openai.types.beta.AgentSession", "/v1/agents/sessions/x1", document(body),
                            request={})
        exchange.fact("response_model", body["agent"]["model"])
        exchange.absent("input_tokens", "output_tokens")
        if body["usage"]:
            so_far(exchange, (body["usage"]["input_tokens"], body["usage"]["output_tokens"]))
        for action in body["required_actions"]:
            owner = "openai.types.beta.RequiredAction"
            if action["type"] == "function_call":
                exchange.call(action["call_id"], action["name"], json.dumps(action["arguments"]), owner)
            elif action["type"] == "mcp_approval_request":
                asked = action["request"]
                exchange.call(action["request_id"], asked.get("name"), json.dumps(asked["arguments"]), owner)
    exchange.fact("response_id", body["id"])
    exchange.fact("finish_reasons", [body["status"]])
    if body["status"] == "failed":
        exchange.fact("status", "failed")
    else:
        exchange.fact("status", "completed")
    return exchange


OVER = ("cancelled", "failed", "completed", "incomplete", "expired")


def run_of(g, status):
    run = g.model(threads.Run)
    run.update(model=g.word("gpt-"), status=status, last_error=None, required_action=None, incomplete_details=None)
    run["usage"] = {"prompt_tokens": g.random.randint(1, 999), "completion_tokens": g.random.randint(1, 999)}
    run["usage"]["total_tokens"] = sum(run["usage"].values())
    if status == "failed":
        run["last_error"] = {"code": "server_error", "message": g.text()}
    if status == "requires_action":
        run["required_action"] = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [
            {"id": g.word("call-"), "type": "function",
             "function": {"name": g.word("tool_"), "arguments": '{"a": 1}'}}
            for _ in range(g.random.randint(1, 3))]}}
    threads.Run.model_validate(run)
    return run


def read_run(exchange, run):
    status = run["status"]
    exchange.fact("response_id", run["id"])
    exchange.fact("response_model", run["model"])
    if status in OVER:
        exchange.usage("openai.types.beta.threads.Usage", input=run["usage"]["prompt_tokens"],
                       output=run["usage"]["completion_tokens"])
    else:
        exchange.absent("input_tokens", "output_tokens")
    if status in OVER + ("requires_action",):
        exchange.fact("finish_reasons", [status])
    if status == "failed":
        exchange.failed("server_error", run["last_error"]["message"])
    elif status != "expired":
        exchange.fact("status", "completed")
    wanted = (run["required_action"] or {}).get("submit_tool_outputs", {}).get("tool_calls", [])
    for call in wanted:
        exchange.call(call["id"], call["function"]["name"], call["function"]["arguments"],
                      "openai.types.beta.threads.RequiredActionFunctionToolCall")
    return exchange


def tool_of(call):
    tool = call.get("function") or {}
    if call["type"] == "code_interpreter":
        return "code_interpreter", call["code_interpreter"]["input"]
    return (tool["name"], tool["arguments"]) if tool else (call["type"], None)


def assistants_object(g):
    if g.turn("assistants object", 2):
        run = run_of(g, g.random.choice(OVER + ("queued", "in_progress", "requires_action")))
        exchange = Exchange(ASSISTANTS, "openai.types.beta.threads.Run", "/v1/threads/x1/runs/x1", document(run),
                            request={})
        return read_run(exchange, run)
    step = g.model(runs.RunStep)
    step["last_error"] = None
    exchange = Exchange(ASSISTANTS, type_name(runs.RunStep), "/v1/threads/x1/runs/x1/steps/x1", document(step),
                        request={})
    exchange.fact("response_id", step["id"])
    # A part of what its run used.
    exchange.absent("input_tokens", "output_tokens")
    for call in step["step_details"].get("tool_calls") or []:
        name, arguments = tool_of(call)
        exchange.call(call["id"], name, arguments, "openai.types.beta.threads.runs.ToolCall")
    return exchange


def assistants_stream(g):
    run = run_of(g, g.random.choice(["completed", "completed", "failed", "incomplete"]))
    begun = {**run, "status": "queued", "usage": None, "last_error": None}
    steps = [("thread.run.created", begun), ("thread.run.queued", begun)]
    calls = [{"id": g.word("call-"), "type": "function",
              "function": {"name": g.word("tool_"), "arguments": '{"a": "%s"}' % g.text(), "output": None}}
             for _ in range(g.random.randint(0, 2))]
    base = {"id": g.word("step-"), "object": "thread.run.step", "run_id": run["id"], "status": "in_progress",
            "type": "tool_calls"}
    if calls:
        steps.append(("thread.run.step.created", {**base, "step_details": {"type": "tool_calls", "tool_calls": []}}))
        for index, call in enumerate(calls):
            pieces = ["", *cut(g.random, call["function"]["arguments"])]
            for number, piece in enumerate(pieces):
                function = {"arguments": piece}
                part = {"index": index, "type": "function", "function": function}
                if not number:
                    function["name"], part["id"] = call["function"]["name"], call["id"]
                steps.append(("thread.run.step.delta", {
                    "id": base["id"], "object": "thread.run.step.delta",
                    "delta": {"step_details": {"type": "tool_calls", "tool_calls": [part]}}}))
        steps.append(("thread.run.step.completed", {
            **base, "status": "completed", "step_details": {"type": "tool_calls", "tool_calls": calls},
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}))
    text, message = g.text(), {"id": g.word("msg-"), "object": "thread.message", "role": "assistant", "content": []}
    steps.append(("thread.message.created", message))
    steps += [("thread.message.delta", {"id": message["id"], "object": "thread.message.delta", "delta": {
        "content": [{"index": 0, "type": "text", "text": {"value": piece}}]}}) for piece in cut(g.random, text)]
    steps.append(("thread.message.completed", {**message, "content": [
        {"type": "text", "text": {"value": text, "annotations": []}}]}))
    steps.append(("thread.run." + run["status"], run))
    body = b"".join(b"event: " + name.encode() + b"\n" + events([data]) for name, data in steps)
    exchange = Exchange(ASSISTANTS, "openai.types.beta.AssistantStreamEvent", "/v1/threads/runs",
                        body + b"event: done\ndata: [DONE]\n\n", request={"assistant_id": "a", "stream": True})
    read_run(exchange, run)
    exchange.text(text)
    for call in calls:
        exchange.call(call["id"], call["function"]["name"], call["function"]["arguments"])
    return exchange


MAKERS = [(anthropic_stream, 1.5), (anthropic_object, 0.6), (openai_stream, 1.5), (openai_object, 0.6),
          (assistants_stream, 0.4), (assistants_object, 0.4)]
