"""The record of storage operations as it travels: what one application did to storage in one window of time.

A reporter sends a record for each window, application and kind of operation: the counters of a metrics exporter, or one
operation by itself. Operations and bytes are counts of the window, never rates.
"""

# The annotations are read when the decoder is built, so this module does not postpone them.
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from nexus.contracts.calls import (
    MAX_ID_CHARS,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_TAGS,
    DurationMs,
    Name,
    ShortNames,
)

MAX_COUNT = 10**12
MAX_BYTES = 2**53
MAX_WINDOW_SECONDS = 3_600
COUNTS = ("read_ops", "write_ops", "bytes_read", "bytes_written")
"""At least one of them says what was done."""
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Bytes = Annotated[int, Meta(ge=0, le=MAX_BYTES)]
BytesPerSecond = Annotated[float, Meta(ge=0, le=MAX_BYTES)]


class StorageRecord(
    msgspec.Struct,
    tag="storage",
    tag_field="type",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
):
    """Storage operations of one window. `type` is required, and one of the four counts of operations and bytes."""

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
            description="When the window began, RFC 3339 with a zone. Default: the time in a UUIDv7 id, else the receipt."
        ),
    ] = None
    window_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=MAX_WINDOW_SECONDS)] | None,
        Meta(
            description="How long the window is, up to an hour. Without it the record counts, and says nothing of rates."
        ),
    ] = None
    application: Annotated[
        Name | None, Meta(description="Application that used the storage. Default: the application of the key.")
    ] = None
    cluster: Annotated[Name | None, Meta(description="Storage cluster, volume or bucket that was used.")] = None
    operation: Annotated[Name | None, Meta(description="Kind of operation, such as `read_small` or `PutObject`.")] = (
        None
    )
    read_ops: Annotated[Count | None, Meta(description="Read operations in the window. Default: 0.")] = None
    write_ops: Annotated[Count | None, Meta(description="Write operations in the window. Default: 0.")] = None
    error_count: Annotated[Count | None, Meta(description="Operations of the window that failed. Default: 0.")] = None
    bytes_read: Annotated[Bytes | None, Meta(description="Bytes read in the window. Default: 0.")] = None
    bytes_written: Annotated[Bytes | None, Meta(description="Bytes written in the window. Default: 0.")] = None
    avg_latency_ms: Annotated[
        DurationMs | None, Meta(description="Mean latency of the window's operations, in ms.")
    ] = None
    p95_latency_ms: Annotated[
        DurationMs | None, Meta(description="95th percentile of the latency of the window's operations, in ms.")
    ] = None
    p99_latency_ms: Annotated[DurationMs | None, Meta(description="99th percentile, in ms.")] = None
    avg_throughput_bytes_per_second: Annotated[
        BytesPerSecond | None,
        Meta(description="Mean throughput of the window. Default: its bytes by `window_seconds`."),
    ] = None
    peak_throughput_bytes_per_second: Annotated[
        BytesPerSecond | None, Meta(description="Highest throughput within the window.")
    ] = None
    connection_count: Annotated[Count | None, Meta(description="Connections that were open.")] = None
    environment: Annotated[Name | None, Meta(description="Where it ran: `production`, `staging`.")] = None
    key: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Id (never the text) of the access key it concerns. Default: the key of the request."),
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


STORAGE_COLUMN_TYPES = MappingProxyType(
    {
        "ordinal": "int4",
        "organization_id": "uuid",
        "id": "uuid",
        "key_at": "timestamptz",
        "is_opaque": "bool",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "application": "text",
        "cluster": "text",
        "operation": "text",
        "environment": "text",
        "read_ops": "int8",
        "write_ops": "int8",
        "error_count": "int8",
        "bytes_read": "int8",
        "bytes_written": "int8",
        "window_us": "int8",
        "latency_us": "int8",
        "latency_p95_us": "int8",
        "latency_p99_us": "int8",
        "bytes_per_second": "float8",
        "peak_bytes_per_second": "float8",
        "connection_count": "int8",
        "key_id": "uuid",
        "tags": "jsonb",
        "metadata": "jsonb",
    }
)
"""Columns of the table in which windows are staged for `storage.store_windows_v1()`, in order, with their types."""

STORAGE_NOT_NULL = frozenset(
    {
        "ordinal",
        "organization_id",
        "id",
        "key_at",
        "is_opaque",
        "occurred_at",
        "received_at",
        "application",
        "cluster",
        "operation",
        "environment",
        "read_ops",
        "write_ops",
        "error_count",
        "bytes_read",
        "bytes_written",
    }
)
"""Columns that always hold a value; the empty string stands for what a caller did not say."""
