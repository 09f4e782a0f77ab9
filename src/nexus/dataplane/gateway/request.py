"""What of a request is forwarded, and how: headers, path, body, and the credential in place of the client's key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import msgspec
from multidict import CIMultiDict
from yarl import URL

from nexus.dataplane.gateway.client_key import CREDENTIAL_HEADERS, without_key
from nexus.dataplane.gateway.errors import BadPath, RequestTimeout
from nexus.dataplane.gateway.exchange import Inquiry, Target
from nexus.dataplane.gateway.reading import READABLE_ENCODINGS
from nexus.dataplane.http import HungUpError, Receive
from nexus.platform.deadlines import Deadline

MAX_INSPECTED_BYTES = 16 * 2**20
"""JSON bodies are looked at this far; larger ones are streamed through unread."""
BODY_IDLE_SECONDS = 60.0
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"proxy-authenticate",
    }
)  # fmt: skip
_NEVER_SENT = (
    HOP_BY_HOP
    | CREDENTIAL_HEADERS
    | {b"host", b"content-length", b"expect", b"accept-encoding", b"forwarded", b"x-real-ip"}
)
_DROPPED_PREFIXES = (b"x-nexus-", b"x-forwarded-")
# What belongs to the provider's own host means nothing on ours, or harms: cookies, pinned transports.
_NEVER_RETURNED = HOP_BY_HOP | {b"set-cookie", b"alt-svc", b"strict-transport-security", b"public-key-pins"}
_MODEL_IN_PATH = ("/models/", "/model/", "/deployments/")
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_MOST_TOKENS = 10**9
_MOST_DIGITS = len(str(_MOST_TOKENS))
_MAXIMA = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_encode = msgspec.json.Encoder().encode


def check_path(path: str) -> None:
    """Raise `BadPath` for a path that would leave the provider's base, or that no server understands."""
    lower = path.lower().replace("%2e", ".") if "." in path or "%2" in path else ""
    if lower and any(part in {".", ".."} for part in lower.replace("\\", "/").replace("%2f", "/").split("/")):
        raise BadPath("a path with . or .. segments is not forwarded")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise BadPath("send the path percent-encoded")


def target_url(target: Target) -> URL:
    """Return the URL that is called, with the credential where the provider wants it in the query."""
    query = without_key(target.query).decode("latin-1")
    if target.auth_form == "query_key" and target.credential is not None:
        own = f"key={quote_plus(target.credential.secret)}"
        query = f"{query}&{own}" if query else own
    text = target.base_url + target.path
    return _plain_url(text) if not query else URL(f"{text}?{query}", encoded=True)


@lru_cache(maxsize=4096)
def _plain_url(text: str) -> URL:
    # Most calls go to few URLs; one with a query may hold a credential and is not kept.
    return URL(text, encoded=True)


def upstream_headers(headers: Iterable[tuple[bytes, bytes]], target: Target, inquiry: Inquiry) -> CIMultiDict[str]:
    """Return the headers that are sent: the client's own, without what concerns only this connection, and the credential."""
    sent: CIMultiDict[str] = CIMultiDict()
    accepted: str | None = None
    dropped: set[bytes] = set()
    # An ASGI server gives names in lower case.
    items = list(headers)
    for name, value in items:
        if name == b"connection":
            dropped |= {part.strip().lower() for part in value.split(b",")}
    for name, value in items:
        if name == b"accept-encoding":
            accepted = value.decode("latin-1")
        elif name not in _NEVER_SENT and name not in dropped and not name.startswith(_DROPPED_PREFIXES):
            sent.add(name.decode("latin-1"), value.decode("latin-1"))
    sent["accept-encoding"] = "identity" if inquiry.hides_usage else _readable(accepted)
    credential = target.credential
    if credential is not None:
        match target.auth_form:
            case "bearer":
                sent["authorization"] = f"Bearer {credential.secret}"
            case "basic":
                sent["authorization"] = f"Basic {b64encode(credential.secret.encode()).decode()}"
            case "query_key" | "none":
                pass
            case form:
                sent[form] = credential.secret
    return sent


def _readable(accepted: str | None) -> str:
    """Narrow an Accept-Encoding to what we can read a copy of."""
    if not accepted:
        return "identity"
    kept = [
        part.strip() for part in accepted.split(",") if part.partition(";")[0].strip().lower() in READABLE_ENCODINGS
    ]
    return ", ".join(kept) or "identity"


def client_headers(
    raw: Iterable[tuple[bytes, bytes]], *, is_rewritten: bool, secret: str, request_id: str
) -> list[tuple[bytes, bytes]]:
    """Return the headers the client gets: the provider's own, without what concerns only that connection."""
    kept: list[tuple[bytes, bytes]] = []
    hidden = secret.encode() if secret else b""
    for name, value in raw:
        name = name.lower()
        if name in _NEVER_RETURNED or (is_rewritten and name in {b"content-length", b"content-encoding"}):
            continue
        if hidden and hidden in value:
            value = value.replace(hidden, b"[redacted]")
        kept.append((name, value))
    kept.append((b"x-nexus-request-id", request_id.encode("latin-1", "replace")))
    return kept


async def read_body(receive: Receive, limit: int) -> tuple[bytes, bool]:
    """Read a body up to a limit; returns what was read, and whether that is all of it."""
    parts: list[bytes] = []
    size = 0
    while True:
        part, more = await next_part(receive)
        if not more and not parts:
            return part, True
        parts.append(part)
        size += len(part)
        if not more:
            return b"".join(parts), True
        if size > limit:
            return b"".join(parts), False


