"""POST /v1/events as a bare ASGI application: authenticates, reads the body within its limits, answers."""

from __future__ import annotations

import asyncio

import msgspec

from nexus.dataplane.decide.asgi import refusal
from nexus.dataplane.decide.headers import rate_limit_headers
from nexus.dataplane.decide.own_limits import OwnLimits
from nexus.dataplane.http import (
    Answer,
    NotLoaded,
    OnUse,
    Receive,
    Scope,
    Send,
    authenticate,
    encode_json,
    ignore_use,
    read_body,
    read_headers,
    serve,
)
from nexus.dataplane.ingest.decode import decompress, form_of
from nexus.dataplane.ingest.held import HeldBytes, TooMuchAtOnce
from nexus.dataplane.ingest.service import Ingest, Receipt
from nexus.kit.errors import (
    FieldFault,
    InvalidRequest,
    MalformedRequest,
)
from nexus.kit.ids import uuid7
from nexus.platform.web.problems import MethodNotAllowed

PATH = "/v1/events"
SCOPE = "events:write"
MAX_IDEMPOTENCY_KEY_CHARS = 255
_MAX_TOLD = 20
# Decompressing less than this takes less time than handing it to a thread.
_THREAD_FROM_BYTES = 64 * 1024


class EverythingRefused(InvalidRequest):
    """Not one of the records could be taken: `refused` says why, by index."""

    code = "records_refused"


class IngestApp:
    """The ASGI application. Give it the requests whose path is `PATH`."""

    def __init__(self, ingest: Ingest, *, on_use: OnUse = ignore_use, limits: OwnLimits | None = None) -> None:
        self._ingest = ingest
        self._on_use = on_use
        self._limits = limits or OwnLimits()
        self._held = HeldBytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = read_headers(scope)
        request_id = str(scope.get("state", {}).get("request_id") or "") or _given_request_id(headers) or str(uuid7())
        await serve(scope, send, request_id, self._answer(scope["method"], headers, receive))

    async def _answer(self, method: str, headers: dict[bytes, bytes], receive: Receive) -> Answer:
        if method != "POST":
            raise MethodNotAllowed(f"{PATH} takes POST only", allow="POST")
        snapshots = self._ingest.snapshots
        if not snapshots.is_loaded:
            raise NotLoaded(retry_after_seconds=1)
        # Before the body is awaited: key and caller then come from one snapshot.
        key = authenticate(headers, snapshots.keys, scope=SCOPE, at=self._ingest.clock.now())
        self._on_use(key)
        caller = self._ingest.caller_of(key)
        form = form_of(_text(headers.get(b"content-type", b"")), _text(headers.get(b"content-encoding", b"")))
        idempotency_key = _idempotency_key(headers)
        told: list[tuple[bytes, bytes]] = []

        async def admit(count: int) -> None:
            decision = await self._limits.records(key.organization_id, key.id, count, len(body))
            if not decision.is_admitted:
                self._ingest.metrics.turned_away.labels("quota-exceeded").inc()
                raise refusal(decision)
            told.extend(rate_limit_headers(decision))

        try:
            with self._held.begin() as held:
                limit = self._ingest.limits.body_bytes
                body = await read_body(headers, receive, limit=limit, note=held.add)
                if form.encoding != "identity":
                    if len(body) > _THREAD_FROM_BYTES:
                        body = await asyncio.to_thread(decompress, body, form.encoding, limit=limit)
                    else:
                        body = decompress(body, form.encoding, limit=limit)
                    held.add(len(body))
                else:
                    body = decompress(body, "identity", limit=limit)
                receipt = await self._ingest.take(
                    caller, body, is_lines=form.is_lines, idempotency_key=idempotency_key, admit=admit
                )
        except TooMuchAtOnce as error:
            self._ingest.metrics.turned_away.labels(error.code).inc()
            raise
        if receipt.refused and not receipt.accepted:
            raise _everything_refused(receipt)
        return Answer(200 if receipt.durability == "committed" else 202, encode_json(receipt), headers=told)


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
