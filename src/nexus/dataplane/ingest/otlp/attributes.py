"""Names that attributes have and have had, oldest readers last: what a span says is looked for under all of them.

Read tolerantly: OpenTelemetry's GenAI conventions before and after `gen_ai.provider.name`, OpenInference (`llm.*`),
OpenLLMetry (`llm.usage.*`, `gen_ai.usage.prompt_tokens`), Vercel's AI SDK (`ai.*`), Pydantic AI (`gen_ai.usage.details.*`).
"""

from __future__ import annotations

from types import MappingProxyType

PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider", "llm.vendor")
OPERATION = (
    "gen_ai.operation.name", "openinference.span.kind", "ai.operationId", "llm.request.type", "traceloop.span.kind",
)  # fmt: skip
MODEL_ASKED = (
    "gen_ai.request.model", "llm.request.model", "ai.model.id", "llm.model_name", "embedding.model_name",
    "reranker.model_name", "llm.model",
)  # fmt: skip
MODEL_ANSWERED = ("gen_ai.response.model", "ai.response.model", "llm.response.model")
RESPONSE_ID = ("gen_ai.response.id", "ai.response.id", "llm.response.id")
CONVERSATION = (
    "gen_ai.conversation.id",
    "session.id",
    "ai.telemetry.metadata.sessionId",
    "traceloop.association.properties.session_id",
)
END_USER = (
    "enduser.id",
    "user.id",
    "ai.telemetry.metadata.userId",
    "llm.user",
    "traceloop.association.properties.user_id",
)
REGION = ("aws.region", "cloud.region", "gen_ai.request.region")
SERVER_ADDRESS = ("server.address", "net.peer.name", "http.host", "gen_ai.openai.api_base", "openai.api_base")
SERVER_PORT = ("server.port", "net.peer.port")
ERROR_TYPE = ("error.type", "exception.type")
TIME_TO_FIRST_CHUNK_SECONDS = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
TIME_TO_FIRST_CHUNK_MS = ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk")
STATUS = ("http.response.status_code", "http.status_code")

TOKENS = MappingProxyType(
    {
        "input": (
            "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
            "llm.usage.prompt_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens",
        ),
        "output": (
            "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
            "llm.usage.completion_tokens", "ai.usage.outputTokens", "ai.usage.completionTokens",
        ),
        "cached_input": (
            "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cached_tokens",
            "llm.token_count.prompt_details.cache_read", "llm.usage.cache_read_input_tokens",
            "ai.usage.cachedInputTokens", "gen_ai.usage.input_tokens.cached",
        ),
        "cache_write": (
            "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.details.cache_write_tokens", "llm.token_count.prompt_details.cache_write",
            "llm.usage.cache_creation_input_tokens", "gen_ai.usage.input_tokens.cache_write",
        ),
        "reasoning": (
            "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
            "gen_ai.usage.details.reasoning_tokens", "llm.token_count.completion_details.reasoning",
            "llm.usage.reasoning_tokens", "ai.usage.reasoningTokens", "gen_ai.usage.output_tokens.reasoning",
        ),
        "audio_input": ("gen_ai.usage.details.input_audio_tokens", "llm.token_count.prompt_details.audio"),
        "audio_output": ("gen_ai.usage.details.output_audio_tokens", "llm.token_count.completion_details.audio"),
    }
)  # fmt: skip
"""Classes of model tokens."""
TOTAL_TOKENS = ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens", "ai.usage.totalTokens")

INFERENCES = MappingProxyType(
    {
        "chat": "chat", "text_completion": "text_completion", "completion": "text_completion",
        "generate_content": "generate_content", "embeddings": "embeddings", "embedding": "embeddings",
        "rerank": "rerank", "responses": "responses", "message": "chat", "image_generation": "image_generation",
        "speech": "speech", "transcription": "transcription",
        "LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank",
        "ai.generateText.doGenerate": "chat", "ai.streamText.doStream": "chat",
        "ai.generateObject.doGenerate": "chat", "ai.streamObject.doStream": "chat",
        "ai.embed.doEmbed": "embeddings", "ai.embedMany.doEmbed": "embeddings", "ai.rerank.doRerank": "rerank",
    }
)  # fmt: skip
"""Operations in which a provider is called, each dialect's word for them. Agents, tools and chains are not among them."""

ENDPOINTS = MappingProxyType(
    {
        "anthropic": {"chat": "/v1/messages"},
        "cohere": {"chat": "/v2/chat", "embeddings": "/v2/embed", "rerank": "/v2/rerank"},
        "google": {
            "chat": "/v1beta/models/{model}:generateContent",
            "generate_content": "/v1beta/models/{model}:generateContent",
            "embeddings": "/v1beta/models/{model}:embedContent",
        },
        "aws": {"chat": "/model/{model}/converse"},
        "": {
            "chat": "/v1/chat/completions", "text_completion": "/v1/completions", "embeddings": "/v1/embeddings",
            "responses": "/v1/responses", "image_generation": "/v1/images/generations", "speech": "/v1/audio/speech",
            "transcription": "/v1/audio/transcriptions", "rerank": "/v1/rerank",
        },
    }
)  # fmt: skip
"""Endpoint of an operation, by provider; under the empty name those of OpenAI, which most others took over."""

STATUS_OF_ERROR = MappingProxyType(
    {
        "badrequesterror": 400, "invalidrequesterror": 400, "validationerror": 400, "badrequest": 400,
        "authenticationerror": 401, "unauthorized": 401, "permissiondeniederror": 403, "permissionerror": 403,
        "notfounderror": 404, "requesttoolargeerror": 413, "conflicterror": 409, "unprocessableentityerror": 422,
        "ratelimiterror": 429, "throttlingexception": 429, "toomanyrequests": 429, "resourceexhausted": 429,
        "internalservererror": 500, "apierror": 500, "serviceunavailableerror": 503, "overloadederror": 529,
    }
)  # fmt: skip
"""Status of the answer that a client library's error stands for. What is not here never had an answer: 0."""
