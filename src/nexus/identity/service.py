"""Use cases of identity: sign-in, people, organizations, roles. Access keys have a module of their own."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from nexus.contracts.keys import key_hash
from nexus.identity import access_keys, store
from nexus.identity.errors import (
    AccountLocked,
    AlreadyTaken,
    CannotGrant,
    LastOwner,
    SessionEnded,
    UnknownOrganization,
    UnknownRole,
    UnknownUser,
    WrongCredentials,
)
from nexus.identity.passwords import check_strength, generate_password, hash_password, verify_password
from nexus.identity.types import (
    ALL,
    FirstStart,
    Invitation,
    Membership,
    Organization,
    OrganizationChoice,
    Principal,
    Role,
    SignedIn,
    User,
)
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection, Database
from nexus.platform.db.configuration import get_configuration

_EMAIL = re.compile(r"[^@\s\x00]+@[^@\s\x00]+")
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MEMBERSHIP_ROLES = ("owner", "admin", "member", "viewer")
INVITATION_DAYS = 7


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


# --- sign-in ----------------------------------------------------------------------------------------------------------


async def sign_in(database: Database, *, login: str, password: str, actor: Actor, at: datetime) -> SignedIn:
    """Open a session for an e-mail address (or username) and password.

    `WrongCredentials` says the same whoever is unknown; `AccountLocked` after as many failures as system configuration
    allows. A failure is counted in a transaction of its own, so that the refusal cannot take the count back, and
    under a row lock, so that attempts at once cannot share a number.
    """
    async with database.as_system(actor) as connection:
        settings = await get_configuration(connection)
        found = await store.row(connection, "user_by_login", login.replace("\x00", "").strip()[:320])
    stored = found["password_hash"] if found is not None else None
    if found is not None and found["locked_until"] is not None and found["locked_until"] > at:
        raise _locked(found["locked_until"], at)
    fits = await verify_password(stored, password)
    fits = fits and found is not None and found["is_active"]
    if found is None:
        await _log(database, actor, "sign_in_unknown", "LOW", None, {})
        raise WrongCredentials
    user_id: UUID = found["id"]
    async with database.as_system(actor) as connection:
        current = await store.row(connection, "lock_password", user_id)
        if current is not None and current["locked_until"] is not None and current["locked_until"] > at:
            locked_until = current["locked_until"]
        elif fits and current is not None and current["password_hash"] == stored:
            await store.run(connection, "clear_failures", user_id)
            await store.run(connection, "count_login", user_id, at)
            return await _open_session(
                connection, user_id, actor, at, timedelta(hours=settings.integer("auth.session_timeout_hours"))
            )
        else:
            fits = False
            until = at + timedelta(minutes=settings.integer("auth.lockout_duration_minutes"))
            locked_until = await store.value(
                connection, "count_failure", user_id, settings.integer("auth.max_login_attempts"), until
            )
    if locked_until is not None and locked_until > at:
        await _log(database, actor, "account_locked", "HIGH", user_id, {})
        raise _locked(locked_until, at)
    await _log(database, actor, "sign_in_failed", "MEDIUM", user_id, {})
    raise WrongCredentials


def _locked(until: datetime, at: datetime) -> AccountLocked:
    wait = max(1, int((until - at).total_seconds()))
    return AccountLocked(f"too many failed sign-ins: try again in {-(-wait // 60)} minutes", retry_after_seconds=wait)


async def _log(
    database: Database, actor: Actor, event: str, severity: str, user_id: UUID | None, detail: dict[str, Any]
) -> None:
    async with database.as_system(actor) as connection:
        await store.run(
            connection, "log_security", uuid7(), None, event, severity, user_id, actor.ip, actor.user_agent, detail
        )


async def _open_session(
    connection: Connection, user_id: UUID, actor: Actor, at: datetime, lifetime: timedelta
) -> SignedIn:
    token, session_id = secrets.token_urlsafe(32), uuid7()
    await store.run(
        connection, "insert_session", session_id, user_id, key_hash(token), at, at + lifetime, actor.ip,
        (actor.user_agent or "")[:500] or None,
    )  # fmt: skip
    await store.run(
        connection, "log_security", uuid7(), None, "sign_in", "LOW", user_id, actor.ip, actor.user_agent, {}
    )
    user = await store.user_by_id(connection, user_id)
    assert user is not None  # noqa: S101
    return SignedIn(token, session_id, at + lifetime, user)


async def sign_out(connection: Connection, user_id: UUID, session_id: UUID, at: datetime) -> bool:
    """End one session, as nexus_system; tells whether it was live."""
    return await store.run(connection, "revoke_session", user_id, session_id, at) > 0


async def sign_out_everywhere(connection: Connection, user_id: UUID, at: datetime, keep: UUID | None = None) -> int:
    """End all sessions of a person (but one, if given), as nexus_system; returns how many."""
    return await store.run(connection, "revoke_sessions", user_id, keep, at)


# --- who asks, and what they may do -----------------------------------------------------------------------------------


async def principal_of_session(
    connection: Connection, token: str, wanted: str | None, at: datetime
) -> tuple[Principal, list[OrganizationChoice]]:
    """Tell whose a cookie is and what they may do in the wanted (or their first) organization, as nexus_system."""
    session = await store.row(connection, "session_by_token", key_hash(token), at)
    if session is None:
        raise SessionEnded
    if at - session["last_accessed_at"] > timedelta(minutes=1):
        await store.run(connection, "touch_session", session["id"], at)
    user_id: UUID = session["user_id"]
    choices = await store.organizations_of_user(connection, user_id)
    everywhere = await permissions_of(connection, user_id, None, at)
    chosen = _choose(choices, wanted)
    if chosen is None and wanted is not None:
        if ALL not in everywhere:
            raise UnknownOrganization
        found = await store.organization_by_slug(connection, wanted)
        if found is None or not found.is_active:
            raise UnknownOrganization
        organization_id: UUID | None = found.id
    else:
        organization_id = chosen.id if chosen else None
    allowed = everywhere if organization_id is None else await permissions_of(connection, user_id, organization_id, at)
    principal = Principal(
        "user", session["email"], allowed, organization_id=organization_id, user_id=user_id, session_id=session["id"]
    )
    return principal, choices


def _choose(choices: list[OrganizationChoice], wanted: str | None) -> OrganizationChoice | None:
    if wanted is None:
        return choices[0] if choices else None
    return next((item for item in choices if wanted in {item.slug, str(item.id)}), None)


async def permissions_of(
    connection: Connection, user_id: UUID, organization_id: UUID | None, at: datetime
) -> frozenset[str]:
    """Decide what a person may do: by membership, by granted roles still in force, by grants that hold everywhere."""
    return await store.permissions_of(connection, user_id, organization_id, at)


async def principal_of_key(connection: Connection, text: str, at: datetime) -> Principal | None:
    """Tell who an access key stands for, as nexus_system; None when it is unknown, expired or revoked."""
    found = await store.row(connection, "key_by_hash", key_hash(text), at)
    if found is None:
        return None
    last = found["last_used_at"]
    if last is None or at - last > timedelta(minutes=1):
        await store.run(connection, "touch_key", found["organization_id"], found["id"], at)
    return Principal(
        "key",
        f"{found['name']} ({found['prefix']}…)",
        frozenset(found["scopes"]),
        organization_id=found["organization_id"],
        user_id=found["user_id"],
        key_id=found["id"],
    )


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
    check_strength(password, minimum=minimum, email=user.email)
    await store.run(connection, "set_password", user.id, await hash_password(password))


async def change_own_password(
    database: Database, principal: Principal, *, current: str, new: str, actor: Actor, at: datetime
) -> int:
    """Change one's password, ending every other session; returns how many ended."""
    assert principal.user_id is not None  # noqa: S101
    async with database.as_system(actor, principal.organization_id) as connection:
        user = await store.user_by_id(connection, principal.user_id)
        stored = await store.row(connection, "lock_password", principal.user_id)
        if user is None:
            raise UnknownUser
        if not await verify_password(stored["password_hash"] if stored else None, current):
            raise InvalidRequest(
                "the current password is wrong", faults=[FieldFault("current_password", "it is wrong")]
            )
        await set_password(connection, user, new)
        return await sign_out_everywhere(connection, principal.user_id, at, keep=principal.session_id)


