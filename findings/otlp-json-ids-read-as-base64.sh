#!/usr/bin/env bash
# Protobuf's json_format reads the hex ids of OTLP/JSON as base64: other ids, without an error.
#
# OTLP/JSON has trace and span ids in hex; protobuf's own JSON has bytes in base64. 32 hex digits are valid base64 of 24 bytes, 16 of 12
# bytes. What is written back as JSON looks as it came, so a round trip does not show it; the ids in memory have the wrong length.
#
# opentelemetry-proto 1.45.2, protobuf 7.36.2 (PyPI). Output seen:
#   trace id in the file: 4bf92f3577b34da6a3ce929d0e0e4736 (16 bytes)
#   as json_format reads it: 24 bytes; written back: the same text
#   span id: 12 bytes for 8
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/v"
"$dir/v/bin/pip" install -q --disable-pip-version-check opentelemetry-proto==1.45.2 protobuf==7.36.2
"$dir/v/bin/python" - <<'PY'
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
line = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"chat"}]}]}]}' % (trace, span)
data = json_format.Parse(line, TracesData())
read = data.resource_spans[0].scope_spans[0].spans[0]
back = json_format.MessageToDict(data)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
same = (back["traceId"], back["spanId"]) == (trace, span)
print(f"trace id in the file: {trace} ({len(bytes.fromhex(trace))} bytes)")
print(f"as json_format reads it: {len(read.trace_id)} bytes; written back: {'the same text' if same else back}")
print(f"span id: {len(read.span_id)} bytes for {len(bytes.fromhex(span))}")
assert (len(read.trace_id), len(read.span_id), same) == (24, 12, True), "behaviour has changed"
PY
