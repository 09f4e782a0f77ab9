"""Records of storage operations: rates are made of counts where the reporter gives none, free text is masked."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from nexus.contracts.storage_records import COUNTS, STORAGE_COLUMN_TYPES, STORAGE_NOT_NULL, StorageRecord
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.mcp_columns import masked_content, microseconds_of
from nexus.dataplane.ingest.plain import Masker, PlainEncoder
from nexus.dataplane.ingest.record_type import Caller, RecordType, Tables
from nexus.dataplane.ingest.sense import metadata_fault, shared_faults
from nexus.kit.errors import FieldFault


def faults_of_storage(record: StorageRecord, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a record whose fields are well-formed."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=has_idempotency_key)
    if _counts_nothing(record):
        faults.append(
            FieldFault("read_ops", f"say what was done: give one of {', '.join(COUNTS)}, 0 where it was nothing")
        )
    return faults


def _counts_nothing(record: StorageRecord) -> bool:
    return all(getattr(record, name) is None for name in COUNTS)


class _Fields:
    """Encodes a window's own columns."""

    def __init__(self, tables: Tables) -> None:
        self._masker = Masker(tables)

    def __call__(self, record: StorageRecord, caller: Caller) -> bytes:
        if _counts_nothing(record):
            raise ValueError("counts")
        if record.metadata and metadata_fault(record.metadata):
            raise ValueError("metadata")
        masker, organization_id = self._masker, caller.organization_id

        def name(value: str | None) -> bytes:
            return rows.text(masker.name(value) if value else "")

        read, written = record.bytes_read or 0, record.bytes_written or 0
        throughput = record.avg_throughput_bytes_per_second
        if throughput is None and record.window_seconds is not None:
            throughput = (read + written) / record.window_seconds
        key_id = UUID(record.key) if record.key else caller.key_id
        return b"".join(
            (
                rows.text(caller.application) if record.application is None else name(record.application),
                name(record.cluster),
                name(record.operation),
                name(record.environment),
                rows.int8(record.read_ops or 0),
                rows.int8(record.write_ops or 0),
                rows.int8(record.error_count or 0),
                rows.int8(read),
                rows.int8(written),
                # A window of less than a microsecond is one of a microsecond: rates are divided by it.
                rows.int8(None if record.window_seconds is None else max(1, round(record.window_seconds * 1e6))),
                microseconds_of(record.avg_latency_ms),
                microseconds_of(record.p95_latency_ms),
                microseconds_of(record.p99_latency_ms),
                rows.float8(throughput),
                rows.float8(record.peak_throughput_bytes_per_second),
                rows.int8(record.connection_count),
                rows.uuid_bytes(None if key_id is None else key_id.bytes),
                rows.jsonb(masked_content(dict(record.tags), masker, organization_id)) if record.tags else rows.NULL,
                rows.jsonb(masker.json(organization_id, record.metadata)) if record.metadata else rows.NULL,
            )
        )


STORAGE = RecordType(
    struct=StorageRecord,
    least={},
    table="storage.windows",
    staging="staged_windows",
    stage="stage_windows",
    store="store_windows",
    column_types=STORAGE_COLUMN_TYPES,
    not_null=STORAGE_NOT_NULL,
    faults_of=faults_of_storage,
    encoder=lambda tables: PlainEncoder(_Fields(tables), faults_of_storage),
)
