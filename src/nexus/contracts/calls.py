"""The record of an API call as it travels: what a caller may send, its limits, and the columns it is stored in.

Counts of model tokens follow one rule of containment: `cached_input`, `cache_write`, `audio_input` and `image_input`
are parts of `input`; `reasoning`, `audio_output` and `image_output` are parts of `output`.
"""

# The annotations are read when the decoder is built, so this module does not postpone them.
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_ID_CHARS = 200
MAX_NAME_CHARS = 200
MAX_PATH_CHARS = 2_048
MAX_TEXT_CHARS = 8_192
MAX_USER_AGENT_CHARS = 1_024
MAX_TAGS = 32
MAX_TAG_NAME_CHARS = 64
MAX_TAG_VALUE_CHARS = 256
MAX_VARIANTS = 8
MAX_HEADERS = 128
MAX_HEADER_VALUE_CHARS = 8_192
MAX_HEADERS_CHARS = 65_536
"""Names and values of all headers of one direction together."""
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 8
MAX_TOKENS = 10**9
MAX_UNITS = 10**9
MAX_SIZE_BYTES = 2**43
MAX_DURATION_MS = 30 * 86_400_000
MAX_COST = 10_000_000
EARLIEST_YEAR = 1990
LATEST_AHEAD_SECONDS = 86_400

Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
DurationMs = Annotated[float, Meta(ge=0, le=MAX_DURATION_MS)]
SizeBytes = Annotated[int, Meta(ge=0, le=MAX_SIZE_BYTES)]
TokenCount = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
UnitCount = Annotated[int, Meta(ge=0, le=MAX_UNITS)]
Headers = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)],
        Annotated[str, Meta(max_length=MAX_HEADER_VALUE_CHARS)],
    ],
    Meta(max_length=MAX_HEADERS),
]
ShortNames = dict[
    Annotated[str, Meta(min_length=1, max_length=MAX_TAG_NAME_CHARS)],
    Annotated[str, Meta(max_length=MAX_TAG_VALUE_CHARS)],
]


