"""POST /v1/events as a bare ASGI application: authenticates, reads the body within its limits, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from nexus.contracts.keys import KeyEntry
from nexus.dataplane.ingest.decode import BodyTooLarge, decompress, form_of
from nexus.dataplane.ingest.service import Ingest, Receipt
from nexus.kit.errors import (
    FieldFault,
    Forbidden,
    InvalidRequest,
    MalformedRequest,
    NexusError,
    Unauthenticated,
    Unavailable,
)
from nexus.kit.ids import uuid7
from nexus.platform.web.problems import (
    PROBLEM_TYPE,
    InternalError,
    MethodNotAllowed,
    problem_body,
    problem_headers,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = "/v1/events"
SCOPE = "events:write"
MAX_IDEMPOTENCY_KEY_CHARS = 255
_MAX_TOLD = 20
_MAX_HELD_BYTES = 256 * 2**20
# Decompressing less than this takes less time than handing it to a thread.
_THREAD_FROM_BYTES = 64 * 1024

log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class NotLoaded(Unavailable):
    """The service is starting and does not know any keys yet: try again in a moment."""

    code = "starting"


class TooMuchAtOnce(Unavailable):
    """More requests are being read than the service has memory for: send it again in a moment."""

    code = "ingest_memory_full"


class EverythingRefused(InvalidRequest):
    """Not one of the records could be taken: `refused` says why, by index."""

    code = "records_refused"


class KeyRefused(Unauthenticated):
    """Send a valid access key as `Authorization: Bearer nx_…` or in `x-api-key`."""

    code = "access_key_refused"


class ScopeMissing(Forbidden):
    """The access key has not the scope `events:write`: send one that has."""

    code = "scope_missing"


class _HungUpError(Exception):
    """The caller hung up before the body was whole."""


class IngestApp:
    """The ASGI application. Give it the requests whose path is `PATH`."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._held = _HeldBytes(_MAX_HELD_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            # Of a header given twice the first counts, so that a proxy's addition cannot replace it.
            headers.setdefault(name.lower(), value)
        request_id = str(scope.get("state", {}).get("request_id") or "") or _given_request_id(headers) or str(uuid7())
        extra: list[tuple[bytes, bytes]] = []
        try:
            status, content = await self._answer(scope["method"], headers, receive)
            media_type = b"application/json"
        except _HungUpError:
            return
        except NexusError as error:
            if isinstance(error, TooMuchAtOnce):
                self._ingest.metrics.turned_away.labels(error.code).inc()
            status, content, extra = _problem(error, scope["path"], request_id)
            media_type = PROBLEM_TYPE.encode()
        except Exception:
            # The process's edge: a fault of ours is told as one, never as the caller's.
            log.exception("ingest failed", request_id=request_id)
            status, content, extra = _problem(InternalError(), scope["path"], request_id)
            media_type = PROBLEM_TYPE.encode()
        start = [
            (b"content-type", media_type),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode("latin-1", "replace")),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _answer(self, method: str, headers: dict[bytes, bytes], receive: Receive) -> tuple[int, bytes]:
        if method != "POST":
            raise MethodNotAllowed(f"{PATH} takes POST only", allow="POST")
        # Before the body is awaited: key and caller then come from one snapshot.
        caller = self._ingest.caller_of(self._authenticate(headers))
        form = form_of(_text(headers.get(b"content-type", b"")), _text(headers.get(b"content-encoding", b"")))
        idempotency_key = _idempotency_key(headers)
        held = _Held(self._held)
        try:
            body = await self._read(headers, receive, held)
            limit = self._ingest.limits.body_bytes
            if form.encoding != "identity":
                if len(body) > _THREAD_FROM_BYTES:
                    body = await asyncio.to_thread(decompress, body, form.encoding, limit=limit)
                else:
                    body = decompress(body, form.encoding, limit=limit)
                held.add(len(body))
            else:
                body = decompress(body, "identity", limit=limit)
            receipt = await self._ingest.take(caller, body, is_lines=form.is_lines, idempotency_key=idempotency_key)
        finally:
            held.release()
        if receipt.refused and not receipt.accepted:
            raise _everything_refused(receipt)
        return (200 if receipt.durability == "committed" else 202), _encode(receipt)

    def _authenticate(self, headers: dict[bytes, bytes]) -> KeyEntry:
        snapshots = self._ingest.snapshots
        if not snapshots.is_loaded:
            raise NotLoaded(retry_after_seconds=1)
        authorization = _text(headers.get(b"authorization", b""))
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            text = _text(headers.get(b"x-api-key", b""))
        if not text.strip():
            raise KeyRefused
        key = snapshots.keys.find(text.strip())
        if key is None or not key.is_valid_at(self._ingest.clock.now()):
            raise KeyRefused("the access key is unknown, expired or revoked")
        if not key.allows(SCOPE):
            raise ScopeMissing
        return key

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, held: _Held) -> bytes:
        limit = self._ingest.limits.body_bytes
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
            raise BodyTooLarge(f"send at most {limit} bytes in one request")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _HungUpError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise BodyTooLarge(f"send at most {limit} bytes in one request")
            held.add(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)


class _HeldBytes:
    """The memory that all requests being read hold together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0

    def take(self, count: int) -> bool:
        """Hold so many bytes more; False when that would be too many."""
        if self._total + count > self._limit:
            return False
        self._total += count
        return True

    def give_back(self, count: int) -> None:
        """Hold so many bytes less."""
        self._total -= count


class _Held:
    """The memory one request holds."""

    def __init__(self, together: _HeldBytes) -> None:
        self._together = together
        self._bytes = 0

    def add(self, count: int) -> None:
        """Hold more; `TooMuchAtOnce` when all requests together hold too much."""
        if not self._together.take(count):
            raise TooMuchAtOnce(retry_after_seconds=1)
        self._bytes += count

    def release(self) -> None:
        """Hold nothing any more."""
        self._together.give_back(self._bytes)
        self._bytes = 0


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _given_request_id(headers: dict[bytes, bytes]) -> str:
    value = _text(headers.get(b"x-request-id", b""))
    return value if 0 < len(value) <= 128 and value.isascii() and value.isprintable() else ""


def _idempotency_key(headers: dict[bytes, bytes]) -> str | None:
    value = headers.get(b"idempotency-key")
    if value is None:
        return None
    text = _text(value).strip()
    if not 0 < len(text) <= MAX_IDEMPOTENCY_KEY_CHARS:
        message = f"give 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters"
        raise MalformedRequest(f"Idempotency-Key: {message}", faults=[FieldFault("Idempotency-Key", message)])
    return text


def _everything_refused(receipt: Receipt) -> EverythingRefused:
    return EverythingRefused(
        f"none of the {receipt.received} records could be taken: mend what `refused` names, and send them again",
        faults=[
            FieldFault(f"{refusal.index}.{fault.field}".rstrip("."), fault.message)
            for refusal in receipt.refused[:_MAX_TOLD]
            for fault in refusal.errors
        ],
        received=receipt.received,
        accepted=0,
        stored=0,
        duplicates=0,
        refused=msgspec.to_builtins(receipt.refused),
    )


def _problem(error: NexusError, path: str, request_id: str) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    body = problem_body(error, instance=path, request_id=request_id)
    headers = {name.encode(): value.encode() for name, value in problem_headers(error).items()}
    return error.status, _encode(body), list(headers.items())
