"""Use cases of identity: people, organizations, members, roles. Sign-in, sessions and access keys have modules of their own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from nexus.contracts.keys import key_hash
from nexus.identity import access_keys, lockout, sessions, store
from nexus.identity.errors import (
    CannotGrant,
    LastOwner,
    UnknownOrganization,
    UnknownRole,
    UnknownUser,
)
from nexus.identity.passwords import check_strength, generate_password, hash_password
from nexus.identity.types import (
    ALL,
    FirstStart,
    Membership,
    Organization,
    Principal,
    Role,
    User,
)
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection, Database
from nexus.platform.db.configuration import get_configuration

_EMAIL = re.compile(r"[^@\s\x00]+@[^@\s\x00]+")
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MEMBERSHIP_ROLES = ("owner", "admin", "member", "viewer")


def check_email(text: str, field: str = "email") -> str:
    """Return an e-mail address without the space around it; `InvalidRequest` where it is none."""
    text = text.strip()
    if len(text) > 320 or _EMAIL.fullmatch(text) is None:
        raise InvalidRequest(f"{field}: give an e-mail address", faults=[FieldFault(field, "give an e-mail address")])
    return text


def check_zone(name: str, field: str) -> str:
    """Return the name of a time zone whose offsets are multiples of 15 minutes; `InvalidRequest` for others."""
    message = None
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        message = "give a name from the IANA time zone database, such as Europe/Berlin"
    else:
        for year in (2000, 2026):
            for month in (1, 7):
                offset = datetime(year, month, 1, tzinfo=UTC).astimezone(zone).utcoffset() or timedelta()
                if offset % timedelta(minutes=15):
                    message = "the zone's offset must be a multiple of 15 minutes"
    if message:
        raise InvalidRequest(f"{field}: {message}", faults=[FieldFault(field, message)])
    return name


# --- people -----------------------------------------------------------------------------------------------------------


async def create_user(
    connection: Connection,
    *,
    email: str,
    password: str | None = None,
    name: str = "",
    username: str | None = None,
    timezone: str = "UTC",
    locale: str = "en",
) -> User:
    """Add a person, as nexus_system. Without a password they can only come in by another way."""
    email = check_email(email)
    check_zone(timezone, "timezone")
    user = await store.insert_user(connection, uuid7(), email, username, name, timezone, locale)
    if password is not None:
        await set_password(connection, user, password)
    return user


async def set_password(connection: Connection, user: User, password: str, *, minimum: int | None = None) -> None:
    """Give a person another password, as nexus_system, and lift a lock."""
    if minimum is None:
        minimum = (await get_configuration(connection)).integer("auth.min_password_length")
    await check_strength(password, minimum=minimum, email=user.email)
    await store.run(connection, "set_password", user.id, await hash_password(password))
    await store.run(connection, "clear_lanes", lockout.subject_of_user(user.id))
    # A sign-in that is half done was begun with the password before.
    await store.run(connection, "delete_challenges", user.id)


async def change_own_password(
    database: Database,
    principal: Principal,
    *,
    current: str,
    new: str,
    actor: Actor,
    at: datetime,
    device: str | None = None,
) -> int:
    """Change one's password. Every other session and known device ends with it; returns how many sessions ended."""
    assert principal.user_id is not None
    await sessions.prove_password(database, principal, current, field="current_password", actor=actor, at=at)
    async with database.as_system(actor, principal.organization_id) as connection:
        user = await store.user_by_id(connection, principal.user_id)
        if user is None:
            raise UnknownUser
        await set_password(connection, user, new)
        await store.run(connection, "forget_devices", principal.user_id, key_hash(device) if device else None)
        await store.log_security(connection, "password_changed", "MEDIUM", principal.user_id, actor, {})
        return await sessions.end_sessions(connection, principal.user_id, at, keep=principal.session_id)


async def change_user(connection: Connection, user_id: UUID, changes: dict[str, Any]) -> User:
    """Change what is given of a person, as nexus_system. Preferences are merged; a null takes one back."""
    if changes.get("timezone"):
        check_zone(str(changes["timezone"]), "timezone")
    preferences = changes.get("preferences")
    if preferences and preferences.get("default_organization"):
        wanted = preferences["default_organization"]
        choices = await store.organizations_of_user(connection, user_id)
        found = next((item for item in choices if wanted in {item.slug, str(item.id)}), None)
        if found is None:
            message = "name one of your organizations, by slug or id"
            fault = FieldFault("preferences.default_organization", message)
            raise InvalidRequest(f"preferences.default_organization: {message}", faults=[fault])
        # By id: a slug may come to mean another organization.
        preferences["default_organization"] = str(found.id)
    user = await store.update_user(connection, user_id, **changes)
    if user is None:
        raise UnknownUser
    return user