class Tokens(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """Model tokens of one call, by class. Each is a count; parts are contained in `input` or `output`."""

    input: Annotated[TokenCount, Meta(description="Tokens of the prompt, all parts included.")] = 0
    output: Annotated[TokenCount, Meta(description="Tokens of the answer, all parts included.")] = 0
    cached_input: Annotated[TokenCount, Meta(description="Part of `input` read from the provider's cache.")] = 0
    cache_write: Annotated[TokenCount, Meta(description="Part of `input` written to the provider's cache.")] = 0
    reasoning: Annotated[TokenCount, Meta(description="Part of `output` spent on reasoning.")] = 0
    audio_input: Annotated[TokenCount, Meta(description="Part of `input` that is audio.")] = 0
    audio_output: Annotated[TokenCount, Meta(description="Part of `output` that is audio.")] = 0
    image_input: Annotated[TokenCount, Meta(description="Part of `input` that is images.")] = 0
    image_output: Annotated[TokenCount, Meta(description="Part of `output` that is images.")] = 0
    cache_write_1h: Annotated[TokenCount, Meta(description="Part of `cache_write` kept for an hour.")] = 0
    cache_write_5m: Annotated[TokenCount, Meta(description="Part of `cache_write` kept for five minutes.")] = 0
    cached_audio_input: Annotated[TokenCount, Meta(description="Part of `audio_input` read from the cache.")] = 0


class Units(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """What some providers charge for beside tokens. Each is a count of whole units."""

    web_searches: Annotated[UnitCount, Meta(description="Searches of the web.")] = 0
    social_searches: Annotated[UnitCount, Meta(description="Searches of social networks.")] = 0
    storage_searches: Annotated[UnitCount, Meta(description="Searches of stored files.")] = 0
    rerank_searches: Annotated[UnitCount, Meta(description="Searches whose results were ranked again.")] = 0
    code_executions: Annotated[UnitCount, Meta(description="Runs of code by the provider.")] = 0
    audio_seconds: Annotated[UnitCount, Meta(description="Whole seconds of audio.")] = 0
    input_audio_seconds: Annotated[UnitCount, Meta(description="Whole seconds of audio sent.")] = 0
    output_audio_seconds: Annotated[UnitCount, Meta(description="Whole seconds of audio made.")] = 0
    video_seconds: Annotated[UnitCount, Meta(description="Whole seconds of video.")] = 0
    images: Annotated[UnitCount, Meta(description="Images made or read.")] = 0
    characters: Annotated[UnitCount, Meta(description="Characters, as of speech or translation.")] = 0
    input_characters: Annotated[UnitCount, Meta(description="Characters sent.")] = 0
    pages: Annotated[UnitCount, Meta(description="Pages of documents.")] = 0
    input_document_pages: Annotated[UnitCount, Meta(description="Pages of documents sent.")] = 0
    input_annotated_document_pages: Annotated[
        UnitCount, Meta(description="Part of `input_document_pages` that was annotated.")
    ] = 0
    input_pixels: Annotated[UnitCount, Meta(description="Pixels of images sent.")] = 0


class ApiCall(
    msgspec.Struct,
    tag="api_call",
    tag_field="type",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
):
    """One call of an API, as a caller reports it. Only `provider` and `status_code` are required, not even `type`."""

    provider: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="Slug of the provider, such as `openai`; stored in lower case.",
        ),
    ]
    status_code: Annotated[
        int,
        Meta(
            ge=0,
            le=999,
            description="HTTP status of the answer; 0 when no answer came.",
            examples=[200],
        ),
    ]
    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)] | None,
        Meta(
            description="What makes the record one record: a UUIDv7 is best, any text will do. Without it the request"
            " needs an `Idempotency-Key`."
        ),
    ] = None
    timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="When the call began, RFC 3339 with a zone. Default: the time in a UUIDv7 id, else the receipt."
        ),
    ] = None
    endpoint: Annotated[
        Name | None,
        Meta(description="Template of the path, such as `/v1/models/{model}`."),
    ] = None
    path: Annotated[
        Annotated[str, Meta(max_length=MAX_PATH_CHARS)] | None,
        Meta(description="The path as called; the template is found in the catalog. The query is not kept."),
    ] = None
    method: Annotated[
        Annotated[str, Meta(max_length=16, pattern="^[A-Za-z]*$")] | None,
        Meta(description="HTTP method."),
    ] = None
    response_time_ms: Annotated[
        DurationMs | None,
        Meta(description="From the call to the end of the answer, in ms."),
    ] = None
    time_to_first_byte_ms: Annotated[
        DurationMs | None,
        Meta(description="From the call to the first byte of the answer, in ms."),
    ] = None
    request_size_bytes: Annotated[SizeBytes, Meta(description="Size of the request in bytes.")] = 0
    response_size_bytes: Annotated[SizeBytes, Meta(description="Size of the answer in bytes.")] = 0
    model: Annotated[Name | None, Meta(description="Name of the model, as the provider spells it.")] = None
    tokens: Annotated[Tokens | None, Meta(description="Model tokens by class.")] = None
    units: Annotated[Units | None, Meta(description="Units other than tokens that are charged for.")] = None
    service_variant: Annotated[
        Annotated[ShortNames, Meta(max_length=MAX_VARIANTS)] | None,
        Meta(description="What the provider's price depends on beside the model, such as `service_tier`."),
    ] = None
    cost: Annotated[
        Decimal | None,
        Meta(
            description="Cost of the call, as a decimal string or number. Left out, it is computed from the price book."
        ),
    ] = None
    currency: Annotated[
        Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None,
        Meta(description="ISO 4217 code of `cost`. Default: the organization's currency."),
    ] = None
    price_source: Annotated[
        Literal["given", "book", "none"] | None,
        Meta(
            description="Where the cost comes from. `given` needs `cost`; with `book` or `none` it is computed from the"
            " price book, whatever `cost` says. Default: `given` where there is a `cost`, else `book`."
        ),
    ] = None
    key: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Id (never the text) of the access key that made the call. Default: the key of the request."),
    ] = None
    application: Annotated[
        Name | None,
        Meta(description="Application that called. Default: the application of the key."),
    ] = None
    user: Annotated[
        Name | None,
        Meta(
            description="User of the organization: id or e-mail address of a member, or any name."
            " Default: the key's user."
        ),
    ] = None
    end_user: Annotated[
        Name | None,
        Meta(description="User of the application, as the application names them."),
    ] = None
    region: Annotated[Name | None, Meta(description="Region of the provider.")] = None
    session_id: Annotated[
        Name | None,
        Meta(description="Conversation or session that the call belongs to."),
    ] = None
    request_id: Annotated[Name | None, Meta(description="The provider's id of the request.")] = None
    trace_id: Annotated[
        Name | None,
        Meta(description="Id of the trace, such as W3C's 32 hexadecimal digits."),
    ] = None
    tags: Annotated[
        Annotated[ShortNames, Meta(max_length=MAX_TAGS)] | None,
        Meta(description="For attribution: team, feature, customer and the like."),
    ] = None
    metadata: Annotated[
        dict[str, Any] | None,
        Meta(
            description=f"Anything else, up to {MAX_METADATA_BYTES} bytes of JSON,"
            f" nested up to {MAX_METADATA_DEPTH} deep."
        ),
    ] = None
    error_type: Annotated[
        Name | None,
        Meta(description="Class of the error, such as `rate_limit_exceeded`."),
    ] = None
    error_message: Annotated[
        Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None,
        Meta(description="Message of the error; what looks like a secret is redacted."),
    ] = None
    user_agent: Annotated[
        Annotated[str, Meta(max_length=MAX_USER_AGENT_CHARS)] | None,
        Meta(description="The caller's User-Agent."),
    ] = None
    ip_address: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="The caller's address, IPv4 or IPv6."),
    ] = None
    request_headers: Annotated[
        Headers | None,
        Meta(description="Headers of the request; only those on the allow-list are kept, redacted."),
    ] = None
    response_headers: Annotated[
        Headers | None,
        Meta(description="Headers of the answer; only those on the allow-list are kept, redacted."),
    ] = None
    refused_by: Annotated[
        Name | None,
        Meta(
            description="Name of the limit that refused the call. It was never made then: it costs nothing, and no figure"
            " of requests, errors or durations counts it."
        ),
    ] = None


