"""What borrowing answers with. Amounts are the bucket's units: micro-operations, nano-money (or `scale` of them), else counts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from nexus.contracts.limits import Dimension, Limit, ScopeKind
from nexus.dataplane.decide.lending import LoanState

LendsFrom = Literal["own_future", "application", "any"]


class BorrowingRule(msgspec.Struct, frozen=True):
    """Which buckets may borrow, from whom, on what terms."""

    id: UUID
    name: str
    application_id: UUID | None
    application: str | None
    """Whose buckets may borrow; None: every bucket of the organization."""
    lends_from: LendsFrom
    lender_application_id: UUID | None
    lender_application: str | None
    max_ratio: str
    interest_rate: str
    max_seconds: int
    repay_share: str
    """Of what the borrower refills."""
    most_loans: int
    """Open at once, of one bucket."""
    is_active: bool
    created_at: datetime


class Party(msgspec.Struct, frozen=True):
    """A bucket that may lend or borrow."""

    bucket: str
    limit: str
    scope: ScopeKind
    subject: str
    dimension: Dimension
    currency: str
    scale: int
    capacity: int
    available: int
    """Units it has now."""
    reserve: int


class Loan(msgspec.Struct, frozen=True):
    """A loan as it stood when Redis was last asked, a second ago or so."""

    id: UUID
    rule_id: UUID | None
    borrower: str
    lender: str | None
    """None: the borrower's own future."""
    state: LoanState
    principal: int
    interest: int
    repaid: int
    interest_paid: int
    share: int
    """Of what the borrower refills, in thousandths."""
    sequence: int
    reason: str
    requested_by: str
    granted_at: datetime
    due_at: datetime
    defaulted_at: datetime | None
    ended_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether anything is owed."""
        return self.ended_at is None


class LoanOffer(msgspec.Struct, frozen=True):
    """What a loan would cost, before it is asked for."""

    rule_id: UUID
    rule: str
    principal: int
    interest: int
    owed: int
    interest_rate: str
    repay_share: str
    seconds: int
    due_at: datetime
    repaid_after_seconds: int
    """By its share of refill alone, if the rate stays."""
    will_default: bool
    """That is later than it is due: it has to be repaid by hand, or the whole refill goes to it from then on."""
    most: int
    """The most the bucket may come to owe by this rule, when it owes nothing."""


class Bucket(msgspec.Struct, frozen=True):
    """A bucket by its name, with its limit."""

    limit: Limit
    name: str
    subject: str

    @property
    def application(self) -> str:
        """Whose it is; '' where it is no application's."""
        return self.subject if self.limit.scope == "application" else ""


class Terms(msgspec.Struct, frozen=True):
    """What is in force for one loan: the rule's terms, where the system's configuration is not stricter."""

    rule: BorrowingRule
    ratio: Decimal
    interest_rate: Decimal
    seconds: int
    share: Decimal
