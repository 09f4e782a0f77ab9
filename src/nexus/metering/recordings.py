"""Recorded traffic as records: NDJSON of our own, an LLM trace, access logs of Apache and nginx, calls of MCP tools.

A record's id comes from the file's content and the record's number, before any shift of time: the same file replayed
again, shifted or not, is the same calls, and lines that repeat in a log stay the different calls they were.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import opaque_uuid, uuid7_time

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Format = Literal["ndjson", "azure-llm-trace", "access-log", "tool-calls"]
FORMATS: tuple[Format, ...] = ("ndjson", "azure-llm-trace", "access-log", "tool-calls")
_SNIFFED_LINES = 20
_TOOL_COLUMNS = frozenset({"server", "tool", "arguments", "is_error"})
_TRACE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# Common and combined log format; what follows (nginx's own additions, a request time) is left alone.
_ACCESS = re.compile(
    r"^(?P<ip>\S+) \S+ (?P<user>.+?) \[(?P<at>\d{2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<bytes>\d{1,18}|-)(?!\S)'
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?(?P<rest>.*)$',
    re.ASCII,
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_MAX_AGENT_CHARS = 500
_MAX_PATH_CHARS = 1000


class UnreadableRecording(InvalidRequest):
    """The file is no recording of a known form."""

    code = "unreadable_recording"


@dataclass(frozen=True)
class Line:
    """One record of a recording, or why there is none at this line."""

    number: int
    record: dict[str, Any] | None
    at: datetime | None = None
    fault: str = ""


@dataclass(frozen=True)
class Recording:
    """A file of recorded traffic."""

    path: Path
    format: Format
    digest: str
    provider: str | None = None
    model: str | None = None

    def __iter__(self) -> Iterator[Line]:
        """Yield every record in the order of the file."""
        with open_text(self.path) as file:
            match self.format:
                case "ndjson":
                    yield from self._ndjson(file)
                case "azure-llm-trace":
                    yield from self._trace(file)
                case "access-log":
                    yield from self._access_log(file)
                case "tool-calls":
                    yield from self._tool_calls(file)

    def _id(self, number: int) -> str:
        return str(opaque_uuid(f"replay:{self.digest}:{number}"))

    def _ndjson(self, file: IO[str]) -> Iterator[Line]:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                record = msgspec.json.decode(text)
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
                yield Line(number, None, fault=f"it is no JSON: {error}")
                continue
            if not isinstance(record, dict):
                yield Line(number, None, fault="it is no JSON object")
                continue
            if record.get("id") is None:
                record["id"] = self._id(number)
            if self.provider is not None:
                record["provider"] = self.provider
            if self.model is not None:
                record["model"] = self.model
            yield Line(number, record, _instant(record))

    def _tool_calls(self, file: IO[str]) -> Iterator[Line]:
        """Read calls of MCP tools as LiveMCPBench keeps them. They tell no time: they are taken as made when they are sent.

        A call without a tool is one of the agent's own, known by what it is called.
        """
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = msgspec.json.decode(text, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
                yield Line(number, None, fault=f"it is no JSON object: {error}")
                continue
            if not row.keys() >= _TOOL_COLUMNS:
                yield Line(number, None, fault=f"it names no {', '.join(sorted(_TOOL_COLUMNS - row.keys()))}")
                continue
            yield Line(number, self._tool_record(number, row))

    def _tool_record(self, number: int, row: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {
            "type": "tool_call",
            "id": self._id(number),
            "tool": str(row["tool"] or row.get("call") or "unknown"),
            "outcome": "tool_error" if row["is_error"] else "ok",
        }
        server = self.provider or row["server"]
        if server:
            record["server"] = server
        if isinstance(row["arguments"], dict):
            record["parameters"] = row["arguments"]
        if isinstance(row.get("result_chars"), int):
            record["response_size_bytes"] = row["result_chars"]
        if row.get("task_id"):
            record["trace_id"] = str(row["task_id"])
        return record

    def _trace(self, file: IO[str]) -> Iterator[Line]:
        names = _cells(next(file, ""))
        missing = [name for name in _TRACE_COLUMNS if name not in names]
        if missing:
            message = f"its first line names no column {', '.join(missing)}"
            raise UnreadableRecording(f"{self.path}: {message}", faults=[FieldFault("file", message)])
        at_column, context_column, generated_column = (names.index(name) for name in _TRACE_COLUMNS)
        # Line by line: a quote that is never closed spoils its own line, not all that follow.
        for number, text in enumerate(file, 2):
            if not text.strip():
                continue
            try:
                cells = _cells(text)
                at = _trace_time(cells[at_column])
                context, generated = int(cells[context_column]), int(cells[generated_column])
                if context < 0 or generated < 0:
                    raise ValueError("token counts are zero or more")
            except IndexError:
                yield Line(number, None, fault="it is no line of the trace: columns are missing")
                continue
            except ValueError as error:
                yield Line(number, None, fault=f"it is no line of the trace: {error}")
                continue
            yield Line(
                number,
                {
                    "id": self._id(number),
                    "timestamp": at.isoformat(),
                    "provider": self.provider or "azure",
                    "model": self.model or "gpt-4o",
                    "endpoint": "/chat/completions",
                    "method": "POST",
                    "status_code": 200,
                    "tokens": {"input": context, "output": generated},
                },
                at,
            )

    def _access_log(self, file: IO[str]) -> Iterator[Line]:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            found = _ACCESS.match(text.rstrip("\r\n"))
            if found is None:
                yield Line(number, None, fault="it is no line of an access log")
                continue
            try:
                at = _log_time(found["at"])
            except (KeyError, ValueError, OverflowError) as error:
                yield Line(number, None, fault=f"its time cannot be read: {error}")
                continue
            yield Line(number, self._access_record(number, found, at), at)

    def _access_record(self, number: int, found: re.Match[str], at: datetime) -> dict[str, Any]:
        method, path = _request_of(found["request"])
        record: dict[str, Any] = {
            "id": self._id(number),
            "timestamp": at.isoformat(),
            "provider": self.provider or "web",
            "status_code": int(found["status"]),
        }
        if method:
            record["method"] = method
        if path:
            record["path"] = path
        if found["bytes"] != "-":
            record["response_size_bytes"] = int(found["bytes"])
        if found["agent"] and found["agent"] != "-":
            record["user_agent"] = _clean(found["agent"])[:_MAX_AGENT_CHARS]
        if _is_address(found["ip"]):
            record["ip_address"] = found["ip"]
        if found["user"] not in {"-", '""'}:
            record["user"] = _clean(found["user"])[:200]
        seconds = re.search(r"(?:^|\s)(?:rt=)?(\d{1,5}\.\d{3,6})(?:\s|$)", found["rest"] or "")
        if seconds:
            record["response_time_ms"] = round(float(seconds[1]) * 1000, 3)
        return record


def _clean(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _request_of(text: str) -> tuple[str, str]:
    parts = text.split(" ")
    if len(parts) < 2 or not re.fullmatch(r"[A-Z]{1,16}", parts[0]):
        return "", ""
    target = _clean(parts[1])
    try:
        path = urlsplit(target).path if "://" in target.split("?", 1)[0] else target.split("?", 1)[0]
    except ValueError:
        path = target.split("?", 1)[0]
    return parts[0], (path if path.startswith("/") else f"/{path}")[:_MAX_PATH_CHARS]


def _is_address(text: str) -> bool:
    # Logs that resolve names have hosts here; some look like addresses (`cafe.de`).
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _instant(record: dict[str, Any]) -> datetime | None:
    """Return when a record says that it was; a time without a zone says nothing, and is refused where it is sent."""
    value = record.get("timestamp")
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.astimezone(UTC) if found.tzinfo else None
        return uuid7_time(UUID(record["id"])) if value is None and isinstance(record["id"], str) else None
    except (ValueError, OverflowError):
        return None


def _cells(text: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text.rstrip("\r\n")], skipinitialspace=True), [])]
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _trace_time(text: str) -> datetime:
    # Seven places of a second, one more than a datetime holds: the last is cut off.
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _log_time(text: str) -> datetime:
    # strptime's %b depends on the locale; logs are always in English.
    day, month, rest = text.split("/", 2)
    return datetime.strptime(f"{day}/{_MONTHS[month]:02d}/{rest}", "%d/%m/%Y:%H:%M:%S %z").astimezone(UTC)


def _open_bytes(path: Path) -> IO[bytes]:
    with path.open("rb") as raw:
        magic = raw.read(4)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if magic == b"\x28\xb5\x2f\xfd":
        return cast("IO[bytes]", zstd.open(path, "rb"))
    return path.open("rb")


def open_text(path: Path) -> IO[str]:
    """Open a file as text, decompressed where it is compressed; bytes that are no UTF-8 become replacement characters."""
    # Only a line feed ends a line, and a byte order mark begins none.
    return io.TextIOWrapper(_open_bytes(path), encoding="utf-8-sig", errors="replace", newline="\n")


def digest_of(path: Path) -> str:
    """Return what tells a recording's content from any other, however it is compressed."""
    digest = sha256()
    with _open_bytes(path) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _sniff(path: Path) -> Format | None:
    with open_text(path) as file:
        lines = list(itertools.islice((line.strip() for line in file if line.strip()), _SNIFFED_LINES))
    if not lines:
        raise UnreadableRecording(f"{path}: it is empty", faults=[FieldFault("file", "it is empty")])
    with contextlib.suppress(ValueError):
        if set(_cells(lines[0])) >= set(_TRACE_COLUMNS):
            return "azure-llm-trace"
    if any(_ACCESS.match(line) for line in lines):
        return "access-log"
    if any(_is_tool_call(line) for line in lines):
        return "tool-calls"
    return "ndjson" if any(line.startswith("{") for line in lines) else None


def _is_tool_call(line: str) -> bool:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return isinstance(row, dict) and row.keys() >= _TOOL_COLUMNS and "type" not in row


def open_recording(
    path: Path,
    *,
    format: Format | None = None,  # noqa: A002
    provider: str | None = None,
    model: str | None = None,
) -> Recording:
    """Open a recording; its form is told by its first lines unless it is given. `UnreadableRecording` says what is wrong."""
    try:
        kind = format or _sniff(path)
        if kind is None:
            message = f"its first lines are none of {', '.join(FORMATS)}: name its form with --format"
            raise UnreadableRecording(f"{path}: {message}", faults=[FieldFault("file", message)])
        return Recording(path, kind, digest_of(path), provider, model)
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        message = f"it cannot be read: {error}"
        raise UnreadableRecording(f"{path}: {message}", faults=[FieldFault("file", message)]) from error
