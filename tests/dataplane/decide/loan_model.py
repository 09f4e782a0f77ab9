"""The rules of loans as a pure model in rational numbers, on top of `model`: what the loans' scripts must do.

Every movement is posted twice, and the postings of a transaction sum to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from nexus.contracts.limits import MAX_UNITS, Limit
from nexus.dataplane.decide.lending import WHOLE, LoanState, LoanTerms, Outcome
from nexus.dataplane.decide.model import Bucket, Cell, _copy

_METHODS = frozenset({"token_bucket", "leaky_bucket"})


@dataclass(slots=True)
class Account:
    """What one bucket owes and is owed."""

    debt: int = 0
    receivable: int = 0
    interest: int = 0
    waiting: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether anything is still to come or to go."""
        return bool(self.debt or self.receivable or self.waiting)


@dataclass(slots=True)
class Loan:
    """A loan."""

    id: str
    lender: str
    principal: int
    interest: int
    share: Fraction
    granted: int
    due: int
    had: int
    state: LoanState = "active"
    repaid: int = 0
    paid: int = 0
    rest: Fraction = Fraction(0)
    sequence: int = 0

    @property
    def owed(self) -> int:
        """Units still to be paid."""
        return self.principal - self.repaid + self.interest - self.paid


@dataclass(slots=True)
class Debtor:
    """The open loans of a bucket, and until when what it refilled has been shared."""

    at: int
    fraction: Fraction = Fraction(0)
    denominator: int = 1
    loans: list[Loan] = field(default_factory=list)


