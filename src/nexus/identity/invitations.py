"""Invitations: an address is asked to join, and joins by a link that works once.

    open --accept by its token--> accepted        open --withdraw | a newer one | seven days--> gone

Whoever made it sees the link, so it proves nothing about the address. An address without an account gets one with a
password; an address with an account joins only when its owner, signed in, accepts.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from nexus.contracts.keys import key_hash
from nexus.identity import service, store
from nexus.identity.errors import AlreadyTaken, SignInToAccept
from nexus.identity.types import Invitation, InvitationSeen, Principal, User
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection

INVITATION_DAYS = 7


def _not_open() -> InvalidRequest:
    return InvalidRequest("the invitation is unknown, used or expired", faults=[FieldFault("token", "ask for another")])


async def invite(
    connection: Connection, organization_id: UUID, *, email: str, role: str, granter: Principal, at: datetime
) -> tuple[str, Invitation]:
    """Ask an address to join; returns the token, shown once, that accepts it within seven days.

    It takes the place of those the address has not accepted. Nobody invites to more than they hold themselves.
    """
    email = service.check_email(email)
    await service.check_may_grant(connection, granter, role)
    if await store.value(connection, "is_member_by_email", organization_id, email):
        raise AlreadyTaken("this address belongs to a member already", faults=[FieldFault("email", "nothing to do")])
    token, invitation_id = secrets.token_urlsafe(32), uuid7()
    await store.run(connection, "replace_invitations", organization_id, email)
    await store.run(
        connection, "insert_invitation", invitation_id, organization_id, email, role, key_hash(token),
        granter.user_id, at + timedelta(days=INVITATION_DAYS),
    )  # fmt: skip
    found = next(item for item in await store.list_invitations(connection, organization_id) if item.id == invitation_id)
    return token, found


async def look(connection: Connection, token: str, at: datetime) -> InvitationSeen:
    """Tell whoever holds the token what they are asked, as nexus_system."""
    found = await store.one(connection, InvitationSeen, "look_at_invitation", key_hash(token), at)
    if found is None:
        raise _not_open()
    return found


async def accept(
    connection: Connection,
    *,
    token: str,
    at: datetime,
    signed_in_as: UUID | None = None,
    name: str = "",
    password: str | None = None,
) -> User:
    """Take an invitation up, as nexus_system: its address joins, with a new account where it has none."""
    taken = await store.row(connection, "take_invitation", key_hash(token), at)
    if taken is None:
        raise _not_open()
    user = await store.one(connection, User, "user_by_login", taken["email"])
    if user is None:
        if password is None:
            message = "choose a password for the new account"
            raise InvalidRequest(f"password: {message}", faults=[FieldFault("password", message)])
        user = await service.create_user(connection, email=taken["email"], password=password, name=name)
    elif user.id != signed_in_as:
        raise SignInToAccept
    try:
        await store.run(
            connection, "add_member", taken["organization_id"], user.id, taken["role"], [], taken["invited_by"]
        )
    except AlreadyTaken:
        raise AlreadyTaken("this person is a member already", faults=[FieldFault("token", "nothing to do")]) from None
    return user
