"""Slowing down whoever guesses, without giving them a way to lock somebody else out for good.

An attempt is counted as a failure before it is made, and taken back when it goes well: attempts at once cannot share a
number, and no row stays locked while a password is hashed. Each attempt is counted in its *lane*:

- a browser from which the account was entered before (it carries a device cookie) has a lane of its own;
- everybody else has a lane per account and address, and all of them together one wide lane per account.

A full lane is closed for a while (`auth.lockout_duration_minutes`) and opens by itself. Whoever fails on purpose closes
their own lane and, from very many addresses, the wide one; known devices go past both. Accounts that do not exist
have the same lanes, so that a closed one tells nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from nexus.identity import store
from nexus.identity.errors import AccountLocked
from nexus.platform.db import Connection
from nexus.platform.db.configuration import Configuration

WIDE = "*"
WIDE_FACTOR = 20
"""How many times the failures of one address all unknown addresses together may make: with 5 that is 100."""


@dataclass(frozen=True)
class Rules:
    """How many failures close a lane, and for how long."""

    allowed: int
    pause: timedelta

    @classmethod
    def of(cls, settings: Configuration) -> Rules:
        """Take the numbers of the system configuration."""
        return cls(
            settings.integer("auth.max_login_attempts"),
            timedelta(minutes=settings.integer("auth.lockout_duration_minutes")),
        )


def subject_of_user(user_id: UUID) -> bytes:
    """Return what failures of an account are counted under."""
    return hashlib.sha256(b"user:" + user_id.bytes).digest()


def subject_of_login(login: str) -> bytes:
    """Return what failures are counted under where there is no such account."""
    return hashlib.sha256(b"login:" + login.lower().encode("utf-8", "surrogatepass")).digest()


def source_of_address(address: str | None) -> str:
    """Return an address as a source: a whole IPv6 /64 is one, because whoever has one address of it has all."""
    if address is None:
        return "unknown"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@dataclass(frozen=True)
class Attempt:
    """One attempt, counted as failed until it is known better. Its methods need nexus_system."""

    subject: bytes
    lanes: tuple[tuple[str, int], ...]
    """Source and how many failures it may make, the attempt's own lane first."""
    rules: Rules
    locked_until: datetime | None = None

    async def fail(self, connection: Connection, at: datetime) -> datetime | None:
        """Leave it counted; returns until when the lane is closed, if this was one too many."""
        until = None
        for source, allowed in self.lanes:
            closed = await store.value(
                connection, "close_lane", self.subject, source, allowed, at, at + self.rules.pause
            )
            until = until or closed
        return until

    async def succeed(self, connection: Connection) -> None:
        """Clear the attempt's own lane; of the wide one only this attempt is taken back."""
        (own, _), *others = self.lanes
        await store.run(connection, "clear_lane", self.subject, own)
        for source, _ in others:
            await store.run(connection, "withdraw_attempt", self.subject, source)

    async def withdraw(self, connection: Connection) -> None:
        """Take this attempt back and leave earlier ones counted: the password was right, the second factor is due."""
        for source, _ in self.lanes:
            await store.run(connection, "withdraw_attempt", self.subject, source)

    def refuse_if_locked(self, at: datetime) -> None:
        """Raise `AccountLocked` where a lane is closed. To be called when the count is committed."""
        if self.locked_until is not None:
            raise locked(self.locked_until, at)


async def begin(
    connection: Connection, subject: bytes, source: str, rules: Rules, at: datetime, *, wide: bool = False
) -> Attempt:
    """Count an attempt in its lane (and in the account's wide one), as nexus_system."""
    lanes = ((source, rules.allowed), (WIDE, rules.allowed * WIDE_FACTOR)) if wide else ((source, rules.allowed),)
    until: datetime | None = None
    for name, allowed in lanes:
        found = await store.value(connection, "count_attempt", subject, name, at, allowed, rules.pause)
        if found is not None and found > at:
            # A closed lane stops here: one address alone must not fill the wide lane too.
            until = found
            break
    return Attempt(subject, lanes, rules, until)


def locked(until: datetime, at: datetime) -> AccountLocked:
    """Make the refusal: how long to wait."""
    wait = max(1, int((until - at).total_seconds()))
    return AccountLocked(f"too many failed attempts: try again in {-(-wait // 60)} minutes", retry_after_seconds=wait)
