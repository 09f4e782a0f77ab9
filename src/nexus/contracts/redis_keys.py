"""Names of what is kept in, or published through, Redis: one place, so that both planes agree."""

from __future__ import annotations

from uuid import UUID


def live_channel(organization_id: UUID) -> str:
    """Return the channel on which stored records of an organization are announced.

    Messages are JSON: `{"stored": records since the last message, "at": instant of the message}`. They may be lost;
    what they announce is in PostgreSQL.
    """
    return f"nexus:live:{organization_id}"


def cache_version(organization_id: UUID) -> str:
    """Return the key of the number that is raised whenever something an organization's dashboards show has changed.

    Cached answers carry the number in their key, so that raising it takes all of them out of use at once.
    """
    return f"nexus:cache:{{{organization_id}}}:version"


def cached_answer(organization_id: UUID, kind: str, version: str, digest: str) -> str:
    """Return the key of a cached answer: whose, what kind, of which version, to which question.

    `kind` is one of metrics, status, budget, dashboard, preferences. The organization is a hash tag: all its keys are in
    one slot, and no other organization's question has the same key.
    """
    return f"nexus:cache:{{{organization_id}}}:{kind}:{version}:{digest}"


def endpoint_health(organization_id: UUID, provider: str) -> str:
    """Return the key of a hash: what each process saw of a provider's endpoints, `contracts.health.ToldHealth` as JSON."""
    return f"nexus:health:{{{organization_id}}}:{provider}"


def learned_limits(organization_id: UUID, credential_id: UUID) -> str:
    """Return the key of what a provider last told a credential of its limits: a `contracts.learned.LearnedLimits` as JSON."""
    return f"nexus:learned:{{{organization_id}}}:{credential_id}"
