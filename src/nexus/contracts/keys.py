"""Access keys, organizations and members as the data plane sees them: small immutable entries of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from uuid import UUID

ANY_SCOPE = "*"


def key_hash(text: str) -> bytes:
    """Return what is stored of an access key: its SHA-256. Keys hold 190 or more random bits, so no salt is needed."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class OrganizationEntry:
    """What the data plane knows of an organization."""

    id: UUID
    slug: str
    currency: str
    tier: str
    reporting_zone: str
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What the data plane knows of an access key; revoked keys have no entry."""

    id: UUID
    organization_id: UUID
    scopes: frozenset[str]
    application: str = ""
    user_id: UUID | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None

    def allows(self, scope: str) -> bool:
        """Tell whether the key may do what the scope names."""
        return scope in self.scopes or ANY_SCOPE in self.scopes

    def is_valid_at(self, at: datetime) -> bool:
        """Tell whether the key is in its time of validity, which ends just before `expires_at`."""
        if self.not_before is not None and at < self.not_before:
            return False
        return self.expires_at is None or at < self.expires_at


@dataclass(frozen=True, slots=True)
class KeyTable:
    """All keys, organizations and members at one version. Never changed: a newer one replaces it whole."""

    version: int = 0
    keys: Mapping[bytes, KeyEntry] = field(default_factory=lambda: MappingProxyType({}))
    """By SHA-256 of the key's text."""
    organizations: Mapping[UUID, OrganizationEntry] = field(default_factory=lambda: MappingProxyType({}))
    members: Mapping[UUID, Mapping[str, UUID]] = field(default_factory=lambda: MappingProxyType({}))
    """By organization: a member's user id, by e-mail address in lower case and by the id's own text."""

    def find(self, text: str) -> KeyEntry | None:
        """Return the key of this text, if there is one."""
        return self.keys.get(key_hash(text))
