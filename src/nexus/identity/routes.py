"""`/api/identity`: sign-in, one's own account, organizations, people, roles and access keys."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, FromQuery, JSONBody

from nexus.identity import access_keys, service, store
from nexus.identity.authentication import COOKIE, is_same_origin
from nexus.identity.errors import CrossSiteRequest, UnknownRole
from nexus.identity.guards import actor_of, choices_of, organization_of, principal_of, public, requires, signed_in
from nexus.identity.types import (
    AccessKey,
    Invitation,
    Membership,
    NewAccessKey,
    Organization,
    OrganizationChoice,
    Permission,
    Role,
    Session,
    User,
)
from nexus.kit.errors import Forbidden, NotFound
from nexus.platform.web import Page, decode_cursor, encode_cursor, web_state
from nexus.platform.web.pages import check_limit

AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Text = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Names = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]], msgspec.Meta(max_length=100)
]
Settings = dict[str, Any]


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants in."""

    email: Text
    password: Text


class Account(msgspec.Struct):
    """Who is signed in, where, and what they may do there."""

    user: User | None
    organizations: list[OrganizationChoice]
    organization: OrganizationChoice | None
    permissions: list[str]


class ProfileChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a person may change about themselves."""

    name: Text | None = None
    username: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{2,64}$")] | None = None
    timezone: Text | None = None
    locale: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] | None = None
    preferences: Settings | None = None


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """Old and new password."""

    current_password: Text
    new_password: Text


class OrganizationNew(msgspec.Struct, forbid_unknown_fields=True):
    """A tenant to make; whoever makes it owns it."""

    name: Name
    slug: Text
    plan: Literal["free", "pro", "enterprise"] = "free"
    tier: Literal["standard", "enterprise", "academic"] = "standard"
    currency: Text = "USD"
    reporting_zone: Text = "UTC"
    billing_email: Text | None = None


class OrganizationChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of an organization."""

    name: Name | None = None
    billing_email: Text | None = None
    reporting_zone: Text | None = None
    settings: Settings | None = None


class UserNew(msgspec.Struct, forbid_unknown_fields=True):
    """A person to add to the organization."""

    email: Text
    password: Text
    name: Text = ""
    role: Literal["owner", "admin", "member", "viewer"] = "member"


class MemberChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a membership."""

    role: Literal["owner", "admin", "member", "viewer"] | None = None
    extra_permissions: Names | None = None


class InvitationNew(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to ask to join."""

    email: Text
    role: Literal["owner", "admin", "member", "viewer"] = "member"


class InvitationMade(msgspec.Struct):
    """The invitation, with the token that accepts it, shown once."""

    token: str
    invitation: Invitation


class InvitationAccept(msgspec.Struct, forbid_unknown_fields=True):
    """Taking an invitation up; a password where the address has no account yet."""

    token: Text
    name: Text = ""
    password: Text | None = None


class RoleNew(msgspec.Struct, forbid_unknown_fields=True):
    """A role to make."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{1,62}$")]
    permissions: Names
    description: Text = ""


class RoleGrant(msgspec.Struct, forbid_unknown_fields=True):
    """A role to grant, until an instant if one is given."""

    role_id: UUID
    expires_at: datetime | None = None


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


class Ended(msgspec.Struct):
    """How many sessions ended."""

    ended: int


def _is_secure(request: AnyRequest) -> bool:
    return request.scope.get("scheme") == "https" or web_state(request).settings.url.startswith("https:")


def _account(
    user: User | None, choices: list[OrganizationChoice], organization_id: UUID | None, permissions: frozenset[str]
) -> Account:
    current = next((item for item in choices if item.id == organization_id), None)
    return Account(user, choices, current, sorted(permissions))


@post("/sign-in", guards=[public], status_code=200)
async def sign_in(request: AnyRequest, data: JSONBody[SignIn]) -> Response[Account]:
    """Open a session; the cookie stands for it."""
    if not is_same_origin(request):
        raise CrossSiteRequest
    state = web_state(request)
    at = state.clock.now()
    signed = await service.sign_in(
        state.database, login=data.email, password=data.password, actor=actor_of(request), at=at
    )
    async with state.database.as_system(readonly=True) as db:
        choices = await store.organizations_of_user(db, signed.user.id)
        organization_id = choices[0].id if choices else None
        permissions = await service.permissions_of(db, signed.user.id, organization_id, at)
    cookie = Cookie(
        key=COOKIE, value=signed.token, httponly=True, samesite="lax", secure=_is_secure(request), path="/",
        max_age=int((signed.expires_at - at).total_seconds()),
    )  # fmt: skip
    return Response(_account(signed.user, choices, organization_id, permissions), cookies=[cookie])


@post("/sign-out", guards=[signed_in], status_code=204)
async def sign_out(request: AnyRequest) -> Response[None]:
    """End the session."""
    principal, state = principal_of(request), web_state(request)
    if principal.user_id and principal.session_id:
        async with state.database.as_system(actor_of(request)) as db:
            await service.sign_out(db, principal.user_id, principal.session_id, state.clock.now())
    gone = Cookie(key=COOKIE, value="", httponly=True, samesite="lax", secure=_is_secure(request), path="/", max_age=0)
    return Response(None, cookies=[gone], status_code=204)


def _user_id(request: AnyRequest) -> UUID:
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
    return _account(user, choices, principal.organization_id, principal.permissions)


@patch("/me", guards=[signed_in])
async def change_me(request: AnyRequest, data: JSONBody[ProfileChange]) -> User:
    """Change one's own account."""
    async with web_state(request).database.as_system(actor_of(request), principal_of(request).organization_id) as db:
        return await service.change_user(db, _user_id(request), msgspec.structs.asdict(data))


