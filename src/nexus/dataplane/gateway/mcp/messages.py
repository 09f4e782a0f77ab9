"""One message of the protocol as it came over HTTP: what it asks for, and whether headers and body say the same.

Only what must be known is decoded: arguments go on as the bytes they came in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nexus.dataplane.gateway.mcp.errors import HeaderMismatch, InvalidMessage, ParseError, UnsupportedVersion

MODERN = ("2026-07-28",)
HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
REVISIONS = (*HANDSHAKE, *MODERN)
NAMED_BY: Mapping[str, str] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Parameter that `Mcp-Name` repeats, by method."""
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
_ROUTING = (b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id")
_IN_BASE64 = re.compile(r"=\?base64\?(.*)\?=")
_W3C = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Message:
    """A request (it has a method and an id), a notification (no id) or an answer to the server (no method)."""

    fields: dict[str, msgspec.Raw]
    method: str = ""
    id: bytes = b""
    """As JSON; empty where there is none."""
    params: dict[str, msgspec.Raw] = field(default_factory=dict)
    meta: dict[str, msgspec.Raw] = field(default_factory=dict)
    revision: str = ""
    """As the client told it, in the header or in the message."""

    @property
    def is_request(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self.method and self.id)

    @property
    def target(self) -> str:
        """The tool, prompt or resource that is asked for; empty for others."""
        return text_of(self.params.get(NAMED_BY.get(self.method, "")))

    def value(self, name: str) -> Any:
        """Decode a parameter; None where there is none."""
        raw = self.params.get(name)
        return None if raw is None else msgspec.json.decode(raw)

    def with_params(self, params: Mapping[str, msgspec.Raw], meta: Mapping[str, msgspec.Raw] | None = None) -> bytes:
        """Return the message as JSON with other parameters."""
        changed = dict(params)
        if meta is not None:
            changed["_meta"] = msgspec.Raw(_encode(meta))
        return _encode({**self.fields, "params": changed})

    def traced(self, context: Mapping[str, str]) -> bytes:
        """Return the message as JSON, with another trace context."""
        return self.with_params(self.params, self.traced_meta(context))

    def traced_meta(self, context: Mapping[str, str]) -> dict[str, msgspec.Raw]:
        """Return the message's `_meta` with another trace context (SEP-414)."""
        kept = {name: value for name, value in self.meta.items() if name not in {TRACEPARENT, TRACESTATE}}
        return kept | {name: msgspec.Raw(_encode(value)) for name, value in context.items()}

    def trace(self) -> tuple[str, str, str, str] | None:
        """Return trace, span, flags and state that the client's call belongs to, where the message says so."""
        found = _W3C.match(text_of(self.meta.get(TRACEPARENT)))
        return (found[1], found[2], found[3], text_of(self.meta.get(TRACESTATE))) if found is not None else None

    def client(self) -> tuple[str, str]:
        """Return the client's name and version, where this message tells them."""
        raw = self.meta.get(CLIENT_INFO) or (self.params.get("clientInfo") if self.method == "initialize" else None)
        info = _object(raw)
        return text_of(info.get("name"))[:200], text_of(info.get("version"))[:200]


def text_of(raw: msgspec.Raw | None) -> str:
    """Return a text; empty where there is none, or something else."""
    if raw is None:
        return ""
    try:
        return _TEXT.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _object(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    if raw is None:
        return {}
    try:
        return _FIELDS.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def read_message(body: bytes) -> Message:
    """Read a body. `ParseError` where it is no JSON, `InvalidMessage` where it is not one message."""
    try:
        fields = _FIELDS.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidMessage from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError from error
    if text_of(fields.get("jsonrpc")) != "2.0":
        raise InvalidMessage('`jsonrpc` is not "2.0"')
    found = Message(fields)
    given = fields.get("id")
    if given is not None:
        found.id = bytes(given).strip()
        if found.id[:1] not in b'"-0123456789' or len(found.id) > 256:
            raise InvalidMessage("`id` is neither text nor number")
    if "method" not in fields:
        if "result" not in fields and "error" not in fields:
            raise InvalidMessage("a message has a `method`, a `result` or an `error`")
        return found
    found.method = text_of(fields["method"])
    if not 0 < len(found.method) <= 200:
        raise InvalidMessage("`method` is no name")
    raw = fields.get("params")
    if raw is not None and bytes(raw).strip() != b"null":
        if bytes(raw).strip()[:1] != b"{":
            raise InvalidMessage("`params` is no object")
        found.params = _object(raw)
        found.meta = _object(found.params.get("_meta"))
    if found.method in NAMED_BY and found.is_request and not found.target:
        raise InvalidMessage(f"{found.method} names nothing: give `params.{NAMED_BY[found.method]}`")
    return found


def check_headers(message: Message, pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Note the revision, and raise `HeaderMismatch` where headers and body do not say the same (-32020).

    Whoever stands in between routes by the headers, the server by the body: were they different, what was allowed would not
    be what is done. Revision 2026-07-28 requires them; where an older one sends them they must be right too.
    """
    told: dict[bytes, str] = {}
    for name, value in pairs:
        if name in _ROUTING:
            if name in told:
                raise HeaderMismatch(f"{name.decode()} was sent twice")
            told[name] = value.decode("latin-1").strip()
    in_header, in_body = told.get(b"mcp-protocol-version"), text_of(message.meta.get(PROTOCOL_VERSION))
    message.revision = in_header or in_body
    if message.method == "initialize":
        message.revision = in_header or text_of(message.params.get("protocolVersion"))
    elif in_header and in_header not in REVISIONS:
        raise UnsupportedVersion(
            f"revision {in_header[:40]} is not known here", supported=list(REVISIONS), requested=in_header
        )
    if not message.is_request:
        return
    is_modern = in_header in MODERN or in_body in MODERN
    if is_modern and in_header != in_body:
        raise HeaderMismatch("MCP-Protocol-Version and the message's _meta name different revisions")
    asked, named = told.get(b"mcp-method"), told.get(b"mcp-name")
    if asked != message.method and (is_modern or asked is not None):
        raise HeaderMismatch(f"Mcp-Method is not the message's method {message.method}")
    if message.method in NAMED_BY and (is_modern or named is not None) and _decoded(named) != message.target:
        raise HeaderMismatch("Mcp-Name is not what the message names")


def _decoded(value: str | None) -> str | None:
    """Read a header whose value may be wrapped in base64; None for one that is wrapped wrongly."""
    found = None if value is None else _IN_BASE64.fullmatch(value)
    if found is None:
        return value
    try:
        plain = base64.b64decode(found[1], validate=True)
        return plain.decode() if base64.b64encode(plain).decode() == found[1] else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
