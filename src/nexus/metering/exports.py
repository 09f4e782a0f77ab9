"""Writes answers as CSV and Parquet: the same figures as in JSON, decimals exact, cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from nexus.metering.types import METRICS, Question

Kind = Literal["text", "integer", "decimal", "float", "instant", "json"]
CSV_TYPE = "text/csv; charset=utf-8"
PARQUET_TYPE = "application/vnd.apache.parquet"
COST_SCALE = 10
_TYPES: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.decimal128(38, COST_SCALE),
    "float": pa.float64(),
    "instant": pa.timestamp("us", tz="UTC"),
    "json": pa.string(),
}
# Sums over many calls can pass what 64 bits hold.
_SUM_TYPE = pa.decimal128(38, 0)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Column:
    """One column of an export."""

    name: str
    kind: Kind
    is_sum: bool = False

    @property
    def arrow_type(self) -> pa.DataType:
        """The column's type in Parquet."""
        return _SUM_TYPE if self.is_sum else _TYPES[self.kind]


def answer_columns(question: Question) -> list[Column]:
    """Return the columns of an exported summary or series: the point, the dimensions, the metrics."""
    columns = [Column("at", "instant")] if question.interval else []
    columns += [Column(name, "integer" if name == "status_code" else "text") for name in question.group_by]
    for name in METRICS:
        if name not in question.metrics:
            continue
        if name == "cost":
            columns.append(Column(name, "decimal"))
        elif name == "cost_other":
            columns.append(Column(name, "json"))
        elif name == "error_rate" or name.startswith("latency_"):
            columns.append(Column(name, "float"))
        else:
            columns.append(Column(name, "integer", is_sum=name.startswith(("tokens_", "bytes_"))))
    return columns


CALL_COLUMNS: tuple[Column, ...] = (
    Column("id", "text"), Column("timestamp", "instant"), Column("received_at", "instant"), Column("provider", "text"),
    Column("endpoint", "text"), Column("method", "text"), Column("status_code", "integer"),
    Column("response_time_ms", "float"), Column("time_to_first_byte_ms", "float"),
    Column("request_size_bytes", "integer"), Column("response_size_bytes", "integer"), Column("model", "text"),
    Column("region", "text"), Column("key", "text"), Column("application", "text"), Column("user", "text"),
    Column("end_user", "text"), Column("session_id", "text"), Column("request_id", "text"), Column("trace_id", "text"),
    Column("tokens_input", "integer"), Column("tokens_output", "integer"), Column("tokens_cached_input", "integer"),
    Column("tokens_cache_write", "integer"), Column("tokens_reasoning", "integer"),
    Column("tokens_audio_input", "integer"), Column("tokens_audio_output", "integer"),
    Column("tokens_image_input", "integer"), Column("tokens_image_output", "integer"), Column("units", "json"),
    Column("service_variant", "json"), Column("cost", "decimal"), Column("currency", "text"),
    Column("price_source", "text"), Column("price_id", "text"), Column("unpriced_reason", "text"),
    Column("tags", "json"), Column("metadata", "json"), Column("error_type", "text"), Column("error_message", "text"),
    Column("user_agent", "text"), Column("ip_address", "text"), Column("request_headers", "json"),
    Column("response_headers", "json"), Column("refused_by", "text"),
)  # fmt: skip
"""Columns of exported calls, in the order in which `store.CALL_FIELDS` reads them."""


_METADATA = next(index for index, column in enumerate(CALL_COLUMNS) if column.name == "metadata")


def call_values(row: Iterable[Any], metadata: Mapping[str, Any] | None) -> list[Any]:
    """Turn a stored call into the values of an export's columns; `metadata` are its own, with limits written out."""
    values = list(row)
    values[_METADATA] = metadata
    for index in (0, 13, 34, 41):  # id, key, price_id, ip_address
        values[index] = None if values[index] is None else str(values[index])
    for index in (7, 8):  # durations
        values[index] = None if values[index] is None else values[index] / 1000
    return values


def _cell(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    if kind == "text":
        text = str(value)
        # A spreadsheet runs what begins like this; the apostrophe makes it text (OWASP, CSV injection).
        return "'" + text if text.startswith(_FORMULA) else text
    if kind == "json":
        return msgspec.json.encode(value).decode()
    if kind == "decimal":
        return _plain(value)
    if kind == "instant":
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        text = at.astimezone(UTC).isoformat()
        return text.replace("+00:00", "Z")
    return repr(value) if kind == "float" else str(value)


def _plain(value: Any) -> str:
    text = f"{Decimal(value):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def csv_bytes(columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, header: bool) -> bytes:
    """Write rows as CSV (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    if header:
        writer.writerow([_cell("text", column.name) for column in columns])
    kinds = [column.kind for column in columns]
    writer.writerows([_cell(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows)
    return out.getvalue().encode("utf-8", "replace")


def _arrow_value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.is_sum:
        return Decimal(value)
    if column.kind == "decimal":
        return Decimal(value)
    if column.kind == "json":
        return msgspec.json.encode(value).decode()
    if column.kind == "instant" and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def _batch(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    arrays = [
        pa.array([_arrow_value(column, row[index]) for row in rows], type=column.arrow_type)
        for index, column in enumerate(columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_schema(columns))


def _schema(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([(column.name, column.arrow_type) for column in columns])


class _Drain(io.RawIOBase):
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data)
        self._parts.append(taken)
        self._length += len(taken)
        return len(taken)

    def tell(self) -> int:
        return self._length

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


class ParquetStream:
    """Writes Parquet in parts: a row group for each chunk of rows, the footer at the end."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._drain = _Drain()
        self._writer = pq.ParquetWriter(self._drain, _schema(columns), compression="zstd")

    def write(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Write a chunk; returns the bytes that are ready."""
        if rows:
            self._writer.write_batch(_batch(self._columns, rows))
        return self._drain.take()

    def finish(self) -> bytes:
        """Write the footer; returns the last bytes."""
        self._writer.close()
        return self._drain.take()


def export(columns: Sequence[Column], rows: Sequence[Sequence[Any]], form: str) -> bytes:
    """Write a whole answer in one piece."""
    if form == "csv":
        return csv_bytes(columns, rows, header=True)
    stream = ParquetStream(columns)
    return stream.write(rows) + stream.finish()


async def export_stream(
    columns: Sequence[Column], chunks: AsyncIterator[Sequence[Sequence[Any]]], form: str
) -> AsyncIterator[bytes]:
    """Write chunks of rows as they come; memory holds one chunk."""
    if form == "csv":
        yield csv_bytes(columns, (), header=True)
        async for rows in chunks:
            yield csv_bytes(columns, rows, header=False)
        return
    stream = ParquetStream(columns)
    async for rows in chunks:
        yield stream.write(rows)
    yield stream.finish()


def answer_rows(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Any]]:
    """Take the values of an answer's rows in the order of the columns."""
    for row in rows:
        yield [row.get(column.name) for column in columns]
