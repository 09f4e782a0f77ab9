"""The Redis scripts, and their arguments and answers in Python. All keys of one organization share a hash tag."""

from __future__ import annotations

import importlib.resources
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from nexus.contracts.limits import DIMENSIONS, METHODS, Dimension, Limit, Rate
from nexus.dataplane.decide.model import Lease, Wish
from nexus.dataplane.decide.windows import boundaries

STATE = struct.Struct("<14d")
POSTING = struct.Struct("<9d")
_BALANCE = struct.Struct("<3d")
_AT = struct.Struct("<d")
_WISH = struct.Struct("<5d")
_LEASE = struct.Struct("<8d")
_ENTRY_FIELDS = {b"k", b"t", b"i"}
_STATIC = struct.Struct("<10d")
_GRANT = struct.Struct("<6d")
_LIMIT = struct.Struct("<13d")
_ADMITTED, _REFUSED = 1, 0
SCARCE = 5
"""Status: a window has not enough left, and would if all leases came back."""
WHOLE = 144_403_552_893_600
"""All shares of `beat` together: the least common multiple of 1 to 32."""
_REMEMBERED_SECONDS = 50
"""Buckets are kept for a minute at least after they were written."""
_MOST_REMEMBERED = 100_000
_NO_WINDOW = struct.pack("<3d", 0, 0, 0)
_PARTS: Mapping[str, tuple[str, ...]] = {
    "beat": ("beat",),
    "open": ("open",),
    "take": ("take",),
    "decide": ("bucket", "leases", "decide"),
    "lease": ("bucket", "leases", "lease"),
    "settle": ("bucket", "hold", "settle"),
    "reap": ("bucket", "hold", "leases", "reap"),
    "adjust": ("bucket", "adjust"),
    "borrow": ("bucket", "loans", "borrow"),
    "repay": ("bucket", "loans", "repay"),
    "pay_out": ("bucket", "loans", "pay_out"),
    "reopen_loans": ("bucket", "loans", "reopen_loans"),
    "seed": ("bucket", "seed"),
    "reconcile": ("bucket", "reconcile"),
    "grant": ("bucket", "grant"),
    "now": ("now",),
}
_DIMENSION_CODES: Mapping[Dimension, int] = {name: number for number, name in enumerate(DIMENSIONS, 1)}
METHOD_CODES = {name: number for number, name in enumerate(METHODS, 1)}


Asked = Sequence[tuple[Limit, str, int]]
Account = Literal["debt", "receivable", "interest"]


def _lua(name: str) -> str:
    folder = importlib.resources.files("nexus.dataplane.decide") / "lua"
    return (folder / f"{name}.lua").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one cell's keys."""

    cell: str

    @property
    def epoch(self) -> str:
        """Since when the cell is known."""
        return f"nx:{{{self.cell}}}:e"

    @property
    def trail(self) -> str:
        """The stream of what was charged."""
        return f"nx:{{{self.cell}}}:t"

    @property
    def open_holds(self) -> str:
        """Open holds by expiry."""
        return f"nx:{{{self.cell}}}:x"

    @property
    def bucket_list(self) -> str:
        """The buckets there are, by the instant from which each may be gone."""
        return f"nx:{{{self.cell}}}:i"

    @property
    def opened(self) -> str:
        """Buckets of budgets, and the window that each was opened in."""
        return f"nx:{{{self.cell}}}:o"

    @property
    def reports(self) -> str:
        """What processes say that the ledger may lack, after a loss: `process bucket`, units."""
        return f"nx:{{{self.cell}}}:r"

    @property
    def pauses(self) -> str:
        """Buckets of budgets that have refused a call, and in which window they did first."""
        return f"nx:{{{self.cell}}}:p"

    @property
    def leased_buckets(self) -> str:
        """Buckets with leases, by the instant the last one ends."""
        return f"nx:{{{self.cell}}}:lx"

    @property
    def asked(self) -> str:
        """Units that were asked of shares, admitted or not, by bucket, since somebody began to count."""
        return f"nx:{{{self.cell}}}:d"

    @property
    def leases(self) -> str:
        """What keys of leases begin with."""
        return f"nx:{{{self.cell}}}:l:"

    @property
    def buckets(self) -> str:
        """What bucket keys begin with."""
        return f"nx:{{{self.cell}}}:b:"

    @property
    def holds(self) -> str:
        """What hold keys begin with."""
        return f"nx:{{{self.cell}}}:h:"

    @property
    def loans(self) -> str:
        """What keys of borrowers' open loans begin with."""
        return f"nx:{{{self.cell}}}:o:"

    @property
    def closed_loans(self) -> str:
        """What keys of closed loans begin with."""
        return f"nx:{{{self.cell}}}:oc:"

    @property
    def borrowers(self) -> str:
        """The buckets that have open loans."""
        return f"nx:{{{self.cell}}}:ox"

    @property
    def accounts(self) -> str:
        """What buckets owe and are owed."""
        return f"nx:{{{self.cell}}}:oa"


