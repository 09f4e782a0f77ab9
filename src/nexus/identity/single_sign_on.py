"""Single sign-on: whom a provider vouches for, and who that is here.

    start --(state, nonce, verifier kept; cookie binds the browser)--> provider --callback--> linked? sign in
                                                                                  not linked? an account of its own, or refuse

The provider's subject decides who somebody is. An e-mail address never opens an account that exists: whoever had made
that account in advance, or runs another provider, would come in with it. Its owner signs in and links the provider.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from nexus.contracts.keys import key_hash
from nexus.identity import second_factor, service, sessions, store
from nexus.identity.errors import (
    AlreadyLinked,
    FlowEnded,
    LinkFirst,
    NotAllowedHere,
    ProviderFailed,
    UnknownOrganization,
    UnknownProvider,
    WrongCredentials,
)
from nexus.identity.openid import Identity, Provider, check_url
from nexus.identity.second_factor import Challenge
from nexus.identity.types import SignedIn, User
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection, Database
from nexus.platform.db.configuration import get_configuration
from nexus.platform.sealing import Sealer

FLOW_MINUTES = 10


class SignInProvider(msgspec.Struct, frozen=True):
    """A provider as it may be shown: never its client secret."""

    id: UUID
    slug: str
    name: str
    issuer: str
    client_id: str
    has_client_secret: bool
    allowed_domains: list[str]
    default_organization: UUID | None
    default_role: str
    allows_private_addresses: bool
    is_active: bool
    created_at: datetime


class SignInChoice(msgspec.Struct, frozen=True):
    """A provider as the sign-in page offers it."""

    slug: str
    name: str


class LinkedIdentity(msgspec.Struct, frozen=True):
    """A provider by which a person signs in."""

    slug: str
    name: str
    email: str | None
    created_at: datetime
    last_used_at: datetime | None


class Departure(msgspec.Struct, frozen=True):
    """Where the browser goes, and the token of the cookie that binds the way back to it."""

    url: str
    browser: str


def check_next(path: str) -> str:
    """Return a path of our own to come back to; `InvalidRequest` for anything a browser could read as another site."""
    parts = urlsplit(path)
    ok = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    if not ok or len(path) > 500 or "\\" in path or any(ord(letter) < 33 or ord(letter) == 127 for letter in path):
        message = "give a path of this site, such as /calls"
        raise InvalidRequest(f"next: {message}", faults=[FieldFault("next", message)])
    return path


def redirect_uri(base_url: str, slug: str) -> str:
    """Return the one address a provider may send people back to; it is never taken from a request."""
    return f"{base_url}/api/identity/sign-in/providers/{slug}/callback"


class Providers:
    """The providers of this process, each with what it published lately."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._known: dict[UUID, tuple[tuple[object, ...], Provider]] = {}

    def of(self, row: Any) -> Provider:
        """Return the provider of a stored row; another one when the row has changed."""
        sealed = row["client_secret_sealed"]
        shape = (row["issuer"], row["client_id"], sealed, row["allows_private_addresses"])
        known = self._known.get(row["id"])
        if known is None or known[0] != shape:
            secret = None if sealed is None else self._sealer.open(bytes(sealed), secret_context(row["id"])).decode()
            made = Provider(row["issuer"], row["client_id"], secret, private=row["allows_private_addresses"])
            known = self._known[row["id"]] = (shape, made)
        return known[1]


def secret_context(provider_id: UUID) -> bytes:
    """Return what a client secret is sealed for."""
    return b"identity.sign_in_providers/" + provider_id.bytes


async def add_provider(
    connection: Connection,
    sealer: Sealer,
    *,
    slug: str,
    name: str,
    issuer: str,
    client_id: str,
    client_secret: str | None,
    allowed_domains: list[str],
    default_organization: UUID | None,
    default_role: str,
    allows_private_addresses: bool,
) -> SignInProvider:
    """Add a provider, as nexus_system. Nothing is asked of it until somebody signs in by it."""
    try:
        check_url(issuer, private=allows_private_addresses)
    except ProviderFailed:
        message = "give an https address, without user or fragment"
        raise InvalidRequest(f"issuer: {message}", faults=[FieldFault("issuer", message)]) from None
    if default_organization is not None:
        try:
            await service.get_organization(connection, default_organization)
        except UnknownOrganization:
            fault = FieldFault("default_organization", "there is none of this id")
            raise InvalidRequest("default_organization: there is none of this id", faults=[fault]) from None
    provider_id = uuid7()
    sealed = sealer.seal(client_secret.encode(), secret_context(provider_id)) if client_secret else None
    domains = sorted({domain.lower().lstrip("@") for domain in allowed_domains})
    await store.run(
        connection, "insert_sign_in_provider", provider_id, slug, name, issuer, client_id, sealed, domains,
        default_organization, default_role, allows_private_addresses,
    )  # fmt: skip
    return next(item for item in await list_providers(connection) if item.id == provider_id)


async def list_providers(connection: Connection) -> list[SignInProvider]:
    """Return every provider, as nexus_system."""
    return await store.many(connection, SignInProvider, "list_sign_in_providers")


