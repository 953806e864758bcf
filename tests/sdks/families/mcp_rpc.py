"""MCP: JSON-RPC over streamable HTTP (a document, or server-sent events with notifications before it), and over
stdio (lines). What the transport, JSON-RPC and the tool say are three things."""

import json

import mcp_types

from exchange import Exchange, document, events, lines

ERRORS = [-32700, -32600, -32601, -32602, -32603, -32002, -32000]


def texts_of(content):
    return [block.text for block in content if block.type == "text"]


def carried(g, answer, kind):
    """The bytes, in one of the ways that they travel."""
    notes = [{"jsonrpc": "2.0", "method": "notifications/progress",
              "params": {"progressToken": 1, "progress": 0.5}} for _ in range(g.random.randint(0, 2))]
    way = g.turn(kind, 3)
    if way == 0:
        return document(answer)
    return events(notes + [answer], names=False) if way == 1 else lines(notes + [answer])


def tool_call(g):
    number, name = g.next_number(), g.word("tool_")
    arguments = {"a": g.word("v")}
    request = {"jsonrpc": "2.0", "id": number, "method": "tools/call",
               "params": {"name": name, "arguments": arguments}}
    mcp_types.CallToolRequest.model_validate({"method": "tools/call", "params": request["params"]})
    result = g.model(mcp_types.CallToolResult)
    result["content"] = [{"type": "text", "text": g.text()} for _ in range(g.random.randint(0, 2))]
    result["isError"] = g.random.random() < 0.3
    answer = {"jsonrpc": "2.0", "id": number, "result": result}
    exchange = Exchange("mcp", "mcp_types.CallToolResult", "/mcp", carried(g, answer, "mcp result"), request=request)
    said = mcp_types.CallToolResult.model_validate(result)
    exchange.call(None, name, json.dumps(arguments), "mcp_types.CallToolRequest")
    for text in texts_of(said.content):
        exchange.text(text)
    if said.is_error:
        exchange.failed("tool_error")
    else:
        exchange.fact("status", "completed")
    return exchange


def rpc_error(g):
    number, code, message = g.next_number(), g.random.choice(ERRORS), g.text()
    name = g.word("tool_")
    request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name}}
    answer = {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
    mcp_types.jsonrpc.JSONRPCError.model_validate(answer)
    exchange = Exchange("mcp", "mcp_types.JSONRPCError", "/mcp", carried(g, answer, "mcp error"), request=request)
    exchange.call(None, name, None, "mcp_types.CallToolRequest")
    exchange.failed(str(code), message)
    return exchange


RESULTS = [("initialize", mcp_types.InitializeResult), ("tools/list", mcp_types.ListToolsResult),
           ("resources/list", mcp_types.ListResourcesResult), ("prompts/get", mcp_types.GetPromptResult),
           ("ping", mcp_types.EmptyResult)]


def other(g):
    method, cls = RESULTS[g.turn("mcp method", len(RESULTS))]
    number = g.next_number()
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": {}}
    answer = {"jsonrpc": "2.0", "id": number, "result": g.model(cls)}
    exchange = Exchange("mcp", "mcp_types." + cls.__name__, "/mcp", carried(g, answer, "mcp other"), request=request)
    exchange.fact("status", "completed")
    exchange.absent("input_tokens")
    return exchange


def sampling(g):
    """A server asks its client for a completion; the answer names the model."""
    number = g.next_number()
    request = {"jsonrpc": "2.0", "id": number, "method": "sampling/createMessage",
               "params": {"messages": [], "maxTokens": 9}}
    result = {"role": "assistant", "model": g.word("model-"), "stopReason": "toolUse", "content": [
        {"type": "text", "text": g.text()},
        {"type": "tool_use", "id": g.word("call_"), "name": g.word("tool_"), "input": {"a": g.word("v")}}]}
    said = mcp_types.CreateMessageResultWithTools.model_validate(result)
    exchange = Exchange("mcp", "mcp_types.CreateMessageResultWithTools", "/mcp",
                        carried(g, {"jsonrpc": "2.0", "id": number, "result": result}, "mcp sampling"),
                        request=request)
    exchange.fact("response_model", said.model)
    exchange.fact("finish_reasons", [said.stop_reason])
    exchange.text(said.content[0].text, "mcp_types.TextContent")
    call = said.content[1]
    exchange.call(call.id, call.name, json.dumps(call.input), "mcp_types.ToolUseContent")
    return exchange


MAKERS = [(tool_call, 2), (rpc_error, 1), (other, 1), (sampling, 0.5)]
