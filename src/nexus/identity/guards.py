"""Every route declares the permission it needs: `guards=[requires("metrics:read")]`, `signed_in` or `public`."""

from typing import Any, Protocol
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from nexus.identity.errors import MissingPermission, NoOrganization
from nexus.identity.types import OrganizationChoice, Principal
from nexus.kit.errors import FieldFault, Unauthenticated
from nexus.platform.db import Actor
from nexus.platform.db.secrets import secret_keys
from nexus.platform.sealing import Sealer
from nexus.platform.web import web_state

AnyConnection = ASGIConnection[Any, Any, Any, Any]


class Guard(Protocol):
    """A guard that tells which permission it asks for."""

    permission: str

    async def __call__(self, connection: AnyConnection, handler: BaseRouteHandler) -> None:
        """Raise unless the request may pass."""


def requires(permission: str) -> Any:
    """Make a guard that asks for one permission."""

    async def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:
        if not principal_of(connection).may(permission):
            raise MissingPermission(
                f"this needs the permission {permission}", faults=[FieldFault("permission", permission)]
            )

    guard.permission = permission  # type: ignore[attr-defined]
    return guard


async def signed_in(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Let anybody pass who is known, for what everybody may do with their own account."""
    principal_of(connection)


async def public(_: AnyConnection, __: BaseRouteHandler) -> None:
    """Let everybody pass: sign-in itself."""


signed_in.permission = "(signed in)"  # type: ignore[attr-defined]
public.permission = "(public)"  # type: ignore[attr-defined]


def permission_of(handler: Any) -> str | None:
    """Return the permission a route asks for, `(signed in)` or `(public)`; None where it declares nothing."""
    for guard in handler.resolve_guards() if hasattr(handler, "resolve_guards") else handler.guards or ():
        found = getattr(guard, "permission", None) or getattr(getattr(guard, "func", None), "permission", None)
        if found is not None:
            return str(found)
    return None


def principal_if_any(connection: AnyConnection) -> Principal | None:
    """Return who the request comes from, None for nobody."""
    principal = getattr(connection.scope.get("user"), "principal", None)
    assert principal is None or isinstance(principal, Principal)
    return principal


def principal_of(connection: AnyConnection) -> Principal:
    """Return who the request comes from; for nobody raises why, `Unauthenticated` as a rule."""
    principal = principal_if_any(connection)
    if principal is None:
        raise getattr(connection.scope.get("user"), "refusal", None) or Unauthenticated
    return principal


def choices_of(connection: AnyConnection) -> list[OrganizationChoice]:
    """Return the organizations the person may enter."""
    caller = connection.scope.get("user")
    return list(getattr(caller, "choices", []))


def organization_of(connection: AnyConnection) -> UUID:
    """Return the organization the request works for; `NoOrganization` where the principal is in none."""
    organization_id = principal_of(connection).organization_id
    if organization_id is None:
        raise NoOrganization(faults=[FieldFault("X-Nexus-Organization", "name an organization by slug or id")])
    return organization_id


def client_ip(connection: AnyConnection) -> str | None:
    """Return the client's address, which headers tell only where a trusted proxy wrote them (NEXUS_TRUSTED_PROXIES)."""
    client = connection.scope.get("client")
    return str(client[0]) if client else None


def sealer_of(connection: AnyConnection) -> Sealer:
    """Return what seals and opens secrets at rest in this process."""
    state = web_state(connection)
    return state.part(Sealer, lambda: Sealer(secret_keys(state.settings)))


def actor_of(connection: AnyConnection) -> Actor:
    """Return who a change is written down for."""
    principal = getattr(connection.scope.get("user"), "principal", None)
    return Actor(
        user_id=principal.user_id if principal else None,
        key_id=principal.key_id if principal else None,
        label=principal.label if principal else "nobody",
        ip=client_ip(connection),
        user_agent=connection.headers.get("user-agent"),
        request_id=str(connection.scope.get("state", {}).get("request_id", "")),
    )
