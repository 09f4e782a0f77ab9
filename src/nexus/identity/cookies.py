"""The two cookies of a browser: one stands for the session, the other says that somebody signed in from here before."""

from datetime import datetime
from typing import Any

from litestar import Request
from litestar.datastructures import Cookie

from nexus.identity.authentication import COOKIE, DEVICE_COOKIE
from nexus.identity.jobs import DEVICE_DAYS
from nexus.identity.types import SignedIn
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


def is_secure(request: AnyRequest) -> bool:
    """Tell whether cookies of this request's browser are to travel over HTTPS only."""
    return request.scope.get("scheme") == "https" or web_state(request).settings.url.startswith("https:")


def session_cookie(request: AnyRequest, token: str, expires_at: datetime, at: datetime) -> Cookie:
    """Make the cookie of a session. Scripts cannot read it, and other sites' requests do not carry it."""
    return Cookie(
        key=COOKIE, value=token, httponly=True, samesite="lax", secure=is_secure(request), path="/",
        max_age=max(0, int((expires_at - at).total_seconds())),
    )  # fmt: skip


def no_session_cookie(request: AnyRequest) -> Cookie:
    """Make the cookie that takes the session's away."""
    return Cookie(key=COOKIE, value="", httponly=True, samesite="lax", secure=is_secure(request), path="/", max_age=0)


def device_cookie(request: AnyRequest, token: str) -> Cookie:
    """Make the cookie of a known device. It opens nothing: failures of others do not lock out who carries it."""
    return Cookie(
        key=DEVICE_COOKIE, value=token, httponly=True, samesite="lax", secure=is_secure(request),
        path="/api/identity", max_age=DEVICE_DAYS * 86_400,
    )  # fmt: skip


def sign_in_cookies(request: AnyRequest, signed: SignedIn, at: datetime) -> list[Cookie]:
    """Make both cookies of somebody who has just signed in."""
    return [session_cookie(request, signed.token, signed.expires_at, at), device_cookie(request, signed.device)]


def device_of(request: AnyRequest) -> str | None:
    """Return what the device cookie says."""
    return request.cookies.get(DEVICE_COOKIE)
