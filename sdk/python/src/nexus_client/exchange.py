"""One call as a transport sees it: what is kept while it lasts, and the record that is made of it afterwards.

The host's thread only takes times and keeps references to bytes that exist anyway; decompression and JSON are the
writer's. Of a request the model is read, of an answer the usage; neither is kept. Headers are not looked at but for the
answer's media type, encoding, and the provider's id of the request.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from nexus_client.ids import uuid7
from nexus_client.providers import model_in_path, template_of
from nexus_client.usage import model_asked_for, read_body, read_cut_body

if TYPE_CHECKING:
    from nexus_client.client import Client

_HEAD_BYTES = 4 * 2**20
_TAIL_BYTES = 256 * 2**10
_REQUEST_BYTES = 256 * 2**10
_INFLATED_BYTES = 64 * 2**20
_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid")


class Exchange:
    """One call. Every method is called at most from one thread at a time."""

    __slots__ = (
        "_attribution", "_began", "_began_ns", "_body", "_client", "_encoding", "_first_byte_ms", "_head", "_head_bytes",
        "_is_over", "_media_type", "_method", "_path", "_provider", "_request_bytes", "_request_id", "_size", "_status",
        "_tail", "_tail_bytes", "shield",
    )  # fmt: skip

    def __init__(
        self, client: Client, provider: str, method: str, path: str, body: bytes | None, request_bytes: int
    ) -> None:
        self._client = client
        self.shield = client.counters.shield
        """What a transport calls these methods within: they run in the program's thread."""
        self._provider = provider
        self._method = method
        self._path = path
        self._body = body[:_REQUEST_BYTES] if body is not None and len(body) > _REQUEST_BYTES else body
        self._request_bytes = request_bytes
        self._attribution = client.attribution()
        self._head: list[bytes] = []
        self._head_bytes = 0
        self._tail: list[bytes] = []
        self._tail_bytes = 0
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
        size = len(chunk)
        self._size += size
        if self._head_bytes < _HEAD_BYTES:
            self._head.append(chunk)
            self._head_bytes += size
            return
        self._tail.append(chunk)
        self._tail_bytes += size
        while self._tail_bytes - len(self._tail[0]) > _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.pop(0))

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
        if not ("json" in self._media_type or "event-stream" in self._media_type) or not self._head:
            return {}
        head = b"".join(self._head)
        if self._encoding:
            if self._tail:
                return {}
            head = inflate(head, self._encoding)
        if self._tail:
            return read_cut_body(head, b"".join(self._tail), self._media_type)
        return read_body(head, self._media_type)


def inflate(content: bytes, encoding: str) -> bytes:
    """Undo a content encoding; as much as there is of it. Empty where the encoding cannot be read here."""
    if encoding in {"gzip", "x-gzip", "deflate"}:
        # 32: zlib's and gzip's headers are told apart; a raw deflate stream has none.
        is_raw = encoding == "deflate" and content[:1] != b"\x78"
        return zlib.decompressobj(-15 if is_raw else 47).decompress(content, _INFLATED_BYTES)
    if encoding == "br":
        for name in ("brotli", "brotlicffi"):
            module = _module(name)
            if module is not None:
                decompressor = module.Decompressor()
                step = getattr(decompressor, "process", None) or decompressor.decompress
                return bytes(step(content))
    if encoding == "zstd":
        for name in ("compression.zstd", "backports.zstd", "zstandard"):
            module = _module(name)
            if module is None:
                continue
            if name == "zstandard":
                return bytes(module.ZstdDecompressor().decompressobj().decompress(content))
            return bytes(module.ZstdDecompressor().decompress(content, _INFLATED_BYTES))
    return b""


def _module(name: str) -> Any:
    # Whoever asks for such an answer can read it, so what is needed is here; it is not needed otherwise.
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def begin(
    client: Client, method: str, host: str, port: int | None, path: str, body: bytes | None, request_bytes: int
) -> Exchange | None:
    """Begin to watch a call; None where it is not recorded."""
    provider = client.providers.of(host, port)
    if provider is None:
        return None
    return Exchange(client, provider, method, path, body, request_bytes)