@post("/me/password", guards=[signed_in], status_code=200)
async def change_password(request: AnyRequest, data: JSONBody[PasswordChange]) -> Ended:
    """Change one's password; every other session ends."""
    _user_id(request)
    state = web_state(request)
    ended = await service.change_own_password(
        state.database, principal_of(request), current=data.current_password, new=data.new_password,
        actor=actor_of(request), at=state.clock.now(),
    )  # fmt: skip
    return Ended(ended)


@get("/sessions", guards=[signed_in])
async def list_sessions(request: AnyRequest) -> Page[Session]:
    """List one's own live sessions."""
    state = web_state(request)
    async with state.database.as_system(readonly=True) as db:
        return Page(await store.list_sessions(db, _user_id(request), state.clock.now()))


@delete("/sessions/{session_id:uuid}", guards=[signed_in], status_code=204)
async def end_session(request: AnyRequest, session_id: FromPath[UUID]) -> None:
    """End one of one's own sessions."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        if not await service.sign_out(db, _user_id(request), session_id, state.clock.now()):
            raise NotFound


@post("/sessions/sign-out-everywhere", guards=[signed_in], status_code=200)
async def sign_out_everywhere(request: AnyRequest) -> Ended:
    """End all of one's own sessions, this one included."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        return Ended(await service.sign_out_everywhere(db, _user_id(request), state.clock.now()))


@get("/organizations", guards=[signed_in])
async def list_organizations(request: AnyRequest) -> Page[OrganizationChoice]:
    """List the organizations one may enter."""
    if principal_of(request).may("tenant:read"):
        async with web_state(request).database.as_system(readonly=True) as db:
            return Page(await store.many(db, OrganizationChoice, "all_organizations"))
    return Page(choices_of(request))


@post("/organizations", guards=[requires("organization:create")])
async def create_organization(request: AnyRequest, data: JSONBody[OrganizationNew]) -> Organization:
    """Make an organization; whoever makes it owns it."""
    async with web_state(request).database.as_system(actor_of(request)) as db:
        return await service.create_organization(
            db, owner_id=principal_of(request).user_id, **msgspec.structs.asdict(data)
        )


@get("/organization", guards=[requires("organization:read")])
async def read_organization(request: AnyRequest) -> Organization:
    """Show the current organization."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await service.get_organization(db, organization_id)


@patch("/organization", guards=[requires("organization:update")])
async def change_organization(request: AnyRequest, data: JSONBody[OrganizationChange]) -> Organization:
    """Change the current organization."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.change_organization(db, organization_id, msgspec.structs.asdict(data))


@get("/members", guards=[requires("user:read")])
async def list_members(request: AnyRequest) -> Page[Membership]:
    """List the members of the organization."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return Page(await store.list_members(db, organization_id))


@post("/users", guards=[requires("user:create")])
async def create_user(request: AnyRequest, data: JSONBody[UserNew]) -> Membership:
    """Add a person with a password, as a member of the organization."""
    organization_id, principal, state = organization_of(request), principal_of(request), web_state(request)
    async with state.database.as_system(actor_of(request), organization_id) as db:
        await service.check_may_grant(db, principal, data.role)
        user = await service.create_user(db, email=data.email, password=data.password, name=data.name)
        await service.add_member(db, organization_id, user.id, data.role, invited_by=principal.user_id)
        return await service.get_member(db, organization_id, user.id)


@patch("/members/{user_id:uuid}", guards=[requires("member:manage")])
async def change_member(request: AnyRequest, user_id: FromPath[UUID], data: JSONBody[MemberChange]) -> Membership:
    """Change a member's role or extra permissions."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.change_member(
            db, organization_id, user_id, granter=principal_of(request), role=data.role,
            extra_permissions=data.extra_permissions,
        )  # fmt: skip