TOKEN_COLUMNS = MappingProxyType(
    {
        "input": "input_tokens",
        "output": "output_tokens",
        "cached_input": "cached_input_tokens",
        "cache_write": "cache_write_tokens",
        "reasoning": "reasoning_tokens",
        "audio_input": "audio_input_tokens",
        "audio_output": "audio_output_tokens",
        "image_input": "image_input_tokens",
        "image_output": "image_output_tokens",
    }
)
"""Column of each class of tokens that has one; the others are kept in `units` under their own names."""

CALL_COLUMN_TYPES = MappingProxyType(
    {
        "ordinal": "int4",
        "organization_id": "uuid",
        "id": "uuid",
        "key_at": "timestamptz",
        "is_opaque": "bool",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "provider": "text",
        "endpoint": "text",
        "method": "text",
        "status_code": "int2",
        "response_time_us": "int8",
        "ttfb_us": "int8",
        "request_bytes": "int8",
        "response_bytes": "int8",
        "model": "text",
        "region": "text",
        "key_id": "uuid",
        "application": "text",
        "user_ref": "text",
        "end_user": "text",
        "session_id": "text",
        "request_id": "text",
        "trace_id": "text",
        "input_tokens": "int8",
        "output_tokens": "int8",
        "cached_input_tokens": "int8",
        "cache_write_tokens": "int8",
        "reasoning_tokens": "int8",
        "audio_input_tokens": "int8",
        "audio_output_tokens": "int8",
        "image_input_tokens": "int8",
        "image_output_tokens": "int8",
        "units": "jsonb",
        "service_variant": "jsonb",
        "cost_nanos": "int8",
        "currency": "text",
        "price_source": "text",
        "price_id": "uuid",
        "unpriced_reason": "text",
        "tags": "jsonb",
        "metadata": "jsonb",
        "error_type": "text",
        "error_message": "text",
        "user_agent": "text",
        "ip_address": "inet",
        "request_headers": "jsonb",
        "response_headers": "jsonb",
        "sighting": "jsonb",
        "refused_by": "text",
    }
)
"""Columns of the table in which records are staged for `metering.store_calls_v1()`, in order, with their types."""

CALL_COLUMNS: tuple[str, ...] = tuple(CALL_COLUMN_TYPES)
NOT_NULL_COLUMNS = frozenset(CALL_COLUMNS) - {
    "response_time_us",
    "ttfb_us",
    "key_id",
    "end_user",
    "session_id",
    "request_id",
    "trace_id",
    "units",
    "service_variant",
    "cost_nanos",
    "price_id",
    "unpriced_reason",
    "tags",
    "metadata",
    "error_type",
    "error_message",
    "user_agent",
    "ip_address",
    "request_headers",
    "response_headers",
    "sighting",
    "refused_by",
}
"""Columns that always hold a value; the empty string stands for what a caller did not say."""