async def next_part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next part of a body, and whether more follows. `HungUpError`, or `RequestTimeout` for a slow client."""
    try:
        with Deadline(BODY_IDLE_SECONDS):
            message = await receive()
    except TimeoutError:
        raise RequestTimeout from None
    if message["type"] == "http.disconnect":
        raise HungUpError
    return message.get("body", b""), bool(message.get("more_body", False))


async def rest_of_body(first: bytes, receive: Receive, note: Callable[[int], None]) -> AsyncIterator[bytes]:
    """Give out a body as it comes, what was read of it already first."""
    if first:
        yield first
    while True:
        part, more = await next_part(receive)
        note(len(part))
        if part:
            yield part
        if not more:
            return


def is_json(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a body says that it is JSON, in an encoding that can be read as it is."""
    kind = headers.get(b"content-type", b"")
    if kind != b"application/json":
        kind = kind.partition(b";")[0].strip().lower()
        if kind != b"application/json" and not kind.endswith(b"+json"):
            return False
    encoding = headers.get(b"content-encoding")
    return encoding is None or encoding.strip().lower() in {b"identity", b""}


def inspect(body: bytes, path: str, *, asks_usage: bool, is_limited: bool = False) -> tuple[Inquiry, bytes]:
    """Find out what a JSON body asks for; returns the body to send, changed only where usage must be asked for.

    With `is_limited` a field that is given twice is sent once, so that what was allowed is what the provider reads.
    """
    inquiry = Inquiry(model=model_in_path(path), body=body)
    try:
        fields = _KEYS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        # Whatever it is, the provider will say so in its own words.
        return inquiry, body
    inquiry.model = _text(fields.get("model")) or inquiry.model
    inquiry.is_streaming = _raw(fields.get("stream")) == b"true" or "stream" in path.rpartition("/")[2].lower()
    inquiry.end_user = _text(fields.get("user")) or _user_of(fields.get("metadata")) or None
    inquiry.most_output = most_output_tokens(fields)
    if is_limited:
        body = _encode(fields)
    if asks_usage and inquiry.is_streaming:
        body = _ask_usage(fields, body, inquiry)
    return inquiry, body


def most_output_tokens(fields: Mapping[str, msgspec.Raw]) -> int | None:
    """Return how many model tokens an answer may have by its request's own word; None when it says nothing."""
    given = [fields[name] for name in _MAXIMA if name in fields]
    if "generationConfig" in fields:
        given.append(_fields_of(fields["generationConfig"]).get("maxOutputTokens", msgspec.Raw()))
    said = [count for count in map(_count, given) if count is not None]
    if not said:
        return None
    answers = _count(fields["n"]) if "n" in fields else None
    return min(min(said) * (answers or 1), _MOST_TOKENS)


def _count(value: msgspec.Raw) -> int | None:
    """Return a whole number that can be a count of tokens; None for anything else."""
    raw = _raw(value)
    count = int(raw) if raw.isdigit() and len(raw) <= _MOST_DIGITS else None
    return None if count is None or count > _MOST_TOKENS else count


def _fields_of(value: msgspec.Raw | bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of an object, none of anything else."""
    try:
        return _KEYS.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _ask_usage(fields: dict[str, msgspec.Raw], body: bytes, inquiry: Inquiry) -> bytes:
    options: Any = None
    given = fields.get("stream_options")
    if given is not None:
        options = msgspec.json.decode(given)
        if options is not None and not isinstance(options, dict):
            return body
        if options and options.get("include_usage") is True:
            return body
    inquiry.hides_usage = True
    if given is None:
        start = body.index(b"{") + 1
        return b"".join((body[:start], b'"stream_options":{"include_usage":true},', body[start:]))
    fields["stream_options"] = msgspec.Raw(_encode({**(options or {}), "include_usage": True}))
    return _encode(fields)


@lru_cache(maxsize=4096)
def model_in_path(path: str) -> str:
    """Return the model where the path names it (`/models/{model}:generateContent`, `/deployments/{name}/…`); else nothing."""
    for mark in _MODEL_IN_PATH:
        at = path.find(mark)
        if at >= 0:
            rest = path[at + len(mark) :]
            name = rest.partition("/")[0]
            if mark == "/models/":
                name, colon, _ = name.partition(":")
                if not colon:
                    return ""
            return name.replace("%3A", ":").replace("%3a", ":")[:200]
    return ""


def model_in_query(query: bytes) -> str:
    """Return the model where the query names it, as of realtime sessions (`?model=…`, `?deployment=…`); else nothing."""
    for part in query.split(b"&"):
        name, _, given = part.partition(b"=")
        if name in {b"model", b"deployment"}:
            return unquote_plus(given.decode("latin-1"))[:200]
    return ""


def _raw(value: msgspec.Raw | None) -> bytes:
    return b"" if value is None else bytes(value).strip()


def _text(value: msgspec.Raw | None) -> str:
    raw = _raw(value)
    if not raw.startswith(b'"'):
        return ""
    try:
        text = _TEXT.decode(raw)[:200]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return (
        text if text.isascii() and "\x00" not in text else text.replace("\x00", "").encode("utf-8", "replace").decode()
    )


def _user_of(value: msgspec.Raw | None) -> str:
    if _raw(value)[:1] != b"{" or b"user_id" not in _raw(value):
        return ""
    return _text(_fields_of(_raw(value)).get("user_id"))