@delete("/members/{user_id:uuid}", guards=[requires("member:manage")], status_code=204)
async def remove_member(request: AnyRequest, user_id: FromPath[UUID]) -> None:
    """End a membership."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        await service.remove_member(db, organization_id, user_id, granter=principal_of(request))


@get("/invitations", guards=[requires("member:manage")])
async def list_invitations(request: AnyRequest) -> Page[Invitation]:
    """List invitations."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return Page(await store.list_invitations(db, organization_id))


@post("/invitations", guards=[requires("member:manage")])
async def invite(request: AnyRequest, data: JSONBody[InvitationNew]) -> InvitationMade:
    """Ask an address to join; the token is shown once."""
    organization_id, state = organization_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        token, made = await service.invite(
            db, organization_id, email=data.email, role=data.role, granter=principal_of(request), at=state.clock.now()
        )
        return InvitationMade(token, made)


@delete("/invitations/{invitation_id:uuid}", guards=[requires("member:manage")], status_code=204)
async def withdraw_invitation(request: AnyRequest, invitation_id: FromPath[UUID]) -> None:
    """Withdraw an invitation that is not accepted yet."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        if await store.value(db, "delete_invitation", organization_id, invitation_id) is None:
            raise NotFound


@post("/invitations/accept", guards=[public], status_code=200)
async def accept_invitation(request: AnyRequest, data: JSONBody[InvitationAccept]) -> User:
    """Take an invitation up."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        return await service.accept_invitation(
            db, token=data.token, at=state.clock.now(), name=data.name, password=data.password
        )


@get("/permissions", guards=[signed_in])
async def list_permissions(request: AnyRequest) -> Page[Permission]:
    """List every permission there is."""
    async with web_state(request).database.as_system(readonly=True) as db:
        return Page(await store.list_permissions(db))


@get("/roles", guards=[requires("role:read")])
async def list_roles(request: AnyRequest) -> Page[Role]:
    """List built-in roles and the organization's own."""
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return Page(await store.list_roles(db))


@post("/roles", guards=[requires("role:manage")])
async def create_role(request: AnyRequest, data: JSONBody[RoleNew]) -> Role:
    """Make a role."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_role(
            db, organization_id, name=data.name, permissions=data.permissions, granter=principal_of(request),
            description=data.description,
        )  # fmt: skip


@delete("/roles/{role_id:uuid}", guards=[requires("role:manage")], status_code=204)
async def delete_role(request: AnyRequest, role_id: FromPath[UUID]) -> None:
    """Delete a role of the organization; built-in ones stay."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        if await store.value(db, "delete_role", role_id, organization_id) is None:
            raise UnknownRole("a built-in role cannot be deleted, and another is not here")


@post("/members/{user_id:uuid}/roles", guards=[requires("role:manage")], status_code=204)
async def grant_role(request: AnyRequest, user_id: FromPath[UUID], data: JSONBody[RoleGrant]) -> None:
    """Grant a role to a member."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        await service.grant_role(
            db, organization_id, user_id, data.role_id, granter=principal_of(request), expires_at=data.expires_at
        )


@delete("/members/{user_id:uuid}/roles/{role_id:uuid}", guards=[requires("role:manage")], status_code=204)
async def revoke_role(request: AnyRequest, user_id: FromPath[UUID], role_id: FromPath[UUID]) -> None:
    """Take a granted role back."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        if await store.value(db, "revoke_role", organization_id, user_id, role_id) is None:
            raise UnknownRole


@get("/access-keys", guards=[requires("key:read")])
async def list_keys(
    request: AnyRequest,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
    revoked: FromQuery[bool] = False,
) -> Page[AccessKey]:
    """List access keys, newest first; revoked ones on request."""
    organization_id = organization_of(request)
    before = decode_cursor(cursor, tuple[UUID])[0] if cursor is not None else None
    check_limit(limit)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        found = await store.list_keys(db, organization_id, before, revoked, limit + 1)
    more = encode_cursor(found[limit - 1].id) if len(found) > limit else None
    return Page(found[:limit], more)


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


router = Router(
    "/api/identity",
    route_handlers=[
        sign_in, sign_out, me, change_me, change_password, list_sessions, end_session, sign_out_everywhere,
        list_organizations, create_organization, read_organization, change_organization,
        list_members, create_user, change_member, remove_member, grant_role, revoke_role,
        list_invitations, invite, withdraw_invitation, accept_invitation,
        list_permissions, list_roles, create_role, delete_role,
        list_keys, create_key, rotate_key, revoke_key,
    ],
    tags=["identity"],
)  # fmt: skip
