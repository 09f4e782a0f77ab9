"""The columns that records of MCP servers have in common: who called, by which client, over what."""

from __future__ import annotations

from uuid import UUID

from nexus.contracts.mcp_requests import McpRequest
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, ToolCall
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.plain import Masker
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.sense import free_json_fault, metadata_fault
from nexus.kit.errors import FieldFault

Record = ToolCall | McpRequest


def who_called(record: Record, caller: Caller) -> bytes:
    """Encode principal, client and its version, application, user and key.

    The principal is the user, authenticated by the server or named by the key; where there is none it is the key.
    """
    key_id = UUID(record.key) if record.key else caller.key_id
    user = caller.user_ref(record.user)
    return b"".join(
        (
            rows.text(user or (f"key:{key_id}" if key_id else "")),
            rows.text(record.client_name or ""),
            rows.text(record.client_version or ""),
            rows.text(caller.application if record.application is None else record.application),
            rows.text(user),
            rows.uuid_bytes(None if key_id is None else key_id.bytes),
        )
    )


def how_it_came(record: Record, masker: Masker, organization_id: UUID) -> bytes:
    """Encode what every row ends with: from the end user to the metadata."""
    if record.metadata and metadata_fault(record.metadata):
        raise ValueError("metadata")
    optional = rows.optional_text
    return b"".join(
        (
            optional(record.end_user),
            optional(record.protocol_version),
            optional(record.transport),
            optional(record.session_id),
            optional(record.request_id),
            optional(record.trace_id),
            optional(record.span_id),
            optional(record.environment),
            optional(record.user_agent),
            rows.inet(record.ip_address) if record.ip_address else rows.NULL,
            rows.json(record.tags) if record.tags else rows.NULL,
            rows.jsonb(masker.json(organization_id, record.metadata)) if record.metadata else rows.NULL,
        )
    )


def masked_text(value: str | None, masker: Masker, organization_id: UUID) -> bytes:
    """Encode a text without what is to be masked, or NULL."""
    return rows.NULL if value is None else rows.text(masker.text(organization_id, value))


def masked_content(value: object, masker: Masker, organization_id: UUID) -> str:
    """Return a value as JSON without what is to be masked; `ValueError` where it is too large or too deep."""
    if free_json_fault(value, max_bytes=MAX_CONTENT_BYTES, max_depth=MAX_CONTENT_DEPTH):
        raise ValueError("content")
    return masker.json(organization_id, value)


def content_faults(record: object, names: tuple[str, ...], unusable: set[str]) -> list[FieldFault]:
    """Return what is wrong with the fields of free JSON; those that are `unusable` were told of before."""
    faults = []
    for name in names:
        value = getattr(record, name)
        if value is not None and name not in unusable:
            message = free_json_fault(value, max_bytes=MAX_CONTENT_BYTES, max_depth=MAX_CONTENT_DEPTH)
            if message:
                faults.append(FieldFault(name, message))
    return faults


def microseconds_of(milliseconds: float | None) -> bytes:
    """Encode a duration given in ms as µs."""
    return rows.int8(None if milliseconds is None else round(milliseconds * 1000))
