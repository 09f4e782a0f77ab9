"""Records of MCP tool calls: who called is resolved, what is secret or personal masked, the parameters hashed."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from uuid import UUID

from nexus.contracts.tool_calls import (
    MAX_CONTENT_BYTES,
    MAX_CONTENT_DEPTH,
    TOOL_CALL_COLUMN_TYPES,
    TOOL_CALL_NOT_NULL,
    ToolCall,
)
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.plain import Masker, PlainEncoder
from nexus.dataplane.ingest.record_type import Caller, RecordType, Tables
from nexus.dataplane.ingest.sense import free_json_fault, metadata_fault, shared_faults
from nexus.kit.errors import FieldFault


def faults_of_tool_call(record: ToolCall, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a tool call whose fields are well-formed."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    named = {fault.field for fault in faults}
    for name in ("parameters", "response"):
        value = getattr(record, name)
        if value is not None and name not in named:
            message = free_json_fault(value, max_bytes=MAX_CONTENT_BYTES, max_depth=MAX_CONTENT_DEPTH)
            if message:
                faults.append(FieldFault(name, message))
    return faults


class _Fields:
    """Encodes a tool call's own columns."""

    def __init__(self, tables: Tables) -> None:
        self._masker = Masker(tables)

    def __call__(self, record: ToolCall, caller: Caller) -> bytes:
        if record.metadata and metadata_fault(record.metadata):
            raise ValueError("metadata")
        organization_id = caller.organization_id
        key_id = UUID(record.key) if record.key else caller.key_id
        user = caller.user_ref(record.user)
        parameters, parameters_hash = rows.NULL, rows.NULL
        if record.parameters is not None:
            text = self._content(record.parameters, organization_id)
            parameters = rows.jsonb(text)
            # Of what is stored: a hash of what was masked would let it be guessed.
            parameters_hash = rows.text(sha256(text.encode()).hexdigest())
        response, size = rows.NULL, record.response_size_bytes
        if record.response is not None:
            text = self._content(record.response, organization_id)
            response = rows.jsonb(text)
            if size is None:
                size = len(rows.compact(record.response))
        duration_us = None if record.duration_ms is None else round(record.duration_ms * 1000)
        text_of = self._masker.text
        message, stack = record.error_message, record.error_stack
        optional = rows.optional_text
        return b"".join(
            (
                rows.text(record.server or ""),
                rows.text(record.tool),
                rows.text(record.outcome),
                rows.text(user or (f"key:{key_id}" if key_id else "")),
                rows.text(record.client_name or ""),
                rows.text(record.client_version or ""),
                rows.text(caller.application if record.application is None else record.application),
                rows.text(user),
                rows.uuid_bytes(None if key_id is None else key_id.bytes),
                rows.int8(duration_us),
                rows.int8(size or 0),
                rows.int8(record.memory_bytes),
                rows.float8(record.cpu_percent),
                rows.boolean(record.cache_hit),
                parameters,
                parameters_hash,
                response,
                optional(record.error_type),
                optional(record.error_code),
                rows.NULL if message is None else rows.text(text_of(organization_id, message)),
                rows.NULL if stack is None else rows.text(text_of(organization_id, stack)),
                optional(record.server_version),
                optional(record.tool_version),
                optional(record.operation),
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
                rows.jsonb(self._masker.json(organization_id, record.metadata)) if record.metadata else rows.NULL,
            )
        )

    def _content(self, value: object, organization_id: UUID) -> str:
        if free_json_fault(value, max_bytes=MAX_CONTENT_BYTES, max_depth=MAX_CONTENT_DEPTH):
            raise ValueError("content")
        return self._masker.json(organization_id, value)


TOOL_CALL = RecordType(
    struct=ToolCall,
    least={"tool": "x", "outcome": "ok"},
    table="mcp.tool_calls",
    staging="staged_tool_calls",
    stage="stage_tool_calls",
    store="store_tool_calls",
    column_types=TOOL_CALL_COLUMN_TYPES,
    not_null=TOOL_CALL_NOT_NULL,
    faults_of=faults_of_tool_call,
    encoder=lambda tables: PlainEncoder(_Fields(tables), faults_of_tool_call),
)
