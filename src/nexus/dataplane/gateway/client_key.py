"""Finds the access key in what each provider's own client sends, and takes it out of what is forwarded."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import unquote_plus

from nexus.contracts.keys import KeyEntry
from nexus.dataplane.gateway.errors import KeyRefused, ScopeMissing
from nexus.dataplane.http import NotLoaded
from nexus.dataplane.snapshots import Snapshots
from nexus.kit.errors import FieldFault

SCOPE = "gateway:call"
CREDENTIAL_HEADERS = frozenset(
    {
        b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-subscription-token", b"proxy-authorization",
        b"cookie", b"x-nexus-key",
    }
)  # fmt: skip
"""Headers that hold the client's secrets: none of them is forwarded."""
_PREFIX = "nx_"
_PLAIN = (b"x-nexus-key", b"x-api-key", b"api-key", b"x-goog-api-key", b"x-subscription-token")
_QUERY_NAMES = frozenset({"key", "api_key", "api-key"})


def find_key(headers: dict[bytes, bytes], query: bytes) -> str:
    """Return the text of the access key, wherever it stands; empty when there is none."""
    value = headers.get(b"authorization")
    if value is not None:
        scheme, _, rest = value.decode("latin-1").partition(" ")
        rest = rest.strip()
        if scheme.lower() == "basic":
            key = _in_basic(rest)
            if key:
                return key
        elif rest.startswith(_PREFIX):
            return rest
        elif not rest and scheme.startswith(_PREFIX):
            return scheme
    for name in _PLAIN:
        text = headers.get(name, b"").decode("latin-1").strip()
        if text.startswith(_PREFIX):
            return text
    if b"=nx_" in query:
        for part in query.split(b"&"):
            name, _, given = part.partition(b"=")
            if name.decode("latin-1").lower() in _QUERY_NAMES and given.startswith(b"nx_"):
                return unquote_plus(given.decode("latin-1"))
    return ""


def admitted(text: str, snapshots: Snapshots, at: datetime) -> KeyEntry:
    """Return the entry of a key that may call at an instant. `NotLoaded`, `KeyRefused`, `ScopeMissing`."""
    if not snapshots.is_loaded:
        raise NotLoaded(retry_after_seconds=1)
    key = snapshots.keys.find(text) if text else None
    if key is None or not key.is_valid_at(at):
        raise KeyRefused
    if not key.allows(SCOPE):
        raise ScopeMissing(faults=[FieldFault("scope", SCOPE)])
    return key


def key_in_protocols(offered: Sequence[str]) -> str:
    """Return the access key among a WebSocket's subprotocols, where browsers' clients put it; empty when there is none."""
    for name in offered:
        place = name.find(_PREFIX)
        if place == 0 or (place > 0 and name[place - 1] in ".-"):
            return name[place:]
    return ""


def _in_basic(text: str) -> str:
    try:
        user, _, password = b64decode(text, validate=True).decode().partition(":")
    except (Base64Error, UnicodeDecodeError, ValueError):
        return ""
    return password if password.startswith(_PREFIX) else user if user.startswith(_PREFIX) else ""


def without_key(query: bytes) -> bytes:
    """Return a query without the parts that hold an access key, all others as they were."""
    if b"=nx_" not in query:
        return query
    return b"&".join(
        part
        for part in query.split(b"&")
        if not (
            part.partition(b"=")[2].startswith(b"nx_")
            and part.partition(b"=")[0].decode("latin-1").lower() in _QUERY_NAMES
        )
    )
