"""`/api/identity/invitations`."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromPath, JSONBody

from nexus.identity import invitations, store
from nexus.identity.fields import MembershipName, OneTimeToken, Text
from nexus.identity.guards import actor_of, organization_of, principal_if_any, principal_of, public, requires
from nexus.identity.types import Invitation, InvitationSeen, User
from nexus.kit.errors import NotFound
from nexus.platform.web import Page, web_state

AnyRequest = Request[Any, Any, Any]


class InvitationNew(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to ask to join."""

    email: Text
    role: MembershipName = "member"


class InvitationMade(msgspec.Struct):
    """The invitation, with the link and the token that accept it, shown once."""

    token: str
    url: str
    invitation: Invitation


class InvitationLook(msgspec.Struct, forbid_unknown_fields=True):
    """The token of an invitation."""

    token: OneTimeToken


class InvitationAccept(msgspec.Struct, forbid_unknown_fields=True):
    """Taking an invitation up; a password where the address has no account yet."""

    token: OneTimeToken
    name: Text = ""
    password: Text | None = None


@get("/invitations", guards=[requires("member:manage")])
async def list_invitations(request: AnyRequest) -> Page[Invitation]:
    """List invitations."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return Page(await store.list_invitations(db, organization_id))


@post("/invitations", guards=[requires("member:manage")])
async def invite(request: AnyRequest, data: JSONBody[InvitationNew]) -> InvitationMade:
    """Ask an address to join; the link is shown once, and works once within seven days."""
    organization_id, state = organization_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        token, made = await invitations.invite(
            db, organization_id, email=data.email, role=data.role, granter=principal_of(request), at=state.clock.now()
        )
    # Behind the `#`: a browser sends it to nobody, and no log keeps it.
    return InvitationMade(token, f"{state.settings.url}/invitation#token={token}", made)


@delete("/invitations/{invitation_id:uuid}", guards=[requires("member:manage")], status_code=204)
async def withdraw_invitation(request: AnyRequest, invitation_id: FromPath[UUID]) -> None:
    """Withdraw an invitation that is not accepted yet."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        if await store.value(db, "delete_invitation", organization_id, invitation_id) is None:
            raise NotFound


@post("/invitations/look", guards=[public], status_code=200)
async def look_at_invitation(request: AnyRequest, data: JSONBody[InvitationLook]) -> InvitationSeen:
    """Show what an invitation offers, to whoever holds its token."""
    state = web_state(request)
    async with state.database.as_system(readonly=True) as db:
        return await invitations.look(db, data.token, state.clock.now())


@post("/invitations/accept", guards=[public], status_code=200)
async def accept_invitation(request: AnyRequest, data: JSONBody[InvitationAccept]) -> User:
    """Take an invitation up: with a password where the address is new, signed in where it has an account."""
    state = web_state(request)
    principal = principal_if_any(request)
    signed_in_as = principal.user_id if principal is not None and principal.kind == "user" else None
    async with state.database.as_system(actor_of(request)) as db:
        return await invitations.accept(
            db, token=data.token, at=state.clock.now(), signed_in_as=signed_in_as, name=data.name,
            password=data.password,
        )  # fmt: skip


HANDLERS = [list_invitations, invite, withdraw_invitation, look_at_invitation, accept_invitation]