async def change_user(connection: Connection, user_id: UUID, changes: dict[str, Any]) -> User:
    """Change what is given of a person, as nexus_system."""
    if changes.get("timezone"):
        check_zone(str(changes["timezone"]), "timezone")
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


async def get_member(connection: Connection, organization_id: UUID, user_id: UUID) -> Membership:
    """Return one member of the organization of the transaction."""
    found = await store.one(connection, Membership, "member", organization_id, user_id)
    if found is None:
        raise UnknownUser
    return found


async def change_member(
    connection: Connection,
    organization_id: UUID,
    user_id: UUID,
    *,
    granter: Principal,
    role: str | None = None,
    extra_permissions: list[str] | None = None,
) -> Membership:
    """Change a member's role or extra permissions; nobody grants or takes away what they do not hold."""
    owners = [item["user_id"] for item in await connection.fetch(store.QUERIES["lock_owners"], organization_id)]
    current = await get_member(connection, organization_id, user_id)
    await _check_grant(connection, granter, role, extra_permissions)
    await _check_grant(connection, granter, current.role, None)
    if role not in {None, "owner"} and owners == [user_id]:
        raise LastOwner
    await store.run(connection, "change_member", organization_id, user_id, role, extra_permissions)
    return await get_member(connection, organization_id, user_id)