async def find_user(connection: Connection, login: str) -> User:
    """Return a person by e-mail address, username or id, as nexus_system."""
    try:
        found = await store.user_by_id(connection, UUID(login))
    except ValueError:
        found = await store.one(connection, User, "user_by_login", login)
    if found is None:
        raise UnknownUser(f"nobody here is called {login[:100]}")
    return found


# --- organizations and members ----------------------------------------------------------------------------------------


async def create_organization(
    connection: Connection,
    *,
    name: str,
    slug: str,
    plan: str = "free",
    tier: str = "standard",
    currency: str = "USD",
    reporting_zone: str = "UTC",
    billing_email: str | None = None,
    owner_id: UUID | None = None,
) -> Organization:
    """Make an organization, as nexus_system, with its owner if one is given."""
    faults = []
    if not 1 <= len(name.strip()) <= 200:
        faults.append(FieldFault("name", "give 1 to 200 characters"))
    if _SLUG.fullmatch(slug) is None:
        faults.append(FieldFault("slug", "use a-z, 0-9 and -, 1 to 63 of them, beginning and ending with no -"))
    if re.fullmatch("[A-Z]{3}", currency) is None:
        faults.append(FieldFault("currency", "give three capital letters (ISO 4217), such as USD"))
    if faults:
        raise InvalidRequest("; ".join(f"{item.field}: {item.message}" for item in faults), faults=faults)
    check_zone(reporting_zone, "reporting_zone")
    if billing_email is not None:
        billing_email = check_email(billing_email, "billing_email")
    made = await store.insert_organization(
        connection, uuid7(), name.strip(), slug, plan, tier, currency, reporting_zone, billing_email
    )
    if owner_id is not None:
        await store.run(connection, "add_member", made.id, owner_id, "owner", [], None)
    return made


async def change_organization(connection: Connection, organization_id: UUID, changes: dict[str, Any]) -> Organization:
    """Change what is given of the organization of the transaction."""
    if changes.get("reporting_zone"):
        check_zone(str(changes["reporting_zone"]), "reporting_zone")
    if changes.get("billing_email"):
        changes["billing_email"] = check_email(str(changes["billing_email"]), "billing_email")
    order = ("name", "billing_email", "reporting_zone", "settings")
    found = await store.one(
        connection, Organization, "update_organization", organization_id, *(changes.get(name) for name in order)
    )
    if found is None:
        raise UnknownOrganization
    return found


async def get_organization(connection: Connection, organization_id: UUID) -> Organization:
    """Return the organization of the transaction."""
    found = await store.one(connection, Organization, "organization_by_id", organization_id)
    if found is None:
        raise UnknownOrganization
    return found


async def _role_permissions(connection: Connection, role: str) -> frozenset[str]:
    roles = await store.list_roles(connection)
    return frozenset(
        next(item.permissions for item in roles if item.is_builtin and item.name == f"organization_{role}")
    )


async def check_may_grant(connection: Connection, granter: Principal, role: str) -> None:
    """Raise `CannotGrant` unless the granter holds all that a membership role brings."""
    await _check_grant(connection, granter, role, None)


async def _check_grant(connection: Connection, granter: Principal, role: str | None, extra: list[str] | None) -> None:
    wanted = set(extra or ())
    if extra:
        known = {item.name for item in await store.list_permissions(connection)}
        unknown = sorted(wanted - known)
        if unknown:
            message = f"unknown: {', '.join(unknown)[:200]}"
            raise InvalidRequest(message, faults=[FieldFault("extra_permissions", message)])
    if role is not None:
        wanted |= await _role_permissions(connection, role)
    if not granter.holds_all(frozenset(wanted)):
        lacking = sorted(wanted - granter.permissions)
        raise CannotGrant(
            f"you do not hold {', '.join(lacking[:10])}",
            faults=[FieldFault("role" if role else "extra_permissions", "grant less")],
        )


async def add_member(
    connection: Connection, organization_id: UUID, user_id: UUID, role: str, *, invited_by: UUID | None = None
) -> None:
    """Make a person a member, as nexus_system."""
    await store.run(connection, "add_member", organization_id, user_id, role, [], invited_by)


