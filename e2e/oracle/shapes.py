"""Reads answers of an engine with vLLM's own classes. Runs with the engine's packages.

In: a JSON list of `[class, body]`. Out: a JSON list with what is wrong with each, empty where nothing is.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter, ValidationError
from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensResponse,
    AnthropicErrorResponse,
    AnthropicMessagesResponse,
    AnthropicStreamEvent,
)
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
)
from vllm.entrypoints.openai.completion.protocol import CompletionResponse, CompletionStreamResponse
from vllm.entrypoints.openai.responses.protocol import ResponseCompletedEvent, ResponsesResponse
from vllm.entrypoints.pooling.embed.protocol import EmbeddingResponse
from vllm.entrypoints.pooling.scoring.protocol import RerankResponse, ScoreResponse
from vllm.entrypoints.serve.engine.protocol import ErrorResponse, ModelList
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeResponse, TokenizeResponse
from vllm.entrypoints.speech_to_text.transcription.protocol import (
    TranscriptionResponse,
    TranscriptionStreamResponse,
)

CLASSES: Final[dict[str, Any]] = {
    "ResponseStreamEvent": ResponseStreamEvent,
    **{
        one.__name__: one
        for one in (
            *(AnthropicCountTokensResponse, AnthropicErrorResponse, AnthropicMessagesResponse),
            *(AnthropicStreamEvent, ChatCompletionResponse, ChatCompletionStreamResponse),
            *(CompletionResponse, CompletionStreamResponse, ResponseCompletedEvent, ResponsesResponse),
            *(EmbeddingResponse, RerankResponse, ScoreResponse, ErrorResponse, ModelList),
            *(DetokenizeResponse, TokenizeResponse, TranscriptionResponse, TranscriptionStreamResponse),
        )
    },
}


def fault(name: str, body: dict[str, Any]) -> str:
    """Say what is wrong with a body: a value that the class refuses, or a field that it does not have."""
    try:
        read: BaseModel = TypeAdapter(CLASSES[name]).validate_python(body)
    except ValidationError as error:
        return str(error)
    fields = type(read).model_fields
    unknown = set(body) - set(fields) - {field.alias for field in fields.values()}
    return f"unknown fields {sorted(unknown)}" if unknown else ""


if __name__ == "__main__":
    json.dump([fault(name, body) for name, body in json.load(sys.stdin)], sys.stdout)
