"""Nexus's own limits on its control API and on attempts to sign in, where the web meets them."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection

from nexus.dataplane.decide.asgi import refusal
from nexus.dataplane.decide.headers import rate_limit_headers
from nexus.dataplane.decide.own_limits import OwnLimits
from nexus.dataplane.decide.types import Decision
from nexus.identity.lockout import source_of_address
from nexus.identity.types import Principal
from nexus.platform.web import web_state

AnyConnection = ASGIConnection[Any, Any, Any, Any]
HEADERS_STATE = "rate_limit_headers"
"""Where in a request's state the outermost layer finds what to tell of its limits."""


def _address(connection: AnyConnection) -> str:
    client = connection.scope.get("client")
    return source_of_address(str(client[0]) if client else None)


def _limits(connection: AnyConnection) -> OwnLimits:
    return web_state(connection).part(OwnLimits, OwnLimits)


def _meet(connection: AnyConnection, decision: Decision) -> None:
    if not decision.is_admitted:
        raise refusal(decision)
    connection.scope.setdefault("state", {})[HEADERS_STATE] = rate_limit_headers(decision)


async def count_request(connection: AnyConnection, principal: Principal | None) -> None:
    """Count a request by whom it comes from; `QuotaExceeded` where there were too many."""
    if principal is None:
        caller = f"address {_address(connection)}"
    else:
        caller = f"user {principal.user_id}" if principal.key_id is None else f"key {principal.key_id}"
    _meet(connection, await _limits(connection).api(caller))


async def count_sign_in(connection: AnyConnection, login: str = "") -> None:
    """Count an attempt to prove who one is, whether it goes well or not; `QuotaExceeded` where there were too many."""
    _meet(connection, await _limits(connection).sign_in(_address(connection), login.strip().lower()[:320]))
