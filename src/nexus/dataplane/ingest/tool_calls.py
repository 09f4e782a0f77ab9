"""Records of MCP tool calls: who called is resolved, what is secret or personal masked, the parameters hashed."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from nexus.contracts.tool_calls import TOOL_CALL_COLUMN_TYPES, TOOL_CALL_NOT_NULL, ToolCall
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.mcp_columns import (
    content_faults,
    how_it_came,
    masked_content,
    masked_text,
    microseconds_of,
    who_called,
)
from nexus.dataplane.ingest.plain import Masker, PlainEncoder
from nexus.dataplane.ingest.record_type import Caller, RecordType, Tables
from nexus.dataplane.ingest.sense import shared_faults
from nexus.kit.errors import FieldFault


def faults_of_tool_call(record: ToolCall, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a tool call whose fields are well-formed."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    return faults + content_faults(record, ("parameters", "response"), {fault.field for fault in faults})


class _Fields:
    """Encodes a tool call's own columns."""

    def __init__(self, tables: Tables) -> None:
        self._masker = Masker(tables)

    def __call__(self, record: ToolCall, caller: Caller) -> bytes:
        masker, organization_id = self._masker, caller.organization_id
        parameters, parameters_hash = rows.NULL, rows.NULL
        if record.parameters is not None:
            written = masked_content(record.parameters, masker, organization_id)
            parameters = rows.jsonb(written)
            # Of what is stored: a hash of what was masked would let it be guessed.
            parameters_hash = rows.text(sha256(written.encode()).hexdigest())
        response, size = rows.NULL, record.response_size_bytes
        if record.response is not None:
            response = rows.jsonb(masked_content(record.response, masker, organization_id))
            if size is None:
                size = len(rows.compact(record.response))
        optional = rows.optional_text
        return b"".join(
            (
                rows.text(record.server or ""),
                rows.text(record.tool),
                rows.text(record.outcome),
                who_called(record, caller),
                microseconds_of(record.duration_ms),
                rows.int8(size or 0),
                rows.int8(record.memory_bytes),
                rows.float8(record.cpu_percent),
                rows.boolean(record.cache_hit),
                parameters,
                parameters_hash,
                response,
                optional(record.error_type),
                optional(record.error_code),
                masked_text(record.error_message, masker, organization_id),
                masked_text(record.error_stack, masker, organization_id),
                optional(record.server_version),
                optional(record.tool_version),
                optional(record.operation),
                how_it_came(record, masker, organization_id),
            )
        )


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
