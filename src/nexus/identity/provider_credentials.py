"""Provider credentials: what Nexus sends upstream for an organization, sealed at rest, recognised by prefix and hash.

The secret goes in and never comes out: no route, no command and no role of the service reads it back. The gateway opens
it in memory, from its snapshot.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.gateway import AUTH_FORMS, credential_context
from nexus.contracts.learned import LearnedLimit
from nexus.contracts.redis_keys import learned_limits
from nexus.kit.errors import FieldFault, InvalidRequest, NotFound, Unavailable
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection, load_queries
from nexus.platform.sealing import CannotOpen, Sealer

QUERIES = load_queries("nexus.identity")
PREFIX_LENGTH = 8
MAX_SECRET_CHARS = 8_192
_BASE_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class UnknownCredential(NotFound):
    """There is no such provider credential in this organization."""

    code = "unknown_provider_credential"


class ProviderCredential(msgspec.Struct):
    """A provider credential as it may be seen: not the secret."""

    id: UUID
    provider: str
    name: str
    description: str
    prefix: str
    secret_hash: str
    """First 16 hexadecimal digits of the secret's SHA-256: enough to recognise it, not to find it."""
    auth_form: str
    base_url: str | None
    weight: int
    is_active: bool
    expires_at: datetime | None
    created_at: datetime


class CredentialLimits(msgspec.Struct):
    """What a provider last told a credential of its limits; `at` is null where it has told nothing for a day."""

    at: datetime | None = None
    status_code: int | None = None
    """Status of the answer that told it."""
    limits: list[LearnedLimit] = []
    retry_after_seconds: float | None = None


class LimitsAway(Unavailable):
    """What providers told is kept in Redis, which does not answer: try again in a moment."""

    code = "limits_unavailable"


def _credential(record: Any) -> ProviderCredential:
    values = dict(record)
    values["secret_hash"] = bytes(values["secret_hash"]).hex()[:16]
    return msgspec.convert(values, ProviderCredential)