async def remove_member(connection: Connection, organization_id: UUID, user_id: UUID, *, granter: Principal) -> None:
    """End a membership; the last owner stays."""
    owners = [item["user_id"] for item in await connection.fetch(store.QUERIES["lock_owners"], organization_id)]
    current = await get_member(connection, organization_id, user_id)
    if granter.user_id != user_id:
        await _check_grant(connection, granter, current.role, None)
    if owners == [user_id]:
        raise LastOwner
    await store.run(connection, "remove_member", organization_id, user_id)


async def invite(
    connection: Connection, organization_id: UUID, *, email: str, role: str, granter: Principal, at: datetime
) -> tuple[str, Invitation]:
    """Ask an address to join; returns the token, shown once, that accepts it within seven days."""
    email = check_email(email)
    await _check_grant(connection, granter, role, None)
    token, invitation_id = secrets.token_urlsafe(32), uuid7()
    await store.run(
        connection, "insert_invitation", invitation_id, organization_id, email, role, key_hash(token),
        granter.user_id, at + timedelta(days=INVITATION_DAYS),
    )  # fmt: skip
    found = next(item for item in await store.list_invitations(connection, organization_id) if item.id == invitation_id)
    return token, found


async def accept_invitation(
    connection: Connection, *, token: str, at: datetime, name: str = "", password: str | None = None
) -> User:
    """Take an invitation up, as nexus_system: its address joins, with a new account where it has none."""
    taken = await store.row(connection, "take_invitation", key_hash(token), at)
    if taken is None:
        raise InvalidRequest(
            "the invitation is unknown, used or expired", faults=[FieldFault("token", "ask for another")]
        )
    user = await store.one(connection, User, "user_by_login", taken["email"])
    if user is None:
        if password is None:
            raise InvalidRequest("choose a password", faults=[FieldFault("password", "choose one for the new account")])
        user = await create_user(connection, email=taken["email"], password=password, name=name)
    try:
        await store.run(
            connection, "add_member", taken["organization_id"], user.id, taken["role"], [], taken["invited_by"]
        )
    except AlreadyTaken:
        raise AlreadyTaken("this person is a member already", faults=[FieldFault("token", "nothing to do")]) from None
    return user


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
    expires_at: datetime | None = None,
) -> None:
    """Grant a role to a member, until an instant if one is given."""
    role = await get_role(connection, role_id)
    await get_member(connection, organization_id, user_id)
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
