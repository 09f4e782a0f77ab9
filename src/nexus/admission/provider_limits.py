"""The rates of a provider's account, or of a model there: kept as quotas, and so limits like any other.

Rates are requests and model tokens a minute.

Whoever runs the programs knows what rate their account has; it is written as a quota on the provider or the model, by a name
that is made from it. So it has versions, an author and a reason, is in force within a second, and may be changed under quotas
too: other limits of such a quota stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec

from nexus.admission import service
from nexus.admission.types import Quota
from nexus.catalog.provider_health import check_provider
from nexus.contracts.limit_specs import LimitSpec
from nexus.contracts.limits import Dimension, ScopeKind
from nexus.kit.errors import Conflict
from nexus.platform.db import Connection

_NAMES: dict[Dimension, str] = {"requests": "requests-per-minute", "tokens": "tokens-per-minute"}
_MOST = 1000
_MOST_CHARS = 40


class QuotaNameTaken(Conflict):
    """Another quota has the name that is made for this provider or model: change it under quotas."""

    code = "quota_name_taken"


class ProviderLimit(msgspec.Struct, frozen=True):
    """What a provider's account, or a model, may be asked a minute. Null: no such limit is in force."""

    scope: ScopeKind
    subject: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    quota_id: UUID
    quota: str
    version: int | None
    author: str
    reason: str
    valid_from: datetime | None
    provider: str = ""
    """Of the model, too: another provider's model of the same name has rates of its own."""


def quota_name(scope: ScopeKind, subject: str, provider: str | None = None) -> str:
    """Return the name of the quota that keeps the rates of a provider, or of a model there."""
    if provider is not None:
        subject = f"{provider}.{subject}"
    plain = re.sub(r"[^a-z0-9_.-]", "-", subject.lower())
    if plain == subject and len(plain) <= _MOST_CHARS:
        return f"{scope}.{plain}"
    return f"{scope}.{plain[:_MOST_CHARS]}-{sha256(subject.encode()).hexdigest()[:8]}"


async def list_limits(connection: Connection, at: datetime) -> list[ProviderLimit]:
    """Return what is in force of providers and models, by scope and subject."""
    found = await service.find_quotas(connection, at, _MOST, scopes=["provider", "model"])
    kept = [
        _shown(quota) for quota in found if quota.name == quota_name(quota.scope, quota.subject or "", quota.provider)
    ]
    return sorted(kept, key=lambda item: (item.scope != "provider", item.subject, item.provider))


async def set_limits(
    connection: Connection,
    organization_id: UUID,
    *,
    provider: str,
    model: str,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    reason: str,
    author: str,
    at: datetime,
) -> ProviderLimit:
    """Put rates in force for a provider, or for a model there; None lifts one. Where nothing changes, no version is made."""
    await check_provider(connection, provider)
    scope: ScopeKind = "model" if model else "provider"
    subject = model or provider
    wanted: list[tuple[Dimension, int | None]] = [("requests", requests_per_minute), ("tokens", tokens_per_minute)]
    specs = [
        LimitSpec(name=_NAMES[dimension], dimension=dimension, rate=str(rate), per="minute")
        for dimension, rate in wanted
        if rate is not None
    ]
    place = provider if model else None
    name = quota_name(scope, subject, place)
    known = await service.find_quotas(connection, at, 1, name=name)
    if not known:
        return _shown(
            await service.create_quota(
                connection, organization_id, name=name, scope=scope, subject=subject, provider=place, limits=specs,
                reason=reason, author=author, at=at,
            )
        )  # fmt: skip
    quota = known[0]
    if (quota.scope, quota.subject, quota.provider) != (scope, subject, place):
        raise QuotaNameTaken
    current = quota.current.limits if quota.current is not None else []
    kept = [spec for spec in current if spec.name not in _NAMES.values()]
    if _rates(current) != _rates(specs):
        await service.publish(
            connection, organization_id, quota.id, limits=[*specs, *kept], reason=reason, author=author, at=at
        )
    return _shown(await service.get_quota(connection, quota.id, at))


def _rates(specs: Sequence[LimitSpec]) -> dict[Dimension, int]:
    """Return the rates a minute among limits; one that was changed to something else under quotas is none."""
    return {
        spec.dimension: int(spec.rate)
        for spec in specs
        if spec.name == _NAMES.get(spec.dimension)
        and spec.rate is not None
        and spec.rate.isdigit()
        and spec.per == "minute"
    }


def _shown(quota: Quota) -> ProviderLimit:
    current = quota.current
    rates = _rates(current.limits) if current is not None else {}
    return ProviderLimit(
        quota.scope, quota.subject or "", rates.get("requests"), rates.get("tokens"), quota.id, quota.name,
        current.version if current else None, current.author if current else "", current.reason if current else "",
        current.valid_from if current else None, (quota.provider if quota.scope == "model" else quota.subject) or "",
    )  # fmt: skip
