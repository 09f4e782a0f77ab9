"""One call as a transport sees it: what is kept while it lasts, and the record that is made of it afterwards.

The host's thread only takes times and keeps references to bytes that exist anyway; decompression and JSON are the
writer's. Of a request the model is read, of an answer the usage; neither is kept. Headers are not looked at but for the
answer's media type, encoding, and the provider's id of the request.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from nexus_client.decoding import decoded
from nexus_client.ids import uuid7
from nexus_client.providers import model_in_path, template_of
from nexus_client.usage import model_asked_for, read_body, read_cut_body

if TYPE_CHECKING:
    from nexus_client.client import Client

_HEAD_BYTES = 4 * 2**20
_TAIL_BYTES = 256 * 2**10
_REQUEST_BYTES = 256 * 2**10
_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid")


class Ends:
    """The beginning of an answer and its last part: model and usage stand there. What lies between is let go."""

    __slots__ = ("_head", "_head_room", "_tail", "_tail_bytes")

    def __init__(self) -> None:
        self._head: list[bytes] = []
        self._head_room = _HEAD_BYTES
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0

    def add(self, chunk: bytes) -> None:
        """Take the next part."""
        size = len(chunk)
        if size <= self._head_room:
            self._head.append(chunk)
            self._head_room -= size
            return
        if self._head_room:
            self._head.append(chunk[: self._head_room])
            chunk = chunk[self._head_room :]
            self._head_room = 0
        chunk = chunk[-_TAIL_BYTES:]
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        while self._tail_bytes - len(self._tail[0]) >= _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    @property
    def is_cut(self) -> bool:
        """Whether it may be that something was let go."""
        return bool(self._tail)

    def head(self) -> bytes:
        """Return the beginning; the whole where nothing was let go."""
        return b"".join(self._head)

    def tail(self) -> bytes:
        """Return the last part."""
        return b"".join(self._tail)


class Exchange:
    """One call. Every method is called at most from one thread at a time."""

    __slots__ = (
        "_attribution", "_began", "_began_ns", "_body", "_client", "_encoding", "_ends", "_first_byte_ms", "_is_over",
        "_media_type", "_method", "_path", "_provider", "_request_bytes", "_request_id", "_size", "_status", "shield",
    )  # fmt: skip

    def __init__(
        self, client: Client, provider: str, method: str, path: str, body: bytes | None, announced: str
    ) -> None:
        """Begin. Where the body is not there to be read, `announced` is its length in words (`content-length`)."""
        self._client = client
        self.shield = client.counters.shield
        """What a transport calls these methods within: they run in the program's thread."""
        self._provider = provider
        self._method = method
        self._path = path
        self._body = body[:_REQUEST_BYTES] if body is not None and len(body) > _REQUEST_BYTES else body
        self._request_bytes = len(body) if body is not None else int(announced) if announced.isdecimal() else 0
        self._attribution = client.attribution()
        self._ends = Ends()
        self._size = 0
        self._status = 0
        self._media_type = self._encoding = ""
        self._request_id: str | None = None
        self._first_byte_ms: float | None = None
        self._is_over = False
        self._began_ns = time.time_ns()
        self._began = time.perf_counter()

    def answered(self, status: int, headers: Mapping[str, str], *, is_decoded: bool = False) -> None:
        """The answer's head is there."""
        self._first_byte_ms = (time.perf_counter() - self._began) * 1e3
        self._status = status
        self._media_type = headers.get("content-type", "").lower()
        self._encoding = "" if is_decoded else headers.get("content-encoding", "").lower().strip()
        for name in _REQUEST_IDS:
            value = headers.get(name)
            if value and len(value) <= 200:
                self._request_id = value
                break

    def took(self, chunk: bytes) -> None:
        """A part of the answer has passed."""
        self._size += len(chunk)
        self._ends.add(chunk)

    def ended(self, *, size: int | None = None) -> None:
        """The answer is over, or nobody wants the rest of it."""
        if self._is_over:
            return
        self._is_over = True
        elapsed_ms = (time.perf_counter() - self._began) * 1e3
        if size is not None:
            self._size = size
        self._client.put(self._finisher(elapsed_ms, None))

    def failed(self, error: BaseException) -> None:
        """There was no answer, or it broke off."""
        if self._is_over:
            return
        self._is_over = True
        elapsed_ms = (time.perf_counter() - self._began) * 1e3
        self._client.put(self._finisher(elapsed_ms, type(error).__name__))

    def _finisher(self, elapsed_ms: float, error_type: str | None) -> Callable[[], dict[str, Any]]:
        return lambda: self._record(elapsed_ms, error_type)

    def _record(self, elapsed_ms: float, error_type: str | None) -> dict[str, Any]:
        record: dict[str, Any] = {
            "id": uuid7(self._began_ns),
            "provider": self._provider,
            "endpoint": template_of(self._path, self._provider),
            "method": self._method,
            "status_code": self._status,
            "response_time_ms": round(elapsed_ms, 3),
            "request_size_bytes": self._request_bytes,
            "response_size_bytes": self._size,
            **self._attribution,
        }
        if self._first_byte_ms is not None:
            record["time_to_first_byte_ms"] = round(self._first_byte_ms, 3)
        if self._request_id is not None:
            record["request_id"] = self._request_id
        found: dict[str, Any] = {}
        with self.shield:
            # Where an answer cannot be read, the record is worth something without its usage too.
            found = self._read_answer()
        model = found.pop("model", None) or model_in_path(self._path)
        if model is None and self._body is not None:
            model = model_asked_for(self._body)
        if model is not None:
            record["model"] = model
        record.update(found)
        if error_type is not None:
            record["error_type"] = error_type
        elif self._status < 400 and "tokens" in record:
            record.pop("error_type", None)
        return record

    def _read_answer(self) -> dict[str, Any]:
        if not ("json" in self._media_type or "event-stream" in self._media_type):
            return {}
        ends = self._ends
        if self._encoding:
            if ends.is_cut:
                # The end cannot be decoded without what lies before it.
                return {}
            ends = Ends()
            for piece in decoded(self._ends.head(), self._encoding):
                ends.add(piece)
        if ends.is_cut:
            return read_cut_body(ends.head(), ends.tail(), self._media_type)
        return read_body(ends.head(), self._media_type)
