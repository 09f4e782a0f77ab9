"""Records of requests to MCP servers: who asked is resolved, headers are chosen, content is masked."""

from __future__ import annotations

from datetime import datetime

from nexus.contracts.mcp_requests import MCP_REQUEST_COLUMN_TYPES, MCP_REQUEST_NOT_NULL, McpRequest
from nexus.dataplane.endpoints import strip_query
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
from nexus.dataplane.ingest.sense import are_too_large, shared_faults
from nexus.kit.errors import FieldFault
from nexus.kit.redaction import redact_headers


def faults_of_mcp_request(record: McpRequest, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a request whose fields are well-formed."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    return faults + content_faults(record, ("request_body", "response_body"), {fault.field for fault in faults})


class _Fields:
    """Encodes a request's own columns."""

    def __init__(self, tables: Tables) -> None:
        self._masker = Masker(tables)

    def __call__(self, record: McpRequest, caller: Caller) -> bytes:
        masker, organization_id = self._masker, caller.organization_id

        def content(value: object) -> bytes:
            return rows.NULL if value is None else rows.jsonb(masked_content(value, masker, organization_id))

        def headers(value: dict[str, str] | None) -> bytes:
            if value and are_too_large(value):
                raise ValueError("headers")
            kept = redact_headers(value) if value else None
            return rows.json(kept) if kept else rows.NULL

        def size(told: int | None, value: object) -> bytes:
            return rows.int8(told if told is not None else 0 if value is None else len(rows.compact(value)))

        optional = rows.optional_text
        target = masker.text(organization_id, strip_query(record.target)) if record.target else ""
        path = None if record.path is None else strip_query(record.path)
        return b"".join(
            (
                rows.text(record.server or ""),
                rows.text(record.method),
                rows.text(target),
                rows.text(record.outcome),
                rows.int2(record.status_code),
                who_called(record, caller),
                microseconds_of(record.duration_ms),
                microseconds_of(record.queue_ms),
                microseconds_of(record.processing_ms),
                size(record.request_size_bytes, record.request_body),
                size(record.response_size_bytes, record.response_body),
                optional(record.http_method.upper() if record.http_method else None),
                masked_text(path, masker, organization_id),
                content(record.query or None),
                headers(record.request_headers),
                headers(record.response_headers),
                content(record.request_body),
                content(record.response_body),
                optional(record.error_type),
                optional(record.error_code),
                masked_text(record.error_message, masker, organization_id),
                optional(record.correlation_id),
                how_it_came(record, masker, organization_id),
            )
        )


MCP_REQUEST = RecordType(
    struct=McpRequest,
    least={"method": "x", "outcome": "ok"},
    table="mcp.requests",
    staging="staged_requests",
    stage="stage_requests",
    store="store_requests",
    column_types=MCP_REQUEST_COLUMN_TYPES,
    not_null=MCP_REQUEST_NOT_NULL,
    faults_of=faults_of_mcp_request,
    encoder=lambda tables: PlainEncoder(_Fields(tables), faults_of_mcp_request),
)