@cache
def keys_of(organization_id: UUID) -> Keys:
    """Return the key names of an organization's cell."""
    return Keys(organization_id.hex)


def _kind(limit: Limit) -> int:
    if limit.share is not None:
        return 3
    return 2 if limit.is_budget else int(limit.is_shadow)


@cache
def _static(limit: Limit) -> bytes:
    rate = limit.rate
    return _STATIC.pack(
        limit.version, METHOD_CODES[limit.method], _kind(limit), limit.capacity,
        rate.whole if rate else 0, rate.part if rate else 0, rate.denominator if rate else 1,
        limit.reserve, _DIMENSION_CODES[limit.dimension], float(limit.scale / limit.exchange),
    )  # fmt: skip


def pack_limit(limit: Limit, now_us: int) -> bytes:
    """Pack a limit as the scripts read it; of windows, those around an instant."""
    if limit.period is None:
        return _static(limit) + _NO_WINDOW
    return _static(limit) + struct.pack("<3d", *boundaries(now_us, limit.period, limit.zone, limit.begins_on))


@dataclass(frozen=True, slots=True)
class BucketState:
    """A bucket as Redis keeps it."""

    level: int
    fraction: int
    at: int
    held: int
    leased: int
    ends: int
    shadowed: int
    version: int
    method: int
    capacity: int
    whole: int
    part: int
    denominator: int
    reserve: int

    @classmethod
    def unpack(cls, data: bytes) -> BucketState:
        """Read a packed state."""
        return cls(*(int(value) for value in STATE.unpack(data)))

    def pack(self) -> bytes:
        """Write it as the scripts do."""
        return STATE.pack(
            self.level, self.fraction, self.at, self.held, self.leased, self.ends, self.shadowed, self.version,
            self.method, self.capacity, self.whole, self.part, self.denominator, self.reserve,
        )  # fmt: skip


class Granted(NamedTuple):
    """What Redis says of a grant: see `lua/grant.lua`."""

    status: int
    now_us: int
    number: int
    """Of the grant in force."""
    asked: int
    """Units asked for since somebody began to count, admitted or not."""


def unpack_lease(data: bytes) -> Lease:
    """Read a lease as Redis keeps it."""
    sequence, amount, accruing, wanted, at, duration, ends, method = map(int, _LEASE.unpack(data))
    return Lease(sequence, amount, accruing, wanted, at, duration, ends, METHODS[method - 1])


@dataclass(frozen=True, slots=True)
class AccountPosting:
    """What one transaction did to one of a bucket's accounts beside its level."""

    bucket: str
    account: Account
    is_opened: bool
    """It began with nothing."""
    changed: int
    balance: int


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """What one transaction did: an entry of the trail."""

    kind: str
    reference: str
    """The hold, lease or adjustment; '' for a charge that nothing follows."""
    at_us: int
    postings: Sequence[tuple[str, bytes]]
    """By bucket, packed as `POSTING`."""
    accounts: Sequence[AccountPosting] = ()
    """Of loans: what it did to other accounts than levels."""

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes]) -> TrailEntry:
        """Read an entry: a field a bucket, or of a plain charge (see `take`) all names in one and all numbers in another."""
        if b"n" not in fields:
            legs = [(name.decode(), data) for name, data in fields.items() if name not in _ENTRY_FIELDS]
            return cls(
                fields[b"k"].decode(), fields[b"i"].decode(), int(fields[b"t"]),
                [leg for leg in legs if not leg[0].startswith("=")],
                [_account_posting(name, data) for name, data in legs if name.startswith("=")],
            )  # fmt: skip
        packed = fields[b"p"]
        starts = range(_AT.size, len(packed), POSTING.size)
        parts = [packed[start : start + POSTING.size] for start in starts]
        names = fields[b"n"].decode().split("\n")
        return cls("charge", "", int(_AT.unpack_from(packed)[0]), list(zip(names, parts, strict=True)))


