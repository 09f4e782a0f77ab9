"""Nexus's limits on itself: sign-in, the control API and ingest, by the engine that decides everybody's.

How much is allowed is said by the system configuration (`limits.…`; 0 is no limit) and changes without a restart. The buckets
stand in cells of their own, which belong to no organization. While Redis is away everything passes, and is not charged
afterwards: nobody is locked out by an outage, and the lockout after failed sign-ins holds all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from uuid import UUID

from nexus.contracts.limits import Call, Dimension, Limit, Rate
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.types import Decision
from nexus.kit.ids import opaque_uuid
from nexus.platform.db.configuration import Configuration

_SIGN_IN, _API = opaque_uuid("own:sign-in"), opaque_uuid("own:api")
_SECONDS_HELD = 10
"""A bucket holds so many seconds of what is allowed in one, so that who was quiet may be quick for a moment."""
_UNLIMITED = Decision("admitted")
_MOST_CELLS = 100_000


class OwnLimits:
    """The limits of one process on its own ways in; without an engine there are none."""

    def __init__(
        self,
        admission: Admission | None = None,
        configuration: Callable[[], tuple[int, Configuration]] = lambda: (1, Configuration({})),
        *,
        most_records: int = 1,
        most_bytes: int = 1,
    ) -> None:
        self._admission = admission
        self._configuration = configuration
        self._most: Mapping[str, int] = {"records": most_records, "bytes": most_bytes}
        self._cells = {_SIGN_IN, _API}
        self._made: dict[tuple[UUID, str], Limit] = {}

    def owns(self, cell: UUID) -> bool:
        """Whether a cell is of these limits: it has no history that would be worth waiting for."""
        return cell in self._cells

    async def sign_in(self, address: str, account: str = "") -> Decision:
        """Count an attempt to sign in from an address, and to an account where one is named."""
        met = [
            self._per_minute(_SIGN_IN, "sign_in_per_address_per_minute", address),
            self._per_minute(_SIGN_IN, "sign_in_per_account_per_minute", account) if account else None,
        ]
        return await self._decide(Call(organization_id=_SIGN_IN), met)

    async def api(self, caller: str) -> Decision:
        """Count a request to the control API by whoever sent it: a person, a key, or else an address."""
        met = [self._per_second(_API, "api_requests_per_caller_per_second", "requests", caller)]
        return await self._decide(Call(organization_id=_API), met)

    async def records(self, organization_id: UUID, key_id: UUID, count: int, size_bytes: int) -> Decision:
        """Count records that are sent in, and the bytes of their body."""
        cell = opaque_uuid(f"own:ingest:{organization_id}")
        if len(self._cells) > _MOST_CELLS:
            self._cells, self._made = {_SIGN_IN, _API}, {}
        self._cells.add(cell)
        key = key_id.hex
        met = [
            self._per_second(cell, "ingest_records_per_second", "requests", "", most="records"),
            self._per_second(cell, "ingest_bytes_per_second", "bytes", "", most="bytes"),
            self._per_second(cell, "ingest_records_per_key_per_second", "requests", key, most="records"),
            self._per_second(cell, "ingest_bytes_per_key_per_second", "bytes", key, most="bytes"),
        ]
        return await self._decide(Call(organization_id=cell, requests=count, bytes=size_bytes), met)

    async def _decide(self, call: Call, met: list[tuple[Limit, str] | None]) -> Decision:
        limits = [item for item in met if item is not None]
        if self._admission is None or not limits or self._admission.is_degraded:
            return _UNLIMITED
        return await self._admission.decide(call, limits=limits)

    def _per_minute(self, cell: UUID, name: str, subject: str) -> tuple[Limit, str] | None:
        return self._limit(cell, name, "requests", subject, per_us=60_000_000, held=1, most=1)

    def _per_second(
        self, cell: UUID, name: str, dimension: Dimension, subject: str, *, most: str = ""
    ) -> tuple[Limit, str] | None:
        return self._limit(
            cell, name, dimension, subject, per_us=1_000_000, held=_SECONDS_HELD, most=self._most.get(most, 1)
        )

    def _limit(
        self, cell: UUID, name: str, dimension: Dimension, subject: str, *, per_us: int, held: int, most: int
    ) -> tuple[Limit, str] | None:
        """Return a limit and the bucket of whose it is; `most` is what one request may take, so that no bucket is smaller."""
        version, configuration = self._configuration()
        allowed = configuration.integer(f"limits.{name}")
        if not allowed:
            return None
        limit = self._made.get((cell, name))
        if limit is None or limit.version != version:
            limit = self._made[cell, name] = Limit(
                id=opaque_uuid(f"own:{name}"), name=name.replace("_", "-"), organization_id=cell, scope="organization",
                subject=None, dimension=dimension, method="token_bucket", capacity=max(allowed * held, most),
                rate=Rate.of(allowed, per_us=per_us), failure="open", version=version,
            )  # fmt: skip
        # Names and addresses stand nowhere in clear.
        whose = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:32] if subject else ""
        return limit, f"{limit.id.hex}:{whose}" if whose else limit.id.hex
