"""Every other response type of the SDKs' own methods that states a model or tokens: found in their sources.

A method names its path and the type that its answer becomes. What such a type has at its top level under the names
`model` and `usage` is what is expected of the generic reading.
"""

import importlib
import pathlib
import pkgutil
import re

from exchange import Exchange, document
from generate import fields_of, is_model, members, type_name

# Paths that another family generates in full.
OWN = re.compile(r"/chat/completions$|^/v1/responses(\?|$)|^/v1/messages|^/v2/chat$|/(fim|agents)/completions$"
                 r"|^/v1/conversations|/batches$|^/v1/sessions|^/v1/dreams|/agents/sessions|/threads/.*runs")
COUNTS = {"input": ("input_tokens", "prompt_tokens", "total_input_tokens", "promptTokenCount"),
          "output": ("output_tokens", "completion_tokens", "total_output_tokens")}


def modules(package):
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        try:
            yield importlib.import_module(found.name)
        except Exception:  # Extras that are not installed.
            continue


STAINLESS = re.compile(r'self\._(?:post|get|put|patch)\(\s*(?:path_template\(\s*)?"(/[^"]+)".*?cast_to=(\w+)', re.S)
MISTRAL = re.compile(r'path="(/[^"]+)".*?unmarshal_json_response\(\s*models\.(\w+)', re.S)
COHERE = re.compile(r'request\(\s*(?:f?"([^"]+)").*?type_=(\w+)', re.S)


def endpoints():
    """(package, path, class) of every method."""
    found = {}
    for package, pattern, prefix in (("openai.resources", STAINLESS, "/v1"), ("anthropic.resources", STAINLESS, ""),
                                     ("mistralai.client", MISTRAL, ""), ("cohere", COHERE, "/")):
        for module in modules(package):
            source = getattr(module, "__file__", None)
            if not source or not source.endswith(".py") or ".models" in module.__name__:
                continue
            for path, name in pattern.findall(pathlib.Path(source).read_text()):
                cls = getattr(module, name, None) or getattr(getattr(module, "models", None), name, None)
                if is_model(cls):
                    path = re.sub(r"\{[^}]*\}", "x1", path).split("?")[0]
                    found.setdefault(type_name(cls), (package.split(".")[0], prefix + path, cls))
    return found


def states(cls):
    """Which of model and usage the type has at its top level."""
    names = dict(fields_of(cls))
    has_model = "model" in names and any(member is str or "Model" in str(member) or "Literal" in str(member)
                                         for member in members(names["model"].annotation))
    usage = [member for member in members(names["usage"].annotation) if is_model(member)] if "usage" in names else []
    return has_model, usage[0] if usage else None


KINDS = sorted((name, *found) for name, found in endpoints().items()
               if any(states(found[2])) and not OWN.search(found[1]))


def agreeing(g, counts):
    """Makes the parts of each total parts of it, and the total their sum."""
    known = {count: next((name for name in names if isinstance(counts.get(name), int)), None)
             for count, names in COUNTS.items()}
    for count, name in known.items():
        stems = ("input", "prompt") if count == "input" else ("output", "completion")
        for key, parts in counts.items():
            if isinstance(parts, dict) and key.startswith(stems):
                for part in parts:
                    if isinstance(parts[part], int):
                        parts[part] = g.random.randint(0, counts[name] // max(1, len(parts))) if name else 0
    if "total_tokens" in counts:
        counts["total_tokens"] = sum(counts[name] for name in known.values() if name)


def one(g):
    name, package, path, cls = KINDS[g.turn("others", len(KINDS))]
    body = g.model(cls)
    has_model, usage = states(cls)
    if "error" in body:
        body["error"] = None
    if isinstance(body.get("status"), str) and body["status"] in ("failed", "incomplete", "cancelled"):
        body["status"] = "completed"
    counts = body.get("usage")
    if isinstance(counts, dict):
        agreeing(g, counts)
    exchange = Exchange("others", name, path, document(body))
    if has_model and isinstance(body.get("model"), str):
        exchange.fact("response_model", body["model"])
    if usage and isinstance(counts, dict):
        for count, names in COUNTS.items():
            stated = [counts[key] for key in names if isinstance(counts.get(key), (int, float))]
            if stated and not any(key.startswith("cache") for key in counts):
                exchange.usage(name + ".usage", **{count: stated[0]})
    return exchange


MAKERS = [(one, 3)]
