"""Budgets that pause calls, as the data plane's snapshot has them, and the limits they are."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil
from uuid import UUID

import msgspec

from nexus.contracts.limit_specs import money_scale
from nexus.contracts.limits import FailurePolicy, Limit, Period, ScopeKind
from nexus.kit.ids import opaque_uuid
from nexus.kit.money import NANOS


class BudgetDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One pausing budget."""

    organization_id: UUID
    budget_id: UUID
    name: str
    scope: ScopeKind
    subject: str | None
    amount: str
    currency: str
    period: Period
    begins_on: date | None
    zone: str
    failure: FailurePolicy
    version: int


def budget_limit(budget: BudgetDocument) -> Limit:
    """Return the limit a budget is; `UnrepresentableLimit` for an amount that cannot be counted to the unit.

    Another amount is the same bucket, which keeps what was spent. Another scope, currency or period is another bucket, which is
    opened from the ledger: what one of them had counted says nothing about the other.
    """
    exact = Fraction(Decimal(budget.amount)) * NANOS
    scale = money_scale(exact)
    shape = (budget.scope, budget.subject, budget.currency, budget.period, budget.begins_on, budget.zone, scale)
    return Limit(
        id=opaque_uuid(f"budget:{budget.budget_id}:{shape}"),
        name=budget.name,
        organization_id=budget.organization_id,
        scope=budget.scope,
        subject=budget.subject,
        dimension="money",
        method="fixed_window",
        capacity=ceil(exact / scale),
        period=budget.period,
        begins_on=budget.begins_on,
        zone=budget.zone,
        failure=budget.failure,
        version=budget.version,
        currency=budget.currency,
        scale=scale,
        is_budget=True,
    )


def ledger_units(nanos: int, limit: Limit) -> int:
    """Return what an amount of the limit's own currency is in its units, rounded up."""
    return -(-nanos // limit.scale)


def bucket_name(limit: Limit, subject: str) -> str:
    """Return the name of the bucket of one subject of a budget's limit; '' for the subject of a budget that has one."""
    return f"{limit.id.hex}:{subject}" if subject else limit.id.hex
