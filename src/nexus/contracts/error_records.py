"""The record of an error as it travels: what a caller may send, its limits, and the columns it is stored in.

An error is something that went wrong in a program, told by the program. It is not the failure of a tool call or of a
request: those are told by `tool_call` and `mcp_request`, and counted there.
"""

# The annotations are read when the decoder is built, so this module does not postpone them.
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nexus.contracts.calls import (
    MAX_ID_CHARS,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_PATH_CHARS,
    MAX_TAGS,
    MAX_TEXT_CHARS,
    MAX_USER_AGENT_CHARS,
    Name,
    ShortNames,
)
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, MAX_STACK_CHARS

MAX_FINGERPRINT_PARTS = 16
DEFAULT_ENVIRONMENT = "production"
Level = Literal["debug", "info", "warn", "error", "fatal"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warn", "error", "fatal")
Impact = Literal["low", "medium", "high", "critical"]
IMPACTS: tuple[Impact, ...] = ("low", "medium", "high", "critical")
SEVERITY_OF_LEVEL = MappingProxyType({"debug": 1, "info": 1, "warn": 2, "error": 3, "fatal": 5})
"""What stands for a severity that is not given; 5 is the worst."""


class ErrorRecord(
    msgspec.Struct,
    tag="error",
    tag_field="type",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
):
    """One error. `message` is required, and `type`."""

    message: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)],
        Meta(description="What went wrong, in words. What is secret or personal is masked before it is stored."),
    ]
    level: Annotated[Level | None, Meta(description=f"One of {', '.join(LEVELS)}. Default: `error`.")] = None
    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)] | None,
        Meta(
            description="What makes the record one record: a UUIDv7 is best, any text will do. Without it the request"
            " needs an `Idempotency-Key`."
        ),
    ] = None
    timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="When it happened, RFC 3339 with a zone. Default: the time in a UUIDv7 id, else the receipt."),
    ] = None
    error_type: Annotated[
        Name | None, Meta(description="Class of the error: the name of an exception, `timeout` and the like.")
    ] = None
    error_code: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Code of the error, such as `ECONNREFUSED` or `23505`. It tells causes apart as it is."),
    ] = None
    stack_trace: Annotated[
        Annotated[str, Meta(max_length=MAX_STACK_CHARS)] | None,
        Meta(description="Stack trace, in the form the program's language gives it, masked as `message` is."),
    ] = None
    fingerprint: Annotated[
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=MAX_PATH_CHARS)]],
            Meta(min_length=1, max_length=MAX_FINGERPRINT_PARTS),
        ]
        | None,
        Meta(
            description="What errors of one cause have in common, where the program knows better: errors with the same"
            " list are one issue. `{{ default }}` in it stands for what would group them otherwise."
        ),
    ] = None
    category: Annotated[
        Name | None, Meta(description="Kind of cause: `authentication`, `database`, `external_api`, `validation`.")
    ] = None
    severity: Annotated[
        Annotated[int, Meta(ge=1, le=5)] | None,
        Meta(description="1 to 5, the worst. Default: that of the level (warn 2, error 3, fatal 5, else 1)."),
    ] = None
    impact_level: Annotated[Impact | None, Meta(description=f"How far it reaches: {', '.join(IMPACTS)}.")] = None
    context: Annotated[
        dict[str, Any] | None,
        Meta(
            description=f"What the program was doing, up to {MAX_CONTENT_BYTES} bytes of JSON, nested up to"
            f" {MAX_CONTENT_DEPTH} deep, masked as `message` is."
        ),
    ] = None
    tool_context: Annotated[
        dict[str, Any] | None,
        Meta(description="What the tool was doing where the error is one of an MCP server, as `context`."),
    ] = None
    service: Annotated[
        Name | None,
        Meta(description="The program it happened in. Errors of two services are two issues."),
    ] = None
    environment: Annotated[
        Name | None, Meta(description=f"Where the program runs. Default: `{DEFAULT_ENVIRONMENT}`.")
    ] = None
    service_version: Annotated[Name | None, Meta(description="Version of the service.")] = None
    deployment_id: Annotated[Name | None, Meta(description="Deployment that runs.")] = None
    handled: Annotated[bool | None, Meta(description="Whether the program caught it.")] = None
    key: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Id (never the text) of the access key it concerns. Default: the key of the request."),
    ] = None
    application: Annotated[
        Name | None, Meta(description="Application it concerns. Default: the application of the key.")
    ] = None
    user: Annotated[
        Name | None,
        Meta(description="Whom it met: id or e-mail address of a member, or any name. Default: the key's user."),
    ] = None
    end_user: Annotated[Name | None, Meta(description="User of the application, as the application names them.")] = None
    session_id: Annotated[Name | None, Meta(description="Session it happened in.")] = None
    request_id: Annotated[Name | None, Meta(description="Request it happened in.")] = None
    execution_id: Annotated[
        Name | None, Meta(description="Id of the tool call it happened in: the `id` of the `tool_call`.")
    ] = None
    trace_id: Annotated[Name | None, Meta(description="Id of the trace, such as W3C's 32 hexadecimal digits.")] = None
    span_id: Annotated[Name | None, Meta(description="Id of the span, such as W3C's 16 hexadecimal digits.")] = None
    url: Annotated[
        Annotated[str, Meta(max_length=MAX_PATH_CHARS)] | None,
        Meta(description="Address that was asked for or called; passwords and secret parameters in it are masked."),
    ] = None
    user_agent: Annotated[
        Annotated[str, Meta(max_length=MAX_USER_AGENT_CHARS)] | None, Meta(description="The client's User-Agent.")
    ] = None
    ip_address: Annotated[
        Annotated[str, Meta(max_length=64)] | None, Meta(description="The client's address, IPv4 or IPv6.")
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


ERROR_COLUMN_TYPES = MappingProxyType(
    {
        "ordinal": "int4",
        "organization_id": "uuid",
        "id": "uuid",
        "key_at": "timestamptz",
        "is_opaque": "bool",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "fingerprint": "uuid",
        "rule": "text",
        "normalised": "text",
        "culprit": "text",
        "level": "text",
        "error_type": "text",
        "error_code": "text",
        "message": "text",
        "category": "text",
        "severity": "int2",
        "impact_level": "text",
        "service": "text",
        "environment": "text",
        "service_version": "text",
        "application": "text",
        "user_ref": "text",
        "key_id": "uuid",
        "stack_trace": "text",
        "context": "jsonb",
        "tool_context": "jsonb",
        "deployment_id": "text",
        "handled": "bool",
        "end_user": "text",
        "session_id": "text",
        "request_id": "text",
        "execution_id": "text",
        "trace_id": "text",
        "span_id": "text",
        "url": "text",
        "user_agent": "text",
        "ip_address": "inet",
        "tags": "jsonb",
        "metadata": "jsonb",
    }
)
"""Columns of the table in which errors are staged for `issues.store_errors_v1()`, in order, with their types."""

ERROR_NOT_NULL = frozenset(
    {
        "ordinal", "organization_id", "id", "key_at", "is_opaque", "occurred_at", "received_at", "fingerprint", "rule",
        "normalised", "culprit", "level", "error_type", "error_code", "message", "category", "severity", "impact_level",
        "service", "environment", "service_version", "application", "user_ref",
    }
)  # fmt: skip
"""Columns that always hold a value; the empty string stands for what a caller did not say."""
