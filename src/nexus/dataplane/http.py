"""What the data plane's bare ASGI applications do alike: read headers, access key and body, and give one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from nexus.contracts.keys import KeyEntry, KeyTable
from nexus.kit.errors import Forbidden, NexusError, TooLarge, Unauthenticated, Unavailable
from nexus.platform.web.problems import PROBLEM_TYPE, InternalError, problem_body, problem_headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
_PROBLEM = PROBLEM_TYPE.encode()
_MAX_DIGITS = 18

log = structlog.get_logger(__name__)
encode_json = msgspec.json.Encoder().encode


class HungUpError(Exception):
    """The caller hung up before its request was whole."""


class KeyRefused(Unauthenticated):
    """Send a valid access key as `Authorization: Bearer nx_…` or in `x-api-key`."""

    code = "access_key_refused"


class ScopeMissing(Forbidden):
    """The access key has not the scope that this needs."""

    code = "scope_missing"


class NotLoaded(Unavailable):
    """The service is starting and does not know keys or limits yet: try again in a moment."""

    code = "starting"


class BodyTooLarge(TooLarge):
    """The body is larger than one request may be."""

    code = "body_too_large"


class Answer(NamedTuple):
    """A whole answer, before it is sent."""

    status: int
    content: bytes
    media_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by their names in lower case."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # Of a header given twice the first counts, so that a proxy's addition cannot replace it.
        headers.setdefault(name.lower(), value)
    return headers


OnUse = Callable[[KeyEntry], None]
"""Hears of each call by whose key it is; takes no time."""


def ignore_use(key: KeyEntry) -> None:
    """Hear of a call and do nothing."""


def authenticate(headers: Mapping[bytes, bytes], keys: KeyTable, *, scope: str, at: datetime) -> KeyEntry:
    """Return the entry of the access key that was sent. `KeyRefused`; `ScopeMissing` where it has not the scope."""
    scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        text = headers.get(b"x-api-key", b"").decode("latin-1")
    text = text.strip()
    if not text:
        raise KeyRefused
    key = keys.find(text)
    if key is None or not key.is_valid_at(at):
        raise KeyRefused("the access key is unknown, expired or revoked")
    if not key.allows(scope):
        raise ScopeMissing(f"the access key has not the scope {scope}: send one that has")
    return key


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, *, limit: int, note: Callable[[int], None] | None = None
) -> bytes:
    """Return the body. `BodyTooLarge` beyond `limit` bytes, before it is read where its length is announced.

    `note` hears of the bytes of each part before they are kept, and may raise. `HungUpError` where the caller left.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and (len(announced) > _MAX_DIGITS or int(announced) > limit):
        raise BodyTooLarge(f"send at most {limit} bytes in one request")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUpError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge(f"send at most {limit} bytes in one request")
        if note is not None:
            note(len(part))
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def problem(error: NexusError, path: str, request_id: str) -> Answer:
    """Return the answer that tells an error as problem details."""
    body = problem_body(error, instance=path, request_id=request_id)
    return Answer(error.status, encode_json(body), _PROBLEM, encoded_headers(error))


def encoded_headers(error: NexusError) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to an error's answer, as they are sent."""
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in problem_headers(error).items()]


async def send_answer(scope: Scope, send: Send, answer: Answer, request_id: str = "") -> None:
    """Send an answer; without its content where only the head was asked for.

    With a request id it is one of ours, which nobody may keep; without, its headers are the sender's affair.
    """
    status, content, media_type, headers = answer
    start = [(b"content-type", media_type), (b"content-length", b"%d" % len(content)), *headers]
    if request_id:
        start += ((b"cache-control", b"no-store"), (b"x-request-id", request_id.encode("latin-1", "replace")))
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


async def serve(scope: Scope, send: Send, request_id: str, work: Awaitable[Answer]) -> None:
    """Send what the work answers, or the problem it ends in. Nothing is sent to a caller that hung up."""
    try:
        answer = await work
    except HungUpError:
        return
    except NexusError as error:
        answer = problem(error, scope["path"], request_id)
    except Exception:
        # The process's edge: a fault of ours is told as one, never as the caller's.
        log.exception("a request failed", path=scope["path"], request_id=request_id)
        answer = problem(InternalError(), scope["path"], request_id)
    await send_answer(scope, send, answer, request_id)
