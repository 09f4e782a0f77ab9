"""`/api/identity/me` and one's own sessions."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from nexus.identity import cookies, second_factor, service, sessions, store
from nexus.identity.fields import Code, Text
from nexus.identity.guards import actor_of, choices_of, principal_of, sealer_of, signed_in
from nexus.identity.types import OrganizationChoice, Session, User
from nexus.kit.errors import FieldFault, Forbidden, InvalidRequest, NotFound
from nexus.platform.db.configuration import get_configuration
from nexus.platform.web import Page, web_state

AnyRequest = Request[Any, Any, Any]
Short = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]
Shown = bool | int | float | Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]


class Account(msgspec.Struct):
    """Who is signed in, where, and what they may do there."""

    user: User | None
    organizations: list[OrganizationChoice]
    organization: OrganizationChoice | None
    permissions: list[str]


class Preferences(msgspec.Struct, forbid_unknown_fields=True):
    """How a person likes it. What is left out stays; null takes a preference back."""

    theme: Literal["light", "dark", "system"] | msgspec.UnsetType | None = msgspec.UNSET
    default_organization: Short | msgspec.UnsetType | None = msgspec.UNSET
    region: Short | msgspec.UnsetType | None = msgspec.UNSET
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")] | msgspec.UnsetType | None = msgspec.UNSET
    favourite_models: (
        Annotated[
            list[Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]], msgspec.Meta(max_length=100)
        ]
        | msgspec.UnsetType
        | None
    ) = msgspec.UNSET
    display: Annotated[dict[Short, Shown], msgspec.Meta(max_length=50)] | msgspec.UnsetType | None = msgspec.UNSET


class ProfileChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a person may change about themselves."""

    name: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")] | None = None
    username: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{2,64}$")] | None = None
    timezone: Short | None = None
    locale: Annotated[str, msgspec.Meta(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    preferences: Preferences | None = None


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """Old and new password."""

    current_password: Text
    new_password: Text


class Confirmation(msgspec.Struct, forbid_unknown_fields=True):
    """The proof of who one is; the code where a second factor is enrolled."""

    password: Text
    code: Code | None = None


class Confirmed(msgspec.Struct):
    """Until when sensitive changes need no further proof."""

    until: str


class SignOutEverywhere(msgspec.Struct, forbid_unknown_fields=True):
    """Whether this session stays."""

    keep_current: bool = False


class Ended(msgspec.Struct):
    """How many sessions ended."""

    ended: int


def account(
    user: User | None, choices: list[OrganizationChoice], organization_id: UUID | None, permissions: frozenset[str]
) -> Account:
    """Shape the answer of sign-in and of `/me`."""
    current = next((item for item in choices if item.id == organization_id), None)
    return Account(user, choices, current, sorted(permissions))


def user_id_of(request: AnyRequest) -> UUID:
    """Return who is signed in; `Forbidden` for a key."""
    principal = principal_of(request)
    if principal.kind != "user" or principal.user_id is None:
        raise Forbidden("a key has no account: sign in")
    return principal.user_id


@get("/me", guards=[signed_in])
async def me(request: AnyRequest) -> Account:
    """Tell who is signed in, the organizations they may enter and what they may do in the current one."""
    principal, state = principal_of(request), web_state(request)
    user = None
    choices = choices_of(request)
    async with state.database.as_system(readonly=True) as db:
        if principal.user_id is not None:
            user = await store.user_by_id(db, principal.user_id)
        if principal.organization_id is not None and all(item.id != principal.organization_id for item in choices):
            found = await store.organization_by_slug(db, str(principal.organization_id))
            if found is not None:
                role = "key" if principal.kind == "key" else "administrator"
                choices.append(
                    OrganizationChoice(found.id, found.name, found.slug, role, found.currency, found.reporting_zone)
                )
    return account(user, choices, principal.organization_id, principal.permissions)


@patch("/me", guards=[signed_in])
async def change_me(request: AnyRequest, data: JSONBody[ProfileChange]) -> User:
    """Change one's own account."""
    changes = msgspec.structs.asdict(data)
    if data.preferences is not None:
        changes["preferences"] = msgspec.to_builtins(data.preferences)
    async with web_state(request).database.as_system(actor_of(request), principal_of(request).organization_id) as db:
        return await service.change_user(db, user_id_of(request), changes)


@post("/me/confirm", guards=[signed_in], status_code=200)
async def confirm(request: AnyRequest, data: JSONBody[Confirmation]) -> Response[Confirmed]:
    """Prove again who one is: sensitive changes are open for a while. The session goes on under a new cookie."""
    user_id = user_id_of(request)
    principal, actor, state = principal_of(request), actor_of(request), web_state(request)
    at = state.clock.now()
    async with state.database.as_system(actor, readonly=True) as db:
        window = timedelta(minutes=(await get_configuration(db)).integer("auth.reauthentication_minutes"))
        needs_code = await store.value(db, "has_second_factor", user_id)
    if needs_code and data.code is None:
        raise InvalidRequest("code: give the code of your second factor", faults=[FieldFault("code", "it is missing")])
    await sessions.prove_password(state.database, principal, data.password, field="password", actor=actor, at=at)
    if needs_code and data.code is not None:
        await second_factor.check_code(
            state.database, user_id, data.code, sealer=sealer_of(request), actor=actor, at=at,
            device=cookies.device_of(request),
        )  # fmt: skip
    async with state.database.as_system(actor) as db:
        token, expires_at = await sessions.confirm(db, principal, actor, at)
    cookie = cookies.session_cookie(request, token, expires_at, at)
    return Response(Confirmed((at + window).isoformat().replace("+00:00", "Z")), cookies=[cookie], status_code=200)


@post("/me/password", guards=[signed_in], status_code=200)
async def change_password(request: AnyRequest, data: JSONBody[PasswordChange]) -> Response[Ended]:
    """Change one's password; every other session ends, and this one goes on under a new cookie."""
    user_id_of(request)
    principal, actor, state = principal_of(request), actor_of(request), web_state(request)
    at = state.clock.now()
    ended = await service.change_own_password(
        state.database, principal, current=data.current_password, new=data.new_password, actor=actor, at=at,
        device=cookies.device_of(request),
    )  # fmt: skip
    async with state.database.as_system(actor) as db:
        token, expires_at = await sessions.confirm(db, principal, actor, at)
    return Response(Ended(ended), cookies=[cookies.session_cookie(request, token, expires_at, at)], status_code=200)


@get("/sessions", guards=[signed_in])
async def list_sessions(request: AnyRequest) -> Page[Session]:
    """List one's own live sessions."""
    state = web_state(request)
    async with state.database.as_system(readonly=True) as db:
        current = principal_of(request).session_id
        return Page(await store.list_sessions(db, user_id_of(request), state.clock.now(), current))


@delete("/sessions/{session_id:uuid}", guards=[signed_in], status_code=204)
async def end_session(request: AnyRequest, session_id: FromPath[UUID]) -> None:
    """End one of one's own sessions; another than this one only with a recent proof of who one is."""
    state, principal = web_state(request), principal_of(request)
    at = state.clock.now()
    user_id = user_id_of(request)
    async with state.database.as_system(actor_of(request)) as db:
        if session_id != principal.session_id:
            await sessions.require_recent(db, principal, at)
        if not await sessions.end_session(db, user_id, session_id, at):
            raise NotFound
        await store.log_security(db, "session_ended", "LOW", user_id, actor_of(request), {"session": str(session_id)})


@post("/sessions/sign-out-everywhere", guards=[signed_in], status_code=200)
async def sign_out_everywhere(request: AnyRequest, data: JSONBody[SignOutEverywhere | None] = None) -> Ended:
    """End all of one's own sessions, this one included unless it is to stay; needs a recent proof of who one is."""
    state, principal = web_state(request), principal_of(request)
    at = state.clock.now()
    user_id = user_id_of(request)
    keep = principal.session_id if data is not None and data.keep_current else None
    async with state.database.as_system(actor_of(request)) as db:
        await sessions.require_recent(db, principal, at)
        ended = await sessions.end_sessions(db, user_id, at, keep=keep)
        await store.log_security(db, "signed_out_everywhere", "MEDIUM", user_id, actor_of(request), {"ended": ended})
    return Ended(ended)


HANDLERS = [me, change_me, confirm, change_password, list_sessions, end_session, sign_out_everywhere]