async def get_member(connection: Connection, organization_id: UUID, user_id: UUID, at: datetime) -> Membership:
    """Return one member of the organization of the transaction."""
    found = await store.member(connection, organization_id, user_id, at)
    if found is None:
        raise UnknownUser
    return found


async def change_member(
    connection: Connection,
    organization_id: UUID,
    user_id: UUID,
    *,
    granter: Principal,
    at: datetime,
    role: str | None = None,
    extra_permissions: list[str] | None = None,
) -> Membership:
    """Change a member's role or extra permissions; nobody grants or takes away what they do not hold."""
    owners = [item["user_id"] for item in await connection.fetch(store.QUERIES["lock_owners"], organization_id)]
    current = await get_member(connection, organization_id, user_id, at)
    await _check_grant(connection, granter, role, extra_permissions)
    await _check_grant(connection, granter, current.role, None)
    if role not in {None, "owner"} and owners == [user_id]:
        raise LastOwner
    await store.run(connection, "change_member", organization_id, user_id, role, extra_permissions)
    if role not in {None, current.role}:
        await store.run(connection, "remove_invitations_by", organization_id, user_id)
    return await get_member(connection, organization_id, user_id, at)


async def remove_member(
    connection: Connection, organization_id: UUID, user_id: UUID, *, granter: Principal, at: datetime
) -> None:
    """End a membership, with the roles granted within it; the last owner stays.

    The keys the person owns here stop working with it, everywhere within a second.
    """
    owners = [item["user_id"] for item in await connection.fetch(store.QUERIES["lock_owners"], organization_id)]
    current = await get_member(connection, organization_id, user_id, at)
    if granter.user_id != user_id:
        await _check_grant(connection, granter, current.role, None)
    if owners == [user_id]:
        raise LastOwner
    await store.run(connection, "remove_roles", organization_id, user_id)
    await store.run(connection, "remove_invitations_by", organization_id, user_id)
    await store.run(connection, "remove_member", organization_id, user_id)


# --- roles ------------------------------------------------------------------------------------------------------------


async def create_role(
    connection: Connection,
    organization_id: UUID,
    *,
    name: str,
    permissions: list[str],
    granter: Principal,
    description: str = "",
) -> Role:
    """Make a role of the organization; nobody puts into it what they do not hold."""
    await _check_grant(connection, granter, None, permissions)
    role_id = uuid7()
    await store.run(connection, "insert_role", role_id, organization_id, name, description)
    await store.run(connection, "insert_role_permissions", role_id, organization_id, sorted(set(permissions)))
    return await get_role(connection, role_id)


async def get_role(connection: Connection, role_id: UUID) -> Role:
    """Return a built-in role or one of the organization's own."""
    found = next((item for item in await store.list_roles(connection) if item.id == role_id), None)
    if found is None:
        raise UnknownRole
    return found


async def grant_role(
    connection: Connection,
    organization_id: UUID,
    user_id: UUID,
    role_id: UUID,
    *,
    granter: Principal,
    at: datetime,
    expires_at: datetime | None = None,
) -> None:
    """Grant a role to a member, until an instant if one is given; granting it again changes the instant."""
    if expires_at is not None and expires_at <= at:
        raise InvalidRequest("expires_at lies in the past", faults=[FieldFault("expires_at", "give a later instant")])
    role = await get_role(connection, role_id)
    await get_member(connection, organization_id, user_id, at)
    if not granter.holds_all(frozenset(role.permissions)):
        raise CannotGrant(faults=[FieldFault("role_id", "grant less")])
    await store.run(connection, "grant_role", uuid7(), organization_id, user_id, role_id, granter.user_id, expires_at)


# --- first start ------------------------------------------------------------------------------------------------------


async def first_start(
    connection: Connection,
    *,
    at: datetime,
    email: str | None = None,
    password: str | None = None,
    key: str | None = None,
) -> FirstStart | None:
    """Make an administrator, an organization and a first access key, as nexus_system; None if there is one already."""
    if await store.value(connection, "count_organizations"):
        return None
    email = email or "admin@localhost"
    password = password or generate_password()
    user = await store.insert_user(connection, uuid7(), check_email(email), None, "Administrator", "UTC", "en")
    await set_password(connection, user, password, minimum=8)
    organization = await create_organization(connection, name="Default", slug="default", owner_id=user.id)
    await store.run(connection, "grant_role_everywhere", uuid7(), user.id, "system_admin")
    made = await access_keys.create(connection, organization.id, name="first key", scopes=[ALL], at=at, text=key)
    return FirstStart(email, password, made.key, organization.id)
