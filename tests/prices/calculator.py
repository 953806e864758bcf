"""What LiteLLM's own calculator says, without network and from the list that its package has."""

import contextlib
import datetime
import logging
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from litellm import _internal_context
from litellm.cost_calculator import (
    batch_cost_calculator,
    cost_per_token,
    default_video_cost_calculator,
    ocr_cost,
)
from litellm.litellm_core_utils.llm_cost_calc.tool_call_cost_tracking import StandardBuiltInToolCostTracking
from litellm.litellm_core_utils.llm_cost_calc.utils import CostCalculatorUtils
from litellm.types.utils import (
    CacheCreationTokenDetails,
    CompletionTokensDetailsWrapper,
    ImageObject,
    ImageResponse,
    PromptTokensDetailsWrapper,
    ServerToolUse,
    Usage,
)

from usages import MONDAY_PEAK, TOKENS, UNITS

logging.disable(logging.CRITICAL)
litellm.suppress_debug_info = True

# Families and products of one provider, under the name that the calculator knows.
PROVIDERS = {"bedrock_converse": "bedrock", "fireworks_ai-embedding-models": "fireworks_ai"}


def provider_of(name):
    if name.startswith("vertex_ai-"):
        return "vertex_ai"
    return PROVIDERS.get(name, name)


def usage_of(name):
    tokens_in, tokens_out, more = TOKENS[name]
    written = {
        f"ephemeral_{age}_input_tokens": more[f"write_{age}"]
        for age in ("5m", "30m", "1h", "12h")
        if f"write_{age}" in more
    }
    cached = {f"{kind}_tokens": more[f"cached_{kind}"] for kind in ("audio", "image") if f"cached_{kind}" in more}
    prompt = PromptTokensDetailsWrapper(
        cached_tokens=more.get("read", 0),
        cache_creation_tokens=more.get("write", 0),
        audio_tokens=more.get("in_audio", 0),
        image_tokens=more.get("in_image", 0),
        **({"video_tokens": more["in_video"]} if "in_video" in more else {}),
        **({"cache_creation_token_details": CacheCreationTokenDetails(**written)} if written else {}),
        **({"cached_tokens_details": cached} if cached else {}),
        **({"web_search_requests": more["web_search"]} if "web_search" in more else {}),
        **({"google_maps_grounding_requests": more["maps"]} if "maps" in more else {}),
    )
    out = {f"{kind}_tokens": more[f"out_{kind}"] for kind in ("audio", "image", "video") if f"out_{kind}" in more}
    usage = Usage(
        prompt_tokens=tokens_in,
        completion_tokens=tokens_out,
        total_tokens=tokens_in + tokens_out,
        prompt_tokens_details=prompt,
        completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=more.get("reasoning", 0), **out),
    )
    if "web_search" in more:
        usage.server_tool_use = ServerToolUse(web_search_requests=more["web_search"])
        usage.server_side_tool_usage_details = {"web_search_calls": more["web_search"]}
    if "geo" in more:
        usage.inference_geo = more["geo"]
    if "speed" in more:
        usage.speed = more["speed"]
    if "citations" in more:
        usage.citation_tokens = more["citations"]
    return usage


@contextlib.contextmanager
def billed_at(time):
    moment = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    token = _internal_context._billing_time.set(moment)
    try:
        yield
    finally:
        _internal_context._billing_time.reset(token)


def units_cost(name, model, provider, mode):
    count = next(iter(UNITS[name].values()))
    if name == "images":
        images = ImageResponse(data=[ImageObject(url="made") for _ in range(count)])
        return CostCalculatorUtils.route_image_generation_cost_calculator(
            model=model, completion_response=images, custom_llm_provider=provider, n=count, call_type="image_generation"
        )
    if name == "audio seconds":
        return sum(
            cost_per_token(
                model=model,
                custom_llm_provider=provider,
                call_type="transcription",
                audio_transcription_file_duration=count / 1000,
                usage_object=Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
            )
        )
    if name == "characters":
        return sum(
            cost_per_token(model=model, custom_llm_provider=provider, call_type="speech", prompt_characters=count)
        )
    if name == "pages":
        from litellm.llms.base_llm.ocr.transformation import OCRPage, OCRResponse, OCRUsageInfo

        pages = [OCRPage(index=at, markdown="") for at in range(count)]
        response = OCRResponse(pages=pages, model=model, usage_info=OCRUsageInfo(pages_processed=count))
        return sum(ocr_cost(model=model, custom_llm_provider=provider, response=response))
    if name == "queries":
        return sum(
            cost_per_token(
                model=model,
                custom_llm_provider=provider,
                call_type="search" if mode == "search" else "rerank",
                number_of_queries=count,
                rerank_billed_units={"search_units": count},
            )
        )
    return default_video_cost_calculator(model=model, duration_seconds=count / 1000, custom_llm_provider=provider)


def cost(name, model, litellm_provider, mode):
    """In dollars; or a string that says why there is none."""
    provider = provider_of(litellm_provider)
    try:
        if name in UNITS:
            return units_cost(name, model, provider, mode)
        more = TOKENS[name][2]
        usage = usage_of(name)
        with billed_at(more.get("at", MONDAY_PEAK)):
            if more.get("tier") == "batch":
                return sum(batch_cost_calculator(usage=usage, model=model, custom_llm_provider=provider))
            dollars = sum(
                cost_per_token(
                    model=model,
                    custom_llm_provider=provider,
                    usage_object=usage,
                    prompt_tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                    service_tier=more.get("tier"),
                    # Which of them counts depends on the provider; a response names one region.
                    data_residency=more.get("residency") or more.get("geo"),
                    vertex_location=more.get("residency") or more.get("geo"),
                    call_type="embedding" if mode == "embedding" else "completion",
                    response_time_ms=0.0,
                )
            )
            if "web_search" in more or "maps" in more:
                dollars += StandardBuiltInToolCostTracking.get_cost_for_built_in_tools(
                    model=model, response_object=None, usage=usage, custom_llm_provider=provider
                )
            return dollars
    except Exception as error:  # noqa: BLE001: the calculator raises whatever it likes
        return f"{type(error).__name__}: {error}"[:120]
