"""What an administrator does to let somebody in again, or out: links to set a password, a lost second factor, sessions."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, post
from litestar.params import FromPath, JSONBody

from nexus.identity import cookies, password_links, second_factor, sessions, store
from nexus.identity.account_routes import Ended
from nexus.identity.attempts import count_sign_in
from nexus.identity.fields import OneTimeToken, Text
from nexus.identity.guards import actor_of, organization_of, principal_of, public, requires
from nexus.identity.types import PasswordLink
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


class PasswordReset(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a link, and the new password."""

    token: OneTimeToken
    password: Text


@post("/members/{user_id:uuid}/password-reset", guards=[requires("user:update")])
async def make_password_link(request: AnyRequest, user_id: FromPath[UUID]) -> PasswordLink:
    """Make a link by which a member sets a new password: shown once, good once, for a day. Deliver it yourself.

    Needs a recent proof of who one is, and refuses for accounts that can do more than one's own.
    """
    organization_id, principal, state = organization_of(request), principal_of(request), web_state(request)
    at, actor = state.clock.now(), actor_of(request)
    async with state.database.as_system(actor, organization_id) as db:
        await sessions.require_recent(db, principal, at)
        await password_links.check_may_reset(db, principal, organization_id, user_id, at)
        return await password_links.make(
            db, user_id, base_url=state.settings.url, made_by=principal.user_id, actor=actor, at=at
        )


@delete("/members/{user_id:uuid}/second-factor", guards=[requires("user:update")], status_code=204)
async def take_second_factor(request: AnyRequest, user_id: FromPath[UUID]) -> None:
    """Take the second factor off a member who lost it. Same conditions as a link to set a password."""
    organization_id, principal, state = organization_of(request), principal_of(request), web_state(request)
    at, actor = state.clock.now(), actor_of(request)
    async with state.database.as_system(actor, organization_id) as db:
        await sessions.require_recent(db, principal, at)
        await password_links.check_may_reset(db, principal, organization_id, user_id, at)
        await second_factor.take_away(db, user_id, actor)


@post("/members/{user_id:uuid}/sign-out-everywhere", guards=[requires("user:update")], status_code=200)
async def sign_member_out(request: AnyRequest, user_id: FromPath[UUID]) -> Ended:
    """End every session of a member. Same conditions as a link to set a password."""
    organization_id, principal, state = organization_of(request), principal_of(request), web_state(request)
    at, actor = state.clock.now(), actor_of(request)
    async with state.database.as_system(actor, organization_id) as db:
        await sessions.require_recent(db, principal, at)
        await password_links.check_may_reset(db, principal, organization_id, user_id, at)
        ended = await sessions.end_sessions(db, user_id, at)
        await store.log_security(db, "signed_out_by_administrator", "MEDIUM", user_id, actor, {"ended": ended})
    return Ended(ended)


@post("/password-reset", guards=[public], status_code=204)
async def use_password_link(request: AnyRequest, data: JSONBody[PasswordReset]) -> Response[None]:
    """Set the password a link is for. Every session of the account ends; sign in with the new one."""
    await count_sign_in(request)
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        device = await password_links.use(
            db, token=data.token, password=data.password, actor=actor_of(request), at=state.clock.now(),
            device=cookies.device_of(request),
        )  # fmt: skip
    return Response(None, cookies=[cookies.device_cookie(request, device)], status_code=204)


HANDLERS = [make_password_link, take_second_factor, sign_member_out, use_password_link]
