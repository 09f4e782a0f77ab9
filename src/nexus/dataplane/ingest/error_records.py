"""Records of errors: what is secret or personal is masked, then what makes the error one of a cause is found."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.contracts.error_records import (
    DEFAULT_ENVIRONMENT,
    ERROR_COLUMN_TYPES,
    ERROR_NOT_NULL,
    SEVERITY_OF_LEVEL,
    ErrorRecord,
)
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.mcp_columns import content_faults, masked_content, masked_text
from nexus.dataplane.ingest.plain import Masker, PlainEncoder
from nexus.dataplane.ingest.record_type import Caller, RecordType, Tables
from nexus.dataplane.ingest.sense import metadata_fault, shared_faults
from nexus.kit.errors import FieldFault
from nexus.kit.fingerprint import find_cause


def faults_of_error(record: ErrorRecord, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of an error whose fields are well-formed."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    return faults + content_faults(record, ("context", "tool_context"), {fault.field for fault in faults})


class _Fields:
    """Encodes an error's own columns. Every text of the caller's is masked: a secret may stand anywhere."""

    def __init__(self, tables: Tables) -> None:
        self._masker = Masker(tables)

    def __call__(self, record: ErrorRecord, caller: Caller) -> bytes:
        masker, organization_id = self._masker, caller.organization_id
        if record.metadata and metadata_fault(record.metadata):
            raise ValueError("metadata")

        def clean(value: str | None) -> str:
            return masker.text(organization_id, value) if value else ""

        def name(value: str | None) -> str:
            return masker.name(value) if value else ""

        def optional_name(value: str | None) -> bytes:
            return rows.NULL if value is None else rows.text(masker.name(value))

        def content(value: dict[str, Any] | None) -> bytes:
            return rows.NULL if value is None else rows.jsonb(masked_content(value, masker, organization_id))

        message, stack, service = clean(record.message), clean(record.stack_trace), name(record.service)
        error_type, error_code = name(record.error_type), name(record.error_code)
        cause = find_cause(
            masker.name(record.message),
            error_type=error_type,
            error_code=error_code,
            stack=name(record.stack_trace),
            service=service,
            explicit=[masker.name(part) for part in record.fingerprint or ()],
            clean=clean,
        )
        level = record.level or "error"
        key_id = UUID(record.key) if record.key else caller.key_id
        text = rows.text
        return b"".join(
            (
                rows.uuid_bytes(cause.fingerprint.bytes),
                text(cause.rule),
                text(cause.normalised),
                text(cause.culprit),
                text(level),
                text(error_type),
                text(error_code),
                text(message),
                text(name(record.category)),
                rows.int2(record.severity or SEVERITY_OF_LEVEL[level]),
                text(record.impact_level or ""),
                text(service),
                text(name(record.environment) or DEFAULT_ENVIRONMENT),
                text(name(record.service_version)),
                text(caller.application if record.application is None else name(record.application)),
                text(caller.user_ref(record.user)),
                rows.uuid_bytes(None if key_id is None else key_id.bytes),
                rows.NULL if record.stack_trace is None else text(stack),
                content(record.context),
                content(record.tool_context),
                optional_name(record.deployment_id),
                rows.boolean(record.handled),
                optional_name(record.end_user),
                optional_name(record.session_id),
                optional_name(record.request_id),
                optional_name(record.execution_id),
                optional_name(record.trace_id),
                optional_name(record.span_id),
                masked_text(record.url, masker, organization_id),
                optional_name(record.user_agent),
                rows.inet(record.ip_address) if record.ip_address else rows.NULL,
                content(dict(record.tags)) if record.tags else rows.NULL,
                content(record.metadata) if record.metadata else rows.NULL,
            )
        )


ERROR = RecordType(
    struct=ErrorRecord,
    least={"message": "x"},
    table="issues.occurrences",
    staging="staged_errors",
    stage="stage_errors",
    store="store_errors",
    column_types=ERROR_COLUMN_TYPES,
    not_null=ERROR_NOT_NULL,
    faults_of=faults_of_error,
    encoder=lambda tables: PlainEncoder(_Fields(tables), faults_of_error),
)
