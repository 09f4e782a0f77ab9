"""Loans between buckets of one organization, and from a bucket's own future: the scripts' arguments and answers in Python.

Units move in one atomic step: from the lender's level to the borrower's, and back with interest. A loan passes through

    active --all is repaid--> repaid
       |  +--cancel, while what was borrowed is there--> cancelled
       +--past due--> defaulted --all is repaid--> repaid
       |                  +--write off--> written_off
       +--write off--> written_off

Each end is taken once. While one of its loans is defaulted a bucket gets no other, and all that it refills above its reserve is
that loan's. See `lua/loans.lua` for the accounts.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal, TypeVar
from uuid import UUID

import msgspec

from nexus.contracts.limits import MAX_UNITS, Limit
from nexus.dataplane.decide.breaker import LimiterAway
from nexus.dataplane.decide.scripts import Keys, Scripts, keys_of, pack_limit

LoanState = Literal["active", "defaulted", "repaid", "cancelled", "written_off"]
LoanAction = Literal["repay", "cancel", "write_off"]
Outcome = Literal[
    "done",
    "done_before",
    "closed",
    "unknown",
    "not_a_bucket",
    "defaulted",
    "beyond_ratio",
    "lender_short",
    "too_many",
    "refused",
]
"""*done_before*: this request or a later one was there. *refused*: nothing to repay with, or what was borrowed has been used."""
MOST_OWED = MAX_UNITS // 2
"""Principal and interest of one loan together."""
WHOLE = 1000
"""Shares and ratios are counted in thousandths."""
_TERMS = struct.Struct("<6d")
_GRANTED: Mapping[int, Outcome] = {
    1: "done", 2: "done_before", 3: "closed", 4: "not_a_bucket", 0: "defaulted", -4: "beyond_ratio", -5: "lender_short",
    -6: "too_many",
}  # fmt: skip
_DONE: Mapping[int, Outcome] = {1: "done", 2: "done_before", 3: "closed", 4: "unknown", 0: "refused"}
_UNKNOWN_CELL = -3
T = TypeVar("T")


class LoanRecord(msgspec.Struct, array_like=True, frozen=True):
    """A loan as Redis keeps it. Instants are microseconds since 1970; the fields' order is the scripts' (`FIELDS`)."""

    id: str
    lender: str
    """The lender's bucket; '' for the borrower's own future."""
    state: LoanState
    principal: int
    interest: int
    """Units to pay on top of the principal, in all."""
    repaid: int
    """Of the principal."""
    paid: int
    """Of the interest."""
    share: int
    """Of what the borrower refills, in thousandths."""
    rest: int
    """What is left of shares that made no whole unit yet, in thousandths of one."""
    granted: int
    due: int
    had: int
    """The borrower's level right after it was granted."""
    sequence: int
    """Number of the last request that did something to it."""

    @property
    def owed(self) -> int:
        """Units still to be paid."""
        return self.principal - self.repaid + self.interest - self.paid

    @property
    def is_open(self) -> bool:
        """Whether anything may still become of it."""
        return self.state in {"active", "defaulted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanTerms:
    """What a loan is asked for by."""

    id: str
    borrower: Limit
    borrower_bucket: str
    lender: Limit | None = None
    """None: the borrower's own future."""
    lender_bucket: str = ""
    principal: int
    interest: int
    share: int
    """Of what the borrower refills, in thousandths."""
    duration_us: int
    ratio: int
    """How many times its capacity the borrower may have or owe by borrowing, in thousandths."""
    most_loans: int
    """Open at once."""


@dataclass(frozen=True, slots=True)
class LoanAnswer:
    """What a script did: to which loans, and as they are afterwards."""

    outcome: Outcome
    at_us: int
    units: int
    """Paid, given back or forgiven; where it was refused, what there would have been."""
    loans: Sequence[LoanRecord]

    def loan(self, loan_id: str) -> LoanRecord | None:
        """Return one of the loans."""
        return next((loan for loan in self.loans if loan.id == loan_id), None)


def interest_of(principal: int, rate: Fraction) -> int:
    """Return the interest on a principal in whole units, rounded up."""
    return ceil(principal * rate)


def _loans(packed: bytes) -> list[LoanRecord]:
    return msgspec.msgpack.decode(packed, type=list[LoanRecord]) if packed else []


def _answer(outcomes: Mapping[int, Outcome], answer: Sequence[object]) -> LoanAnswer:
    status, at_us, units, packed = answer
    assert isinstance(status, int)
    assert isinstance(at_us, int)
    assert isinstance(units, int)
    assert isinstance(packed, bytes)
    return LoanAnswer(outcomes[status], at_us, units, _loans(packed))


class Lending:
    """The loans of one Redis. `open_cell` makes an organization known whose state Redis lost, or never had."""

    def __init__(self, scripts: Scripts, open_cell: Callable[[UUID], Awaitable[None]]) -> None:
        self._scripts = scripts
        self._open_cell = open_cell

    async def borrow(self, organization_id: UUID, terms: LoanTerms, now_us: int = 0) -> LoanAnswer:
        """Grant a loan, once; `LimiterAway` when the organization's state cannot be rebuilt."""
        keys = keys_of(organization_id)
        names = [
            keys.trail, keys.epoch, keys.bucket_list, keys.accounts, keys.borrowers,
            keys.buckets + terms.borrower_bucket, keys.loans + terms.borrower_bucket,
        ]  # fmt: skip
        numbers = _TERMS.pack(
            terms.principal, terms.interest, terms.share, terms.duration_us, terms.ratio, terms.most_loans
        )
        arguments: list[bytes | str] = [
            keys.buckets, keys.closed_loans, terms.id, numbers, pack_limit(terms.borrower, now_us)
        ]  # fmt: skip
        if terms.lender is not None:
            names.append(keys.buckets + terms.lender_bucket)
            arguments.append(pack_limit(terms.lender, now_us))
        for _ in range(3):
            answer = await self._scripts.run("borrow", names, arguments)
            if answer[0] != _UNKNOWN_CELL:
                return _answer(_GRANTED, answer)
            await self._open_cell(organization_id)
        raise LimiterAway

    async def bring_to_now(self, organization_id: UUID, bucket: str) -> LoanAnswer:
        """Pay a borrower's loans what is theirs by now; the loans it has, with those that closed by that."""
        return await self._change(keys_of(organization_id), bucket, "", "", 0, 0)

    async def repay(self, organization_id: UUID, bucket: str, loan_id: str, *, units: int, sequence: int) -> LoanAnswer:
        """Repay at most so many units of a loan out of what its bucket has above its reserve."""
        return await self._change(keys_of(organization_id), bucket, "repay", loan_id, sequence, units)

    async def cancel(self, organization_id: UUID, bucket: str, loan_id: str, *, sequence: int) -> LoanAnswer:
        """Give back a loan that was not used, without interest."""
        return await self._change(keys_of(organization_id), bucket, "cancel", loan_id, sequence, 0)

    async def write_off(self, organization_id: UUID, bucket: str, loan_id: str, *, sequence: int) -> LoanAnswer:
        """Forgive what is owed: the lender's loss."""
        return await self._change(keys_of(organization_id), bucket, "write_off", loan_id, sequence, 0)

    async def _change(
        self, keys: Keys, bucket: str, action: LoanAction | Literal[""], loan_id: str, sequence: int, units: int
    ) -> LoanAnswer:
        names = [
            keys.trail, keys.bucket_list, keys.accounts, keys.borrowers, keys.buckets + bucket, keys.loans + bucket
        ]  # fmt: skip
        arguments = [keys.buckets, keys.closed_loans, action, loan_id, sequence, units]
        return _answer(_DONE, await self._scripts.run("repay", names, arguments))

    async def pay_out(self, organization_id: UUID) -> int:
        """Pay what lenders had no room for into those that have by now; returns how many units."""
        keys = keys_of(organization_id)
        answer = await self._scripts.run("pay_out", [keys.trail, keys.bucket_list, keys.accounts], [keys.buckets])
        return int(answer[1])


async def reopen_loans(scripts: Scripts, keys: Keys, loans: Mapping[str, Sequence[LoanRecord]]) -> bool:
    """Put back the open loans of a cell that is not known, by borrower; False when it is known."""
    if not loans:
        return False
    names = [keys.epoch, keys.trail, keys.accounts, keys.borrowers, *(keys.loans + name for name in loans)]
    packed = [msgspec.msgpack.encode(list(items)) for items in loans.values()]
    return bool(await scripts.run("reopen_loans", names, [keys.buckets, keys.loans, *packed]))
