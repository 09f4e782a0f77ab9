"""How budgets stand: sums of the ledger, by budget and subject, and what they mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from nexus.costs.types import Budget, BudgetState, Standing
from nexus.kit.money import format_nanos, nanos_of

Row = Mapping[str, Any] | asyncpg.Record


@dataclass
class Spend:
    """What one subject of a budget spent in a period."""

    spent: int = 0
    """Nanos of the budget's currency."""
    unconverted: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    unpriced: int = 0


def is_each(budget: Budget) -> bool:
    """Whether each of the scope has the budget by itself."""
    if budget.scope == "tag":
        return "=" not in (budget.subject or "")
    return budget.scope != "organization" and budget.subject is None


def sum_spend(rows: Iterable[Row], budgets: Iterable[Budget]) -> dict[UUID, dict[str, Spend]]:
    """Add the ledger's rows up by budget and subject; '' is the subject of a budget that has one."""
    each = {budget.id: is_each(budget) for budget in budgets}
    found: dict[UUID, dict[str, Spend]] = {budget_id: {} for budget_id in each}
    for row in rows:
        subject = row["subject"] if each[row["id"]] else ""
        spend = found[row["id"]].setdefault(subject, Spend())
        spend.spent += nanos_of(row["spent"] or Decimal(0))
        spend.requests += row["requests"]
        spend.unpriced += row["unpriced"]
        lost = nanos_of(row["unconverted"])
        if lost:
            spend.unconverted[row["currency"]] = spend.unconverted.get(row["currency"], 0) + lost
    for budget_id, is_of_each in each.items():
        if not is_of_each:
            found[budget_id].setdefault("", Spend())
    return found


def amount_nanos(budget: Budget) -> int:
    """Return a budget's amount in nanos."""
    return nanos_of(Decimal(budget.amount))


def crossed(budget: Budget, spent: int) -> list[float]:
    """Return the thresholds that were reached, exactly: 100 % is the amount to the nano."""
    amount = amount_nanos(budget)
    return [share for share in budget.thresholds if spent >= amount * Decimal(str(share))]


def standing_of(
    budget: Budget, subject: str, spend: Spend, *, held: int | None, paused_since: datetime | None
) -> Standing:
    """Say how one subject of a budget stands."""
    amount, spent = amount_nanos(budget), spend.spent
    reached = crossed(budget, spent)
    return Standing(
        subject=subject if is_each(budget) else None,
        state=_state(budget, spent, held or 0, bool(reached), paused_since is not None),
        spent=format_nanos(spent),
        held=None if held is None else format_nanos(held),
        left=format_nanos(max(0, amount - spent - (held or 0))),
        over=format_nanos(max(0, spent - amount)),
        fraction=round(spent / amount, 6),
        crossed=reached,
        requests=spend.requests,
        unpriced=spend.unpriced,
        unconverted={name: format_nanos(nanos) for name, nanos in sorted(spend.unconverted.items())},
        paused_since=paused_since if budget.pauses else None,
    )


def _state(budget: Budget, spent: int, held: int, is_warned: bool, has_refused: bool) -> BudgetState:
    if not budget.is_active:
        return "inactive"
    amount = amount_nanos(budget)
    if budget.pauses and (has_refused or spent + held >= amount):
        return "paused"
    if spent >= amount:
        return "over"
    return "warned" if is_warned else "within"
