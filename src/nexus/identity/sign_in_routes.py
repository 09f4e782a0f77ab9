"""`/api/identity/sign-in` and `sign-out`."""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from nexus.identity import cookies, principals, second_factor, sessions, store
from nexus.identity.account_routes import Account, account
from nexus.identity.attempts import count_sign_in
from nexus.identity.authentication import COOKIE, is_same_origin
from nexus.identity.errors import CrossSiteRequest
from nexus.identity.fields import Code, OneTimeToken, Text
from nexus.identity.guards import actor_of, principal_of, public, sealer_of, signed_in
from nexus.identity.second_factor import Challenge
from nexus.identity.sign_in import sign_in as sign_in_with_password
from nexus.identity.types import SignedIn
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants in."""

    email: Text
    password: Text


class ChallengeAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The second step of a sign-in."""

    challenge: OneTimeToken
    code: Code


async def signed_in_answer(request: AnyRequest, signed: SignedIn) -> Response[Account]:
    """Answer somebody who has just signed in: their account, and the cookies."""
    state = web_state(request)
    at = state.clock.now()
    async with state.database.as_system(readonly=True) as db:
        choices = await store.organizations_of_user(db, signed.user.id)
        preferred = signed.user.preferences.get("default_organization")
        organization_id = principals.first_organization(choices, preferred)
        permissions = await principals.permissions_of(db, signed.user.id, organization_id, at)
    answer = account(signed.user, choices, organization_id, permissions)
    return Response(answer, cookies=cookies.sign_in_cookies(request, signed, at), status_code=200)


@post(
    "/sign-in",
    guards=[public],
    status_code=200,
    responses={202: ResponseSpec(Challenge, description="the password is right; a code of the second factor is due")},
)
async def sign_in(request: AnyRequest, data: JSONBody[SignIn]) -> Response[Account] | Response[Challenge]:
    """Open a session; the cookie stands for it. With a second factor enrolled: 202, and the code goes to
    `/api/identity/sign-in/second-factor`.
    """
    if not is_same_origin(request):
        raise CrossSiteRequest
    await count_sign_in(request, data.email)
    state = web_state(request)
    signed = await sign_in_with_password(
        state.database, login=data.email, password=data.password, actor=actor_of(request), at=state.clock.now(),
        device=cookies.device_of(request), replaces=request.cookies.get(COOKIE),
    )  # fmt: skip
    if isinstance(signed, Challenge):
        return Response(signed, status_code=202)
    return await signed_in_answer(request, signed)


@post("/sign-in/second-factor", guards=[public], status_code=200)
async def answer_challenge(request: AnyRequest, data: JSONBody[ChallengeAnswer]) -> Response[Account]:
    """Open the session a challenge stands for, by a code of the app or a recovery code."""
    if not is_same_origin(request):
        raise CrossSiteRequest
    await count_sign_in(request)
    state = web_state(request)
    signed = await second_factor.answer(
        state.database, token=data.challenge, code=data.code, sealer=sealer_of(request), actor=actor_of(request),
        at=state.clock.now(), device=cookies.device_of(request), replaces=request.cookies.get(COOKIE),
    )  # fmt: skip
    return await signed_in_answer(request, signed)


@post("/sign-out", guards=[signed_in], status_code=204)
async def sign_out(request: AnyRequest) -> Response[None]:
    """End the session."""
    principal, state = principal_of(request), web_state(request)
    if principal.user_id and principal.session_id:
        async with state.database.as_system(actor_of(request)) as db:
            await sessions.end_session(db, principal.user_id, principal.session_id, state.clock.now())
    return Response(None, cookies=[cookies.no_session_cookie(request)], status_code=204)


HANDLERS = [sign_in, answer_challenge, sign_out]
