"""What identity hands to others."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

ALL = "*"
MembershipRole = Literal["owner", "admin", "member", "viewer"]


class Principal(msgspec.Struct, frozen=True):
    """Whoever a request comes from, and what it may do in the organization it works for."""

    kind: Literal["user", "key"]
    label: str
    permissions: frozenset[str]
    organization_id: UUID | None = None
    user_id: UUID | None = None
    key_id: UUID | None = None
    session_id: UUID | None = None

    def may(self, permission: str) -> bool:
        """Tell whether the principal holds a permission."""
        return permission in self.permissions or ALL in self.permissions

    def holds_all(self, permissions: frozenset[str]) -> bool:
        """Tell whether the principal holds each of these permissions, and so may grant them."""
        return ALL in self.permissions or permissions <= self.permissions


class Organization(msgspec.Struct, frozen=True):
    """A tenant."""

    id: UUID
    name: str
    slug: str
    plan: str
    tier: str
    currency: str
    reporting_zone: str
    billing_email: str | None
    settings: dict[str, Any]
    is_active: bool
    created_at: datetime


class User(msgspec.Struct, frozen=True):
    """A person."""

    id: UUID
    email: str
    username: str | None
    name: str
    is_email_verified: bool
    image_url: str | None
    timezone: str
    locale: str
    preferences: dict[str, Any]
    is_active: bool
    last_login_at: datetime | None
    login_count: int
    created_at: datetime


class GrantedRole(msgspec.Struct, frozen=True):
    """A role a member holds beyond the membership's, until an instant if one is given."""

    role_id: UUID
    name: str
    expires_at: datetime | None


class Membership(msgspec.Struct, frozen=True):
    """A person's place in an organization, and the granted roles that are in force."""

    user_id: UUID
    email: str
    name: str
    role: str
    extra_permissions: list[str]
    is_active: bool
    has_second_factor: bool
    last_login_at: datetime | None
    created_at: datetime
    roles: list[GrantedRole]


class OrganizationChoice(msgspec.Struct, frozen=True):
    """An organization a person may enter."""

    id: UUID
    name: str
    slug: str
    role: str
    currency: str
    reporting_zone: str


class AccessKey(msgspec.Struct, frozen=True):
    """An access key as it may be shown: never the key itself."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    application: str
    user_id: UUID | None
    rate_limit_per_minute: int | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotated_from: UUID | None
    created_by: UUID | None
    created_at: datetime


class NewAccessKey(msgspec.Struct, frozen=True):
    """A key at the only moment at which it is shown."""

    key: str
    access_key: AccessKey


class Session(msgspec.Struct, frozen=True):
    """A sign-in session."""

    id: UUID
    created_at: datetime
    expires_at: datetime
    last_accessed_at: datetime
    authenticated_at: datetime
    ip_address: str | None
    user_agent: str | None
    login_method: str
    is_mfa_verified: bool
    is_current: bool


class SignedIn(msgspec.Struct, frozen=True):
    """A new session, with the tokens its two cookies carry; they are stored nowhere."""

    token: str
    session_id: UUID
    expires_at: datetime
    user: User
    device: str


class Role(msgspec.Struct, frozen=True):
    """A named set of permissions; built-in ones cannot be changed."""

    id: UUID
    name: str
    description: str
    is_builtin: bool
    permissions: list[str]


class Permission(msgspec.Struct, frozen=True):
    """One thing that may be done."""

    name: str
    description: str


class Invitation(msgspec.Struct, frozen=True):
    """An address asked to join."""

    id: UUID
    email: str
    role: str
    invited_by: UUID | None
    expires_at: datetime
    accepted_at: datetime | None
    created_at: datetime


class InvitationSeen(msgspec.Struct, frozen=True):
    """What somebody who holds an invitation's token is asked; without an account they choose a password."""

    organization: str
    email: str
    role: str
    needs_password: bool
    expires_at: datetime


class PasswordLink(msgspec.Struct, frozen=True):
    """A one-time link to set a password, at the only moment at which it is shown."""

    url: str
    token: str
    expires_at: datetime


class FirstStart(msgspec.Struct, frozen=True):
    """What the first start made; password and key are shown here and nowhere else."""

    admin_email: str
    admin_password: str
    access_key: str
    organization_id: UUID
