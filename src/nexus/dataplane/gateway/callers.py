"""Who makes a call through the gateway, as the request's head tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nexus.contracts.keys import KeyEntry
from nexus.dataplane.gateway.exchange import Caller
from nexus.dataplane.http import Scope

# W3C Trace Context; what a later version adds behind the flags is passed over. Ids of zeros are none.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)")


def caller_of(key: KeyEntry, scope: Scope, headers: Mapping[bytes, bytes], request_id: str, *, came: float) -> Caller:
    """Return who calls, from where, and in which trace, as far as the request tells; `came` is on the monotonic clock."""
    client = scope.get("client")
    agent = headers.get(b"user-agent", b"").decode("latin-1")
    caller = Caller(key, request_id, agent, client[0] if client else None, came=came)
    parent = _TRACEPARENT.match(headers.get(b"traceparent", b"").strip())
    if parent is not None:
        caller.trace_id, caller.parent_span_id, caller.trace_flags = (part.decode() for part in parent.groups())
        caller.trace_state = headers.get(b"tracestate", b"").decode("latin-1")
    session = headers.get(b"x-nexus-session-id")
    if session:
        caller.session_id = session.decode("latin-1")[:200]
    tags = headers.get(b"x-nexus-tags")
    if tags:
        caller.tags = _tags(tags.decode("latin-1"))
    return caller


def _tags(text: str) -> dict[str, str] | None:
    """Read `team=search, feature=chat`; what is no pair is left out."""
    tags: dict[str, str] = {}
    for part in text.split(",")[:32]:
        name, equals, value = part.partition("=")
        if equals and name.strip():
            tags[name.strip()[:64]] = value.strip()[:256]
    return tags or None
