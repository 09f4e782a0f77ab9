"""Finds out who a request comes from: a person's cookie or a program's access key. Guards decide what they may do."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from nexus.identity import access_keys, principals
from nexus.identity.attempts import count_request
from nexus.identity.errors import CrossSiteRequest, InvalidAccessKey, SessionEnded
from nexus.identity.types import OrganizationChoice, Principal
from nexus.kit.errors import NexusError
from nexus.platform.web import web_state

COOKIE = "nexus_session"
DEVICE_COOKIE = "nexus_device"
ORGANIZATION_HEADER = "x-nexus-organization"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

AnyConnection = ASGIConnection[Any, Any, Any, Any]


class Caller:
    """The principal of a request and, for people, the organizations they may enter; or why there is none."""

    def __init__(
        self,
        principal: Principal | None = None,
        choices: list[OrganizationChoice] | None = None,
        refusal: NexusError | None = None,
    ) -> None:
        self.principal = principal
        self.choices = choices or []
        self.refusal = refusal


def _key_text(connection: AnyConnection) -> str | None:
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        scheme, _, text = authorization.partition(" ")
        return text.strip() if scheme.lower() == "bearer" else ""
    return connection.headers.get("x-api-key")


def is_same_origin(connection: AnyConnection) -> bool:
    """Tell whether a browser sent this from our own pages. Without either header it is no browser's form or script."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = connection.headers.get("origin")
    if origin is None:
        return True
    settings = web_state(connection).settings
    host = connection.headers.get("host", "")
    return origin in {f"http://{host}", f"https://{host}", settings.url}


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Puts a `Caller` into `request.user`; a wrong key or an ended session is refused where a permission is needed."""

    async def authenticate_request(self, connection: AnyConnection) -> AuthenticationResult:
        """Find out who sent the request, and count it by that; what nobody known sent is counted by its address."""
        try:
            found = await self._look_up(connection)
        except NexusError:
            await count_request(connection, None)
            raise
        await count_request(connection, found.user.principal)
        return found

    async def _look_up(self, connection: AnyConnection) -> AuthenticationResult:
        """Look the key or the cookie up. A key that is sent but wrong is refused, whatever else is sent."""
        state = web_state(connection)
        at = state.clock.now()
        text = _key_text(connection)
        if text is not None:
            if not access_keys.is_well_formed(text):
                raise InvalidAccessKey
            async with state.database.as_system() as db:
                principal = await principals.principal_of_key(db, text, at)
            if principal is None:
                raise InvalidAccessKey
            return AuthenticationResult(user=Caller(principal), auth="key")
        token = connection.cookies.get(COOKIE)
        if not token:
            return AuthenticationResult(user=Caller(), auth=None)
        if connection.scope.get("method", "GET") not in _SAFE_METHODS and not is_same_origin(connection):
            raise CrossSiteRequest
        wanted = connection.headers.get(ORGANIZATION_HEADER)
        if wanted is None and connection.scope["path"] == "/api/live":
            # An EventSource cannot send headers.
            wanted = connection.query_params.get("organization")
        async with state.database.as_system() as db:
            try:
                principal, choices = await principals.principal_of_session(db, token, wanted, at)
            except SessionEnded as ended:
                # Who signs in again still sends the old cookie.
                return AuthenticationResult(user=Caller(refusal=ended), auth=None)
        return AuthenticationResult(user=Caller(principal, choices), auth="session")