async def start(
    database: Database,
    providers: Providers,
    sealer: Sealer,
    *,
    slug: str,
    next_path: str,
    base_url: str,
    at: datetime,
    link_user_id: UUID | None = None,
) -> Departure:
    """Begin a sign-in by a provider (or the linking of one to an account that is signed in)."""
    async with database.as_system(readonly=True) as connection:
        row = await store.row(connection, "sign_in_provider", slug)
    if row is None:
        raise UnknownProvider
    if not row["is_active"]:
        raise FlowEnded
    state, nonce, verifier, browser = (secrets.token_urlsafe(32) for _ in range(4))
    url = await providers.of(row).authorization_url(
        redirect_uri=redirect_uri(base_url, row["slug"]), state=state, nonce=nonce, verifier=verifier, at=at
    )
    async with database.as_system() as connection:
        await store.run(
            connection, "insert_flow", key_hash(state), key_hash(browser), row["id"], nonce,
            sealer.seal(verifier.encode(), key_hash(state)), next_path, link_user_id,
            at + timedelta(minutes=FLOW_MINUTES),
        )  # fmt: skip
    return Departure(url, browser)


class Arrival(msgspec.Struct, frozen=True):
    """Who came back, and where they wanted to go."""

    next_path: str
    entered: SignedIn | Challenge | None
    """None when a provider was linked to an account that is signed in already."""


async def come_back(
    database: Database,
    providers: Providers,
    sealer: Sealer,
    *,
    slug: str,
    state: str,
    code: str,
    issuer: str | None,
    browser: str,
    base_url: str,
    actor: Actor,
    at: datetime,
    signed_in_as: UUID | None,
    device: str | None = None,
    replaces: str | None = None,
) -> Arrival:
    """Finish what `start` began. A flow comes back once, within ten minutes, to the browser it left from."""
    async with database.as_system(actor) as connection:
        if await store.row(connection, "sign_in_provider", slug) is None:
            raise UnknownProvider
        flow = await store.row(connection, "take_flow", key_hash(state))
        row = await store.row(connection, "sign_in_provider", str(flow["provider_id"])) if flow is not None else None
    if (
        flow is None
        or row is None
        or not code
        or row["slug"] != slug
        or not row["is_active"]
        or flow["expires_at"] <= at
        or not hmac.compare_digest(bytes(flow["browser_hash"]), key_hash(browser))
        or (issuer is not None and issuer != row["issuer"])
        or (flow["link_user_id"] is not None and flow["link_user_id"] != signed_in_as)
    ):
        raise FlowEnded
    found = await providers.of(row).redeem(
        code=code, redirect_uri=redirect_uri(base_url, row["slug"]), nonce=flow["nonce"], at=at,
        verifier=sealer.open(bytes(flow["verifier_sealed"]), key_hash(state)).decode(),
    )  # fmt: skip
    async with database.as_system(actor) as connection:
        if flow["link_user_id"] is not None:
            await _link(connection, row["id"], found, flow["link_user_id"], actor, at)
            return Arrival(flow["next_path"], None)
        user_id = await _resolve(connection, row, found, actor, at)
        if not found.has_second_factor and await store.value(connection, "has_second_factor", user_id):
            due = await second_factor.challenge(connection, user_id, at, method="single_sign_on")
            return Arrival(flow["next_path"], due)
        settings = await get_configuration(connection)
        signed = await sessions.open_session(
            connection, user_id, actor, at, settings, method="single_sign_on",
            is_mfa_verified=found.has_second_factor, device=device, replaces=replaces,
        )  # fmt: skip
        return Arrival(flow["next_path"], signed)


async def _link(
    connection: Connection, provider_id: UUID, found: Identity, user_id: UUID, actor: Actor, at: datetime
) -> None:
    if await store.row(connection, "linked_user", provider_id, found.subject) is not None:
        raise AlreadyLinked
    await store.run(connection, "insert_linked_identity", provider_id, found.subject, user_id, found.email, at)
    await store.log_security(connection, "identity_linked", "MEDIUM", user_id, actor, {"provider": str(provider_id)})


async def _resolve(connection: Connection, row: Any, found: Identity, actor: Actor, at: datetime) -> UUID:
    """Return who the subject is here, making an account where that is allowed."""
    linked = await store.row(connection, "linked_user", row["id"], found.subject)
    if linked is not None:
        if not linked["is_active"]:
            raise WrongCredentials("this account may not sign in")
        await store.run(connection, "touch_linked_identity", row["id"], found.subject, at, found.email)
        linked_id: UUID = linked["user_id"]
        return linked_id
    domain = (found.email or "").rpartition("@")[2].lower()
    if found.email is None or not found.is_email_verified or domain not in row["allowed_domains"]:
        raise NotAllowedHere
    if await store.one(connection, User, "user_by_login", found.email) is not None:
        raise LinkFirst
    user = await service.create_user(connection, email=found.email, name=found.name)
    await store.run(connection, "verify_email", user.id)
    if row["default_organization"] is not None:
        await store.run(connection, "add_member", row["default_organization"], user.id, row["default_role"], [], None)
    await _link(connection, row["id"], found, user.id, actor, at)
    return user.id
