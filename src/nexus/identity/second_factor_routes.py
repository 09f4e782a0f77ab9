"""`/api/identity/me/second-factor`."""

from typing import Any

import msgspec
from litestar import Request, delete, get, post
from litestar.params import JSONBody

from nexus.identity import second_factor, sessions
from nexus.identity.account_routes import user_id_of
from nexus.identity.fields import Code
from nexus.identity.guards import actor_of, principal_of, sealer_of, signed_in
from nexus.identity.second_factor import Enrolment, SecondFactor
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


class FirstCode(msgspec.Struct, forbid_unknown_fields=True):
    """The code that the app shows now."""

    code: Code


class RecoveryCodes(msgspec.Struct):
    """Recovery codes at the only moment at which they are shown."""

    recovery_codes: list[str]


@get("/me/second-factor", guards=[signed_in])
async def read_second_factor(request: AnyRequest) -> SecondFactor:
    """Tell how one's second factor stands."""
    user_id = user_id_of(request)
    async with web_state(request).database.as_system(readonly=True) as db:
        return await second_factor.status(db, user_id)


@post("/me/second-factor", guards=[signed_in])
async def enrol(request: AnyRequest) -> Enrolment:
    """Make a secret for an authenticator app, shown once; it counts when a first code confirms it."""
    user_id, principal, state = user_id_of(request), principal_of(request), web_state(request)
    at = state.clock.now()
    async with state.database.as_system(actor_of(request)) as db:
        await sessions.require_recent(db, principal, at)
        return await second_factor.enrol(db, user_id, principal.label, sealer_of(request), at)


@post("/me/second-factor/confirm", guards=[signed_in], status_code=200)
async def confirm(request: AnyRequest, data: JSONBody[FirstCode]) -> RecoveryCodes:
    """Put the second factor in force; the recovery codes are shown once, and every other session ends."""
    user_id_of(request)
    principal, state = principal_of(request), web_state(request)
    at, actor = state.clock.now(), actor_of(request)
    async with state.database.as_system(actor) as db:
        await sessions.require_recent(db, principal, at)
        return RecoveryCodes(await second_factor.confirm(db, principal, data.code, sealer_of(request), actor, at))


@post("/me/second-factor/recovery-codes", guards=[signed_in], status_code=200)
async def renew_recovery_codes(request: AnyRequest) -> RecoveryCodes:
    """Make new recovery codes, shown once; those before are worth nothing any more."""
    user_id, state = user_id_of(request), web_state(request)
    at, actor = state.clock.now(), actor_of(request)
    async with state.database.as_system(actor) as db:
        await sessions.require_recent(db, principal_of(request), at)
        return RecoveryCodes(await second_factor.renew_recovery_codes(db, user_id, actor, at))


@delete("/me/second-factor", guards=[signed_in], status_code=204)
async def take_away(request: AnyRequest) -> None:
    """Take the second factor off one's account; needs a fresh proof, with a code of it."""
    user_id, state = user_id_of(request), web_state(request)
    actor = actor_of(request)
    async with state.database.as_system(actor) as db:
        await sessions.require_recent(db, principal_of(request), state.clock.now())
        await second_factor.take_away(db, user_id, actor)


HANDLERS = [read_second_factor, enrol, confirm, renew_recovery_codes, take_away]