def _prefix_of(secret: str) -> str:
    """Return what a secret is recognised by: its beginning, never more than a third of it."""
    return secret[: min(PREFIX_LENGTH, len(secret) // 3)]


def faults_of(
    *, provider: str | None = None, secret: str | None = None, auth_form: str | None = None, base_url: str | None = None
) -> list[FieldFault]:
    """Return what is wrong with a credential."""
    faults: list[FieldFault] = []
    if provider is not None and _SLUG.fullmatch(provider) is None:
        faults.append(FieldFault("provider", "give the slug of a provider, such as `openai`"))
    if secret is not None and (
        not 4 <= len(secret) <= MAX_SECRET_CHARS or not secret.isascii() or not secret.isprintable()
    ):
        faults.append(FieldFault("secret", "give the provider's key: 4 or more printable ASCII characters"))
    if auth_form and auth_form not in AUTH_FORMS:
        faults.append(FieldFault("auth_form", f"give one of {', '.join(AUTH_FORMS)}, or leave it out"))
    if auth_form == "basic" and secret is not None and ":" not in secret:
        faults.append(FieldFault("secret", "for `basic` give user and password with a colon between"))
    if base_url is not None and (_BASE_URL.fullmatch(base_url) is None or len(base_url) > 500):
        faults.append(FieldFault("base_url", "give an http or https URL without query, such as https://api.openai.com"))
    return faults


def _check(faults: list[FieldFault]) -> None:
    if faults:
        raise InvalidRequest("; ".join(f"{item.field}: {item.message}" for item in faults), faults=faults)


async def create(
    connection: Connection,
    organization_id: UUID,
    sealer: Sealer,
    *,
    provider: str,
    name: str,
    secret: str,
    description: str = "",
    auth_form: str = "",
    base_url: str | None = None,
    weight: int = 1,
    expires_at: datetime | None = None,
    at: datetime,
    created_by: UUID | None = None,
) -> ProviderCredential:
    """Keep a credential. In force in every gateway within a second."""
    secret = secret.strip()
    faults = faults_of(provider=provider, secret=secret, auth_form=auth_form, base_url=base_url)
    if expires_at is not None and expires_at <= at:
        faults.append(FieldFault("expires_at", "give a later instant"))
    _check(faults)
    credential_id = uuid7()
    sealed = sealer.seal(secret.encode(), credential_context(organization_id, credential_id))
    await connection.execute(
        QUERIES["insert_provider_credential"], credential_id, organization_id, provider, name, description,
        _prefix_of(secret), sha256(secret.encode()).digest(), sealed, auth_form, base_url, weight, expires_at, created_by,
    )  # fmt: skip
    return await get(connection, organization_id, credential_id)


async def get(connection: Connection, organization_id: UUID, credential_id: UUID) -> ProviderCredential:
    """Return a credential of the organization, without its secret."""
    record = await connection.fetchrow(QUERIES["provider_credential_by_id"], organization_id, credential_id)
    if record is None:
        raise UnknownCredential
    return _credential(record)


async def limits_of(redis: Redis | None, organization_id: UUID, credential_id: UUID) -> CredentialLimits:
    """Return what the provider last told a credential; the credential is known to be the organization's."""
    if redis is None:
        raise LimitsAway
    try:
        told = await redis.get(learned_limits(organization_id, credential_id))
    except (RedisError, OSError, TimeoutError) as error:
        raise LimitsAway(retry_after_seconds=1) from error
    return CredentialLimits() if told is None else msgspec.json.decode(told, type=CredentialLimits)


async def list_all(
    connection: Connection, organization_id: UUID, *, after: UUID | None, provider: str | None, limit: int
) -> list[ProviderCredential]:
    """Return credentials of the organization, oldest first."""
    records = await connection.fetch(QUERIES["list_provider_credentials"], organization_id, after, provider, limit)
    return [_credential(record) for record in records]


async def change(
    connection: Connection,
    organization_id: UUID,
    sealer: Sealer,
    credential_id: UUID,
    changes: dict[str, Any],
) -> ProviderCredential:
    """Change a credential; a new `secret` replaces the old one at once."""
    known = await get(connection, organization_id, credential_id)
    secret = changes.get("secret")
    secret = secret.strip() if isinstance(secret, str) else None
    form = changes.get("auth_form", known.auth_form)
    _check(faults_of(secret=secret, auth_form=form, base_url=changes.get("base_url")))
    await connection.execute(
        QUERIES["update_provider_credential"], organization_id, credential_id, changes.get("name"),
        changes.get("description"), changes.get("auth_form"), "base_url" in changes, changes.get("base_url"),
        changes.get("weight"), changes.get("is_active"), "expires_at" in changes, changes.get("expires_at"),
    )  # fmt: skip
    if secret is not None:
        sealed = sealer.seal(secret.encode(), credential_context(organization_id, credential_id))
        await connection.execute(
            QUERIES["replace_provider_secret"], organization_id, credential_id, _prefix_of(secret),
            sha256(secret.encode()).digest(), sealed,
        )  # fmt: skip
    return await get(connection, organization_id, credential_id)


async def delete(connection: Connection, organization_id: UUID, credential_id: UUID) -> None:
    """Forget a credential; no gateway uses it a second later."""
    await get(connection, organization_id, credential_id)
    await connection.execute(QUERIES["delete_provider_credential"], organization_id, credential_id)


async def reseal(connection: Connection, sealer: Sealer) -> tuple[int, int]:
    """Seal again, under the newest key, what an older one sealed; as nexus_system. Returns how many, and how many do not open."""
    count = failed = 0
    for record in await connection.fetch(QUERIES["sealed_provider_credentials"]):
        sealed = bytes(record["sealed"])
        if sealer.is_current(sealed):
            continue
        context = credential_context(record["organization_id"], record["id"])
        try:
            plain = sealer.open(sealed, context)
        except CannotOpen:
            failed += 1
            continue
        await connection.execute(
            QUERIES["reseal_provider_credential"], record["organization_id"], record["id"], sealer.seal(plain, context)
        )
        count += 1
    return count, failed