@dataclass(slots=True)
class Books:
    """The loans of a cell."""

    cell: Cell
    debtors: dict[str, Debtor] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    closed: dict[str, Loan] = field(default_factory=dict)
    _before: dict[str, Bucket] = field(default_factory=dict)
    """Buckets that were looked at, as they were: one that nothing was posted to goes on from there."""

    def borrow(self, terms: LoanTerms, now: int) -> Outcome:
        """Grant a loan."""
        name = terms.borrower_bucket
        if terms.id in self.closed:
            return "closed"
        if any(loan.id == terms.id for loan in self._loans(name)):
            return "done_before"
        if terms.borrower.method not in _METHODS or (
            terms.lender is not None and (terms.lender.method not in _METHODS or terms.lender_bucket == name)
        ):
            return "not_a_bucket"
        trial = self._copy()
        bucket = trial._bucket(terms.borrower, name, now)
        lender = trial._bucket(terms.lender, terms.lender_bucket, now) if terms.lender is not None else None
        trial._serve(name, now)
        loans = trial._loans(name)
        outcome = _refusal(terms, bucket, lender, loans)
        if outcome is not None:
            return outcome
        if lender is not None:
            trial._move(terms.lender_bucket, -terms.principal)
            trial._account(terms.lender_bucket).receivable += terms.principal
        trial._move(name, terms.principal)
        trial._account(name).debt -= terms.principal
        debtor = trial.debtors.get(name)
        if debtor is None:
            debtor = trial.debtors[name] = Debtor(max(now, bucket.at), Fraction(0), _denominator(bucket.limit))
        debtor.loans.append(
            Loan(
                terms.id, terms.lender_bucket if lender is not None else "", terms.principal, terms.interest,
                Fraction(terms.share, WHOLE), now, now + terms.duration_us, floor(bucket.level),
            )
        )  # fmt: skip
        self._take_over(trial)
        return "done"

    def bring_to_now(self, name: str, now: int) -> None:
        """Give a bucket's loans their share of what it refilled; those past due default and get all."""
        self._serve(name, now)
        self._end()

    def _serve(self, name: str, now: int) -> None:
        debtor, bucket = self.debtors.get(name), self.cell.buckets.get(name)
        if debtor is None:
            return
        self._advance(name, now)
        while True:
            dues = [loan.due for loan in debtor.loans if loan.state == "active" and loan.owed and loan.due < now]
            till = max(min(dues), debtor.at) if dues else now
            self._share(debtor, name, bucket, till, now)
            for loan in debtor.loans:
                if loan.state == "active" and loan.due <= till and loan.owed:
                    loan.state = "defaulted"
            if till >= now:
                break
        if bucket is not None and bucket.is_bucket:
            self._pay_defaulted(debtor, name, max(0, floor(bucket.level) - bucket.limit.reserve), now)
        for loan in [loan for loan in debtor.loans if not loan.owed]:
            loan.state = "repaid"
            self._close(name, loan)

    def _share(self, debtor: Debtor, name: str, bucket: Bucket | None, till: int, now: int) -> None:
        if bucket is None or not bucket.is_bucket:
            debtor.at, debtor.fraction = max(debtor.at, till), Fraction(0)
            return
        denominator = _denominator(bucket.limit)
        gained = debtor.fraction if denominator == debtor.denominator else Fraction(0)
        gained += max(0, till - debtor.at) * bucket.rate
        debtor.at, debtor.denominator = max(debtor.at, till), denominator
        units = floor(gained)
        debtor.fraction = gained - units
        if units >= MAX_UNITS:
            units, debtor.fraction = MAX_UNITS, Fraction(0)
        if any(loan.state == "defaulted" and loan.owed for loan in debtor.loans):
            self._pay_defaulted(debtor, name, units, now)
            return
        for loan in debtor.loans:
            part = units * loan.share + loan.rest
            loan.rest = part - floor(part)
            self._pay(name, loan, floor(part), now)

    def _pay_defaulted(self, debtor: Debtor, name: str, units: int, now: int) -> None:
        for loan in debtor.loans:
            if loan.state == "defaulted":
                units -= self._pay(name, loan, units, now)

    def _pay(self, name: str, loan: Loan, units: int, now: int) -> int:
        principal = min(units, loan.principal - loan.repaid)
        interest = min(units - principal, loan.interest - loan.paid)
        if principal + interest == 0:
            return 0
        self._move(name, -(principal + interest))
        account = self._account(name)
        account.debt += principal
        account.interest += interest
        loan.repaid += principal
        loan.paid += interest
        if loan.lender:
            lender = self._account(loan.lender)
            lender.receivable += interest
            lender.interest -= interest
            self._credit(loan.lender, principal + interest, now)
        return principal + interest

    def _credit(self, name: str, units: int, now: int) -> None:
        bucket, account = self.cell.buckets.get(name), self._account(name)
        self._advance(name, now)
        paid = 0
        if bucket is not None and bucket.is_bucket:
            paid = max(0, min(units, bucket.room - floor(bucket.level)))
            if paid:
                self._move(name, paid)
        account.receivable -= paid
        account.waiting += units - paid

    def repay(self, name: str, loan_id: str, units: int, sequence: int, now: int) -> Outcome:
        """Repay out of what the bucket has above its reserve."""
        trial = self._copy()
        found = trial._find(name, loan_id, sequence, now)
        if not isinstance(found, Loan):
            return found
        bucket = trial.cell.buckets.get(name)
        spare = floor(bucket.level) - bucket.limit.reserve if bucket is not None and bucket.is_bucket else 0
        units = min(units, found.owed, spare)
        if units < 1:
            return "refused"
        trial._pay(name, found, units, now)
        found.sequence = sequence
        if not found.owed:
            found.state = "repaid"
            trial._close(name, found)
        self._take_over(trial)
        return "done"

    def cancel(self, name: str, loan_id: str, sequence: int, now: int) -> Outcome:
        """Give back what was not used."""
        trial = self._copy()
        found = trial._find(name, loan_id, sequence, now)
        if not isinstance(found, Loan):
            return found
        bucket, rest = trial.cell.buckets.get(name), found.principal - found.repaid
        if bucket is None or not bucket.is_bucket or found.state != "active" or not rest:
            return "refused"
        if floor(bucket.level) + found.repaid < found.had:
            return "refused"
        trial._move(name, -rest)
        trial._account(name).debt += rest
        if found.lender:
            trial._credit(found.lender, rest, now)
        found.repaid, found.state, found.sequence = found.principal, "cancelled", sequence
        trial._close(name, found)
        self._take_over(trial)
        return "done"

    def write_off(self, name: str, loan_id: str, sequence: int, now: int) -> Outcome:
        """Forgive what is owed."""
        trial = self._copy()
        found = trial._find(name, loan_id, sequence, now)
        if not isinstance(found, Loan):
            return found
        rest = found.principal - found.repaid
        account = trial._account(name)
        account.debt += rest
        account.interest -= rest
        if found.lender:
            lender = trial._account(found.lender)
            lender.receivable -= rest
            lender.interest += rest
        found.state, found.sequence = "written_off", sequence
        trial._close(name, found)
        self._take_over(trial)
        return "done"

    def pay_out(self, now: int) -> None:
        """Pay what waits into lenders that have room."""
        for name, account in list(self.accounts.items()):
            units, account.waiting = account.waiting, 0
            if units:
                self._credit(name, units, now)
        self._end()

    def _find(self, name: str, loan_id: str, sequence: int, now: int) -> Loan | Outcome:
        if loan_id in self.closed:
            return "closed"
        self._serve(name, now)
        if loan_id in self.closed:
            return "closed"
        loan = next((loan for loan in self._loans(name) if loan.id == loan_id), None)
        if loan is None:
            return "unknown"
        return "done_before" if loan.sequence >= sequence else loan

    def _loans(self, name: str) -> Sequence[Loan]:
        debtor = self.debtors.get(name)
        return debtor.loans if debtor is not None else ()

    def _account(self, name: str) -> Account:
        return self.accounts.setdefault(name, Account())

    def _bucket(self, limit: Limit, name: str, now: int) -> Bucket:
        bucket = self.cell.buckets.get(name)
        if bucket is None:
            bucket = self.cell.buckets[name] = self.cell._open(limit, now)
        bucket.advance(limit, now)
        return bucket

    def _advance(self, name: str, now: int) -> None:
        bucket = self.cell.buckets.get(name)
        if bucket is not None and bucket.is_bucket:
            self._before.setdefault(name, _copy(bucket))
            bucket.advance(bucket.limit, now)

    def _move(self, name: str, units: int) -> None:
        """Move units into a bucket; one that is full has no fraction of a unit on top."""
        bucket = self.cell.buckets[name]
        bucket.level += units
        if bucket.level >= bucket.room:
            bucket.level = Fraction(floor(bucket.level))
        self._before[name] = bucket

    def _end(self) -> None:
        self.cell.buckets.update(self._before)
        self._before = {}
        self._forget()

    def _close(self, name: str, loan: Loan) -> None:
        self.closed[loan.id] = loan
        self.debtors[name].loans.remove(loan)
        if not self.debtors[name].loans:
            del self.debtors[name]

    def _forget(self) -> None:
        self.accounts = {name: account for name, account in self.accounts.items() if account.is_kept}

    def _copy(self) -> Books:
        return deepcopy(self)

    def _take_over(self, trial: Books) -> None:
        trial._end()
        self.cell.buckets.clear()
        self.cell.buckets.update(trial.cell.buckets)
        self.debtors, self.accounts, self.closed = trial.debtors, trial.accounts, trial.closed


def _denominator(limit: Limit) -> int:
    return limit.rate.denominator if limit.rate is not None else 1


def _refusal(terms: LoanTerms, bucket: Bucket, lender: Bucket | None, loans: Sequence[Loan]) -> Outcome | None:
    if any(loan.state == "defaulted" for loan in loans):
        return "defaulted"
    if sum((loan.share for loan in loans), Fraction(terms.share, WHOLE)) > 1 or len(loans) >= terms.most_loans:
        return "too_many"
    capacity = bucket.limit.capacity
    debts = sum(loan.principal - loan.repaid for loan in loans)
    held = min(capacity * terms.ratio // WHOLE, MAX_UNITS)
    leased = sum(lease.amount for lease in bucket.leases.values())
    if terms.principal > min(held - capacity - debts, held - floor(bucket.level) - leased):
        return "beyond_ratio"
    if lender is not None and terms.principal > floor(lender.level) - lender.limit.reserve:
        return "lender_short"
    return None
