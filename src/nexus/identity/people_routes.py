"""`/api/identity`: organizations, their members, invitations and roles."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from nexus.identity import service, store
from nexus.identity.errors import UnknownRole
from nexus.identity.fields import Name, Names, Text
from nexus.identity.guards import actor_of, choices_of, organization_of, principal_of, requires, signed_in
from nexus.identity.types import Membership, Organization, OrganizationChoice, Permission, Role
from nexus.platform.web import Page, web_state

AnyRequest = Request[Any, Any, Any]
Settings = dict[str, Any]


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


class RoleNew(msgspec.Struct, forbid_unknown_fields=True):
    """A role to make."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{1,62}$")]
    permissions: Names
    description: Text = ""


class RoleGrant(msgspec.Struct, forbid_unknown_fields=True):
    """A role to grant, until an instant if one is given."""

    role_id: UUID
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


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
        return Page(await store.list_members(db, organization_id, web_state(request).clock.now()))


@post("/users", guards=[requires("user:create")])
async def create_user(request: AnyRequest, data: JSONBody[UserNew]) -> Membership:
    """Add a person with a password, as a member of the organization."""
    organization_id, principal, state = organization_of(request), principal_of(request), web_state(request)
    async with state.database.as_system(actor_of(request), organization_id) as db:
        await service.check_may_grant(db, principal, data.role)
        user = await service.create_user(db, email=data.email, password=data.password, name=data.name)
        await service.add_member(db, organization_id, user.id, data.role, invited_by=principal.user_id)
        return await service.get_member(db, organization_id, user.id, state.clock.now())


@patch("/members/{user_id:uuid}", guards=[requires("member:manage")])
async def change_member(request: AnyRequest, user_id: FromPath[UUID], data: JSONBody[MemberChange]) -> Membership:
    """Change a member's role or extra permissions."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.change_member(
            db, organization_id, user_id, granter=principal_of(request), at=web_state(request).clock.now(),
            role=data.role, extra_permissions=data.extra_permissions,
        )  # fmt: skip


@delete("/members/{user_id:uuid}", guards=[requires("member:manage")], status_code=204)
async def remove_member(request: AnyRequest, user_id: FromPath[UUID]) -> None:
    """End a membership."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        await service.remove_member(
            db, organization_id, user_id, granter=principal_of(request), at=web_state(request).clock.now()
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
            db, organization_id, user_id, data.role_id, granter=principal_of(request),
            at=web_state(request).clock.now(), expires_at=data.expires_at,
        )  # fmt: skip


@delete("/members/{user_id:uuid}/roles/{role_id:uuid}", guards=[requires("role:manage")], status_code=204)
async def revoke_role(request: AnyRequest, user_id: FromPath[UUID], role_id: FromPath[UUID]) -> None:
    """Take a granted role back."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        if await store.value(db, "revoke_role", organization_id, user_id, role_id) is None:
            raise UnknownRole


HANDLERS = [
    list_organizations, create_organization, read_organization, change_organization,
    list_members, create_user, change_member, remove_member, grant_role, revoke_role,
    list_permissions, list_roles, create_role, delete_role,
]  # fmt: skip
