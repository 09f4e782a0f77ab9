"""Recorded traffic as records of calls: NDJSON of our own, an LLM trace, access logs of Apache and nginx.

A record's id comes from the file's content and the record's number, before any shift of time: the same file replayed
again, shifted or not, is the same calls, and lines that repeat in a log stay the different calls they were.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal, cast
from urllib.parse import urlsplit

import msgspec

from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import opaque_uuid

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Format = Literal["ndjson", "azure-llm-trace", "access-log"]
FORMATS: tuple[Format, ...] = ("ndjson", "azure-llm-trace", "access-log")
_SNIFFED_LINES = 20
_TRACE_COLUMNS = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}
# Common and combined log format; what follows (nginx's own additions, a request time) is left alone.
_ACCESS = re.compile(
    r"^(?P<ip>\S+) \S+ (?P<user>.+?) \[(?P<at>\d{2}/\w{3}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<bytes>\d+|-)'
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?(?P<rest>.*)$'
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
            record.setdefault("id", self._id(number))
            if self.provider is not None:
                record["provider"] = self.provider
            if self.model is not None:
                record["model"] = self.model
            yield Line(number, record, _instant(record.get("timestamp")))

    def _trace(self, file: IO[str]) -> Iterator[Line]:
        reader = csv.DictReader(file)
        for number, row in enumerate(reader, 1):
            try:
                at = _trace_time(row["TIMESTAMP"])
                context, generated = int(row["ContextTokens"]), int(row["GeneratedTokens"])
                if context < 0 or generated < 0:
                    raise ValueError("token counts are zero or more")
            except (KeyError, TypeError, ValueError) as error:
                yield Line(reader.line_num, None, fault=f"it is no line of the trace: {error}")
                continue
            yield Line(
                reader.line_num,
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
            except (KeyError, ValueError) as error:
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
        if found["bytes"] not in {"-", ""}:
            record["response_size_bytes"] = int(found["bytes"])
        if found["agent"] and found["agent"] != "-":
            record["user_agent"] = _clean(found["agent"])[:_MAX_AGENT_CHARS]
        if re.fullmatch(r"[0-9a-fA-F:.]{3,45}", found["ip"]):
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
    if len(parts) < 2 or not re.fullmatch(r"[A-Z]{1,20}", parts[0]):
        return "", ""
    target = _clean(parts[1])
    try:
        path = urlsplit(target).path if "://" in target.split("?", 1)[0] else target.split("?", 1)[0]
    except ValueError:
        path = target.split("?", 1)[0]
    return parts[0], (path if path.startswith("/") else f"/{path}")[:_MAX_PATH_CHARS]


def _instant(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _trace_time(text: str) -> datetime:
    # Seven places of a second: one more than a datetime holds.
    whole, _, fraction = text.strip().partition(".")
    at = datetime.fromisoformat(whole)
    micros = int(fraction[:6].ljust(6, "0")) if fraction and fraction.isdigit() else 0
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) + timedelta(microseconds=micros)


def _log_time(text: str) -> datetime:
    # strptime's %b depends on the locale; logs are always in English.
    day, month, rest = text.split("/", 2)
    return datetime.strptime(f"{day}/{_MONTHS[month]:02d}/{rest}", "%d/%m/%Y:%H:%M:%S %z").astimezone(UTC)


def _open_bytes(path: Path) -> IO[bytes]:
    raw = path.open("rb")
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(raw))
    if magic == b"\x28\xb5\x2f\xfd":
        return cast("IO[bytes]", zstd.open(raw, "rb"))
    return raw


def open_text(path: Path) -> IO[str]:
    """Open a file as text, decompressed where it is compressed; bytes that are no UTF-8 become replacement characters."""
    return io.TextIOWrapper(_open_bytes(path), encoding="utf-8", errors="replace", newline="")


def digest_of(path: Path) -> str:
    """Return what tells a recording's content from any other, however it is compressed."""
    digest = sha256()
    with _open_bytes(path) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _sniff(path: Path) -> Format | None:
    with open_text(path) as file:
        lines = [line.strip() for line, _ in zip(file, range(_SNIFFED_LINES), strict=False) if line.strip()]
    if not lines:
        return None
    if {name.strip().lstrip("\ufeff") for name in lines[0].split(",")} >= _TRACE_COLUMNS:
        return "azure-llm-trace"
    if any(_ACCESS.match(line) for line in lines):
        return "access-log"
    return "ndjson" if any(line.startswith("{") for line in lines) else None


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
            message = f"its first lines are none of {', '.join(FORMATS)}: name one with --format"
            raise UnreadableRecording(f"{path}: {message}", faults=[FieldFault("file", message)])
        return Recording(path, kind, digest_of(path), provider, model)
    except (OSError, EOFError, zstd.ZstdError) as error:
        message = f"it cannot be read: {error}"
        raise UnreadableRecording(f"{path}: {message}", faults=[FieldFault("file", message)]) from error
