"""`/api/identity/access-keys`."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from nexus.identity import access_keys, store
from nexus.identity.fields import Name, Names
from nexus.identity.guards import actor_of, organization_of, principal_of, requires
from nexus.identity.types import AccessKey, NewAccessKey
from nexus.platform.web import Page, check_limit, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]


class KeyNew(msgspec.Struct, forbid_unknown_fields=True):
    """An access key to make."""

    name: Name
    scopes: Names
    application: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")] = ""
    rate_limit_per_minute: Annotated[int, msgspec.Meta(gt=0, le=2_000_000_000)] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class KeyRotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key works on."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=90 * 86_400)] = 86_400


@get("/access-keys", guards=[requires("key:read")])
async def list_keys(
    request: AnyRequest,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
    revoked: FromQuery[bool] = False,
) -> Page[AccessKey]:
    """List access keys, newest first; revoked ones on request."""
    organization_id = organization_of(request)
    before = id_of(cursor)
    check_limit(limit)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        found = await store.list_keys(db, organization_id, before, revoked, limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/access-keys", guards=[requires("key:create")])
async def create_key(request: AnyRequest, data: JSONBody[KeyNew]) -> NewAccessKey:
    """Make an access key; it is shown once."""
    organization_id, principal, state = organization_of(request), principal_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await access_keys.create(
            db, organization_id, at=state.clock.now(), creator=principal, user_id=principal.user_id,
            **msgspec.structs.asdict(data),
        )  # fmt: skip


@post("/access-keys/{key_id:uuid}/rotate", guards=[requires("key:revoke")])
async def rotate_key(request: AnyRequest, key_id: FromPath[UUID], data: JSONBody[KeyRotation]) -> NewAccessKey:
    """Make a successor; the old key works on for the overlap."""
    organization_id, state = organization_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await access_keys.rotate(
            db, organization_id, key_id, at=state.clock.now(), overlap=timedelta(seconds=data.overlap_seconds),
            creator=principal_of(request),
        )  # fmt: skip


@post("/access-keys/{key_id:uuid}/revoke", guards=[requires("key:revoke")], status_code=200)
async def revoke_key(request: AnyRequest, key_id: FromPath[UUID]) -> AccessKey:
    """End a key, everywhere within a second."""
    organization_id, state = organization_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await access_keys.revoke(db, organization_id, key_id, at=state.clock.now())


HANDLERS = [list_keys, create_key, rotate_key, revoke_key]