def _account_posting(name: str, data: bytes) -> AccountPosting:
    _, account, bucket = name.split("=", 2)
    opened, changed, balance = map(int, _BALANCE.unpack(data))
    return AccountPosting(bucket, cast("Account", account), bool(opened), changed, balance)


class Scripts:
    """The scripts of one Redis. They are loaded when Redis does not know them."""

    def __init__(self, redis: Redis, *, prelude: str | None = None) -> None:
        self._redis = redis
        self._there: dict[str, float] = {}
        clock = prelude if prelude is not None else _lua("prelude")
        self._sources = {name: "\n".join([clock, *map(_lua, parts)]) for name, parts in _PARTS.items()}
        self._digests = {name: sha1(text.encode()).hexdigest() for name, text in self._sources.items()}  # noqa: S324

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script."""
        try:
            return await self._redis.evalsha(self._digests[name], len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._redis.eval(self._sources[name], len(keys), *keys, *arguments)

    async def beat(self, key: str, process: str, silent_us: int, share: int) -> tuple[int, int]:
        """Give the sign of life of a process that has a share; returns how many gave one of late, and its share from now on."""
        count, given = await self.run("beat", [key], [process, silent_us, share])
        return count, given

    async def open_cell(self, keys: Keys, *, has_lost: bool, states: Mapping[str, bytes] | None = None) -> bool:
        """Make a cell known; tells whether it was not. One that has lost its state begins with empty buckets."""
        known = states or {}
        names = [keys.epoch, keys.bucket_list, *(keys.buckets + name for name in known)]
        return bool(await self.run("open", names, ["1" if has_lost else "0", keys.buckets, *known.values()]))

    async def decide(
        self,
        keys: Keys,
        asked: Asked,
        now_us: int,
        *,
        hold: str = "",
        life_us: int = 0,
        is_privileged: bool = False,
        has_trail: bool = True,
    ) -> list[int]:
        """Decide one call by its limits: (limit, bucket, charge) each. `now_us` only chooses which windows are offered."""
        prefix = keys.buckets
        if not hold and self._is_usual(prefix, asked):
            taken = await self._take(keys, asked, is_privileged=is_privileged, has_trail=has_trail)
            if taken is not None:
                return taken
        hold_key = keys.holds + hold if hold else keys.epoch
        names = [keys.trail, keys.open_holds, keys.bucket_list, keys.epoch, hold_key]
        arguments: list[Any] = [hold, life_us, 1 if is_privileged else 0, 1 if has_trail else 0, prefix]
        for limit, bucket, units in asked:
            names.append(prefix + bucket)
            arguments.append(pack_limit(limit, now_us))
            arguments.append(units)
        answer: list[int] = await self.run("decide", names, arguments)
        if answer[0] == _ADMITTED:
            self._remember(prefix, asked)
        return answer

    def _is_usual(self, prefix: str, asked: Asked) -> bool:
        """Whether `take` will do: buckets of tokens that were there a moment ago, none of them in shadow."""
        since = time.monotonic() - _REMEMBERED_SECONDS
        return all(
            limit.method == "token_bucket" and not limit.is_shadow and self._there.get(prefix + bucket, since) > since
            for limit, bucket, _ in asked
        )

    def _remember(self, prefix: str, asked: Asked) -> None:
        if len(self._there) > _MOST_REMEMBERED:
            self._there.clear()
        now = time.monotonic()
        for _, bucket, _ in asked:
            self._there[prefix + bucket] = now

    async def _take(self, keys: Keys, asked: Asked, *, is_privileged: bool, has_trail: bool) -> list[int] | None:
        """Decide the usual call; None where it turned out not to be one."""
        prefix = keys.buckets
        names = [prefix + bucket for _, bucket, _ in asked]
        if has_trail:
            names.append(keys.trail)
        listed = "\n".join([bucket for _, bucket, _ in asked]) if has_trail else ""
        numbers = [value for limit, _, units in asked for value in (limit.version, units)]
        question = struct.pack(f"<{2 + len(numbers)}d", len(asked), is_privileged, *numbers)
        taken = await self.run("take", names, [question, listed])
        if isinstance(taken, int):
            return None
        self._remember(prefix, asked)
        if isinstance(taken, bytes):
            now, *lefts = map(int, struct.unpack(f"<{len(taken) // 8}d", taken))
            answer = [_ADMITTED, now, 0, 0]
        else:
            now, which, retry, *lefts = taken
            answer = [_REFUSED, now, which, retry]
        for (limit, _, _), left in zip(asked, lefts, strict=False):
            answer += [left, limit.until_full_us(left), 0]
        return answer

    async def lease(
        self,
        keys: Keys,
        process: str,
        sequence: int,
        wishes: Sequence[Wish],
        now_us: int,
        *,
        life_us: int,
        horizon_us: int,
    ) -> list[int]:
        """Decide a call and grant leases on its buckets, or end leases: see `lua/lease.lua`."""
        names = [keys.trail, keys.epoch, keys.bucket_list, keys.leased_buckets]
        arguments: list[Any] = [process, sequence, keys.buckets, life_us, horizon_us]
        for wish in wishes:
            names += [keys.buckets + wish.bucket, keys.leases + wish.bucket]
            arguments.append(pack_limit(wish.limit, now_us))
            arguments.append(_WISH.pack(wish.charge, wish.wanted, wish.named, wish.rest, wish.kept))
        answer: list[int] = await self.run("lease", names, arguments)
        return answer

    async def finish(self, keys: Keys, hold: str, kind: str, actual: Mapping[Dimension, int]) -> list[int]:
        """Settle or release a hold, once."""
        pairs = [value for name, amount in actual.items() for value in (_DIMENSION_CODES[name], amount)]
        names = [keys.trail, keys.open_holds, keys.bucket_list, keys.holds + hold]
        answer: list[int] = await self.run("settle", names, [keys.buckets, hold, kind, *pairs])
        return answer

    async def reap(self, keys: Keys, most: int = 100) -> list[int]:
        """End holds that have expired, and forget buckets that are gone: [now, how many holds, how many are still open, how many
        buckets were looked at, how many got room back from leases]."""
        names = [keys.trail, keys.open_holds, keys.bucket_list, keys.leased_buckets]
        answer: list[int] = await self.run("reap", names, [keys.buckets, keys.holds, most, keys.leases])
        return answer

    async def adjust(
        self,
        keys: Keys,
        limit: Limit,
        bucket: str,
        units: int,
        now_us: int,
        name: str,
        *,
        window: int = 0,
        seen: BucketState | None = None,
    ) -> tuple[int, int]:
        """Take units from one bucket, or give them: (status, left).

        With `window` only in the one that begins there, with `seen` only if the bucket is still as it was.
        """
        names = [keys.trail, keys.epoch, keys.buckets + bucket, keys.bucket_list]
        arguments: list[Any] = [name, keys.buckets, pack_limit(limit, now_us), units, window]
        if seen is not None:
            arguments += [seen.level, seen.held, seen.leased]
        answer = await self.run("adjust", names, arguments)
        return answer[0], answer[1]

    async def reconcile(
        self, keys: Keys, limit: Limit, bucket: str, now_us: int, name: str, *,
        window: int, lost: int, known: int, used: int,
    ) -> tuple[int, int]:  # fmt: skip
        """Give back what lost leases of a window did not spend: (status, units). See `lua/reconcile.lua`."""
        names = [keys.trail, keys.epoch, keys.buckets + bucket, keys.bucket_list]
        arguments = [name, keys.buckets, pack_limit(limit, now_us), window, lost, known, used]
        answer = await self.run("reconcile", names, arguments)
        return answer[0], answer[1]

    async def seed(
        self, keys: Keys, limit: Limit, bucket: str, now_us: int, *, spent: int | None, patience_us: int
    ) -> tuple[int, int, int]:
        """Open a budget's bucket at what was spent, or ask whether it is: see `lua/seed.lua`."""
        names = [keys.trail, keys.epoch, keys.buckets + bucket, keys.bucket_list, keys.opened, keys.reports]
        arguments = [keys.buckets, pack_limit(limit, now_us), "" if spent is None else spent, patience_us]
        status, at_us, units = await self.run("seed", names, arguments)
        return status, at_us, units

    async def now_us(self) -> int:
        """Return Redis's time."""
        return int(await self.run("now", [], []))

    async def grant(
        self, keys: Keys, bucket: str, *, number: int, capacity: int, rate: Rate | None, deadline_us: int
    ) -> Granted:
        """Put a grant of a shared capacity in force; without a rate its bucket is taken away. See `lua/grant.lua`."""
        names = [keys.buckets + bucket, keys.bucket_list, keys.trail, keys.asked]
        whole, part, per = (rate.whole, rate.part, rate.denominator) if rate is not None else (0, 0, 1)
        terms = _GRANT.pack(number, capacity if rate is not None else 0, whole, part, per, deadline_us)
        return Granted(*await self.run("grant", names, [keys.buckets, terms]))
