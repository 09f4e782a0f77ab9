"""Costs' use cases: budgets are made, changed, tried; how they stand, who spends them; exchange rates are taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from nexus.contracts.limit_specs import known_zone
from nexus.contracts.limits import UnrepresentableLimit
from nexus.costs import store
from nexus.costs.counters import limit_of
from nexus.costs.errors import UnknownBudget
from nexus.costs.forecast import forecast
from nexus.costs.periods import period_of, step_of, steps
from nexus.costs.rates import read_rates
from nexus.costs.standings import Spend, amount_nanos, is_each, standing_of, sum_spend
from nexus.costs.types import (
    DEFAULT_THRESHOLDS,
    Breakdown,
    BreakdownGroup,
    Budget,
    BudgetChange,
    BudgetDetail,
    BudgetEvent,
    BudgetNew,
    BudgetStanding,
    FieldChange,
    Preview,
    RatesImported,
    SpendPoint,
    Standing,
)
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.kit.money import format_nanos, nanos_of
from nexus.metering import service as metering
from nexus.metering.errors import RangeNoLongerKept, RangeTooLong
from nexus.metering.types import Filter, Question
from nexus.platform.db import Connection

MOST_SUBJECTS = 100
Held = Mapping[str, int]
"""What calls in flight hold, in nanos, by subject; None where the limiter does not answer, or nothing is held by it."""
_FIELDS = (
    "name", "description", "scope", "subject", "amount", "currency", "period", "begins_on", "zone", "thresholds", "pauses",
    "failure", "is_active",
)  # fmt: skip


async def get_budget(connection: Connection, budget_id: UUID) -> Budget:
    """Return a budget of the organization."""
    found = await store.many(connection, Budget, "list_budgets", budget_id, None, 1, True)
    if not found:
        raise UnknownBudget
    return found[0]


async def draft(connection: Connection, organization_id: UUID, new: BudgetNew, *, author: str, at: datetime) -> Budget:
    """Return the budget that would be made: what was left out filled in, everything checked."""
    defaults = (await store.rows(connection, "organization_defaults", organization_id))[0]
    thresholds = DEFAULT_THRESHOLDS if new.thresholds is None else new.thresholds
    budget = Budget(
        id=uuid7(), name=new.name, description=new.description, scope=new.scope, subject=new.subject, amount=new.amount,
        currency=new.currency or defaults["currency"], period=new.period, begins_on=new.begins_on,
        zone=new.zone or defaults["reporting_zone"], thresholds=_tidy(thresholds), pauses=new.pauses, failure=new.failure,
        is_active=True, version=1, reason=new.reason, author=author, created_at=at, updated_at=at,
    )  # fmt: skip
    await _check(connection, organization_id, budget)
    return budget


async def changed(
    connection: Connection, organization_id: UUID, budget: Budget, change: BudgetChange, *, author: str, at: datetime
) -> Budget:
    """Return a budget as it would be after a change, everything checked."""
    given = {name: getattr(change, name) for name in _FIELDS if getattr(change, name) is not msgspec.UNSET}
    if "thresholds" in given:
        given["thresholds"] = _tidy(given["thresholds"])
    after = msgspec.structs.replace(
        budget, **given, reason=change.reason, author=author, updated_at=at, version=budget.version + 1
    )
    await _check(connection, organization_id, after)
    return after


def _tidy(thresholds: Sequence[float]) -> list[float]:
    return sorted({round(share, 4) for share in thresholds})


async def _check(connection: Connection, organization_id: UUID, budget: Budget) -> None:
    faults = _subject_faults(budget)
    if not known_zone(budget.zone) or not await store.value(connection, "known_zone", budget.zone):
        faults.append(FieldFault("zone", "give the name of a time zone, such as Europe/Zurich"))
    if budget.begins_on is not None and not 1970 <= budget.begins_on.year < 2200:
        faults.append(FieldFault("begins_on", "give a day between 1970 and 2200"))
    if any(share <= 0 for share in budget.thresholds):
        faults.append(FieldFault("thresholds", "give fractions of at least 0.0001: 0.5 is a half"))
    if amount_nanos(budget) <= 0:
        faults.append(FieldFault("amount", "give an amount of more than nothing"))
    elif not faults:
        try:
            limit_of(organization_id, budget)
        except UnrepresentableLimit:
            faults.append(FieldFault("amount", "give at most 9007199254"))
    if faults:
        raise InvalidRequest(f"{faults[0].field}: {faults[0].message}", faults=faults)


def _subject_faults(budget: Budget) -> list[FieldFault]:
    subject, scope = budget.subject, budget.scope
    message = ""
    if scope == "organization":
        message = "an organization's budget has no subject: leave it out" if subject is not None else ""
    elif scope == "tag":
        name = (subject or "").partition("=")[0]
        if not 0 < len(name) <= 64:
            message = "give a tag as name=value, or its name alone for each of its values"
    elif scope in {"key", "user"} and subject is not None:
        try:
            is_plain = str(UUID(subject)) == subject
        except ValueError:
            is_plain = False
        # Users that are nobody's account are names in the ledger, and no call is held against a name.
        if not is_plain and (scope == "key" or budget.pauses):
            message = f"give the id of {'an access key' if scope == 'key' else 'a user'}: a UUID in small letters"
    return [FieldFault("subject", message)] if message else []


async def create(connection: Connection, organization_id: UUID, new: BudgetNew, *, author: str, at: datetime) -> Budget:
    """Make a budget; one that pauses is in force everywhere within a second, from what was spent already."""
    made = await draft(connection, organization_id, new, author=author, at=at)
    await store.run(
        connection, "insert_budget", organization_id, made.id, made.name, made.description, made.scope, made.subject,
        Decimal(made.amount), made.currency, made.period, made.begins_on, made.zone,
        [Decimal(str(share)) for share in made.thresholds], made.pauses, made.failure, made.reason, made.author, at,
    )  # fmt: skip
    return await get_budget(connection, made.id)


async def update(
    connection: Connection, organization_id: UUID, budget_id: UUID, change: BudgetChange, *, author: str, at: datetime
) -> Budget:
    """Change a budget. Another amount keeps what was spent; another scope or period counts the ledger anew."""
    # Changes of one budget come one after another, each with a version of its own.
    await store.value(connection, "lock_budget", budget_id)
    after = await changed(
        connection, organization_id, await get_budget(connection, budget_id), change, author=author, at=at
    )
    await store.run(
        connection, "update_budget", budget_id, after.name, after.description, after.scope, after.subject,
        Decimal(after.amount), after.currency, after.period, after.begins_on, after.zone,
        [Decimal(str(share)) for share in after.thresholds], after.pauses, after.failure, after.is_active, after.reason,
        author, at,
    )  # fmt: skip
    return await get_budget(connection, budget_id)


def differences(before: Budget | None, after: Budget) -> list[FieldChange]:
    """Say field by field what differs; of a budget that is not there yet nothing does."""
    if before is None:
        return []
    found = []
    for name in _FIELDS:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            found.append(FieldChange(name, _plain(old), _plain(new)))
    return found


def _plain(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


async def spend_of(
    connection: Connection, organization_id: UUID, budgets: Sequence[Budget], at: datetime
) -> dict[UUID, dict[str, Spend]]:
    """Return what budgets have spent in the period that holds an instant, by subject: one question for all."""
    asked = [(organization_id, budget, *period_of(budget, at), step_of(budget)) for budget in budgets]
    return sum_spend(await store.spend(connection, asked), budgets)


async def _pauses(connection: Connection, budgets: Sequence[Budget], at: datetime) -> dict[tuple[UUID, str], datetime]:
    pausing = [budget for budget in budgets if budget.pauses]
    if not pausing:
        return {}
    starts = [period_of(budget, at)[0] for budget in pausing]
    found = await store.rows(connection, "pauses", [budget.id for budget in pausing], starts)
    return {(row["budget_id"], row["subject"]): row["occurred_at"] for row in found}


async def standings(
    connection: Connection,
    organization_id: UUID,
    budgets: Sequence[Budget],
    at: datetime,
    held: Mapping[UUID, Held],
) -> list[BudgetStanding]:
    """Return how budgets stand at an instant. `held` is by budget; what is missing from it is not known."""
    spent = await spend_of(connection, organization_id, budgets, at)
    paused = await _pauses(connection, budgets, at)
    answers = []
    for budget in budgets:
        found = _ranked(budget, spent[budget.id], held.get(budget.id), paused)
        starts, ends = period_of(budget, at)
        answers.append(
            BudgetStanding(
                budget=budget, period_starts_at=starts, period_ends_at=ends, as_of=at, subjects=len(spent[budget.id]),
                standing=found[0] if found else standing_of(budget, "", Spend(), held=None, paused_since=None),
            )
        )  # fmt: skip
    return answers


def _ranked(
    budget: Budget, spent: Mapping[str, Spend], held: Held | None, paused: Mapping[tuple[UUID, str], datetime]
) -> list[Standing]:
    found = [
        standing_of(
            budget, subject, spend, held=None if held is None else held.get(subject, 0),
            paused_since=paused.get((budget.id, subject)),
        )
        for subject, spend in spent.items()
    ]  # fmt: skip
    return sorted(found, key=lambda item: (-item.fraction, item.subject or ""))


async def detail(
    connection: Connection,
    organization_id: UUID,
    budget: Budget,
    *,
    subject: str | None,
    at: datetime,
    now: datetime,
    held: Held | None,
) -> BudgetDetail:
    """Return all that a budget's page shows of the period that holds an instant; of one subject where each has it by itself."""
    starts, ends = period_of(budget, at)
    is_running = starts <= now < ends
    spent = (await spend_of(connection, organization_id, [budget], at))[budget.id]
    paused = await _pauses(connection, [budget], at)
    ranked = _ranked(budget, spent, held if is_running else None, paused)
    wanted = None
    if is_each(budget):
        wanted = subject if subject is not None else (ranked[0].subject if ranked else None)
    standing = next((item for item in ranked if item.subject == wanted), None)
    if standing is None:
        standing = standing_of(budget, wanted or "", Spend(), held=None, paused_since=None)
    by_step = {
        row["at"]: nanos_of(row["spent"] or Decimal(0))
        for row in await store.rows(
            connection, "spend_by_step", organization_id, budget.scope, budget.subject, budget.currency, starts, ends,
            budget.zone, step_of(budget), wanted if is_each(budget) else None,
        )
    }  # fmt: skip
    if is_each(budget) and wanted is None:
        by_step = {}
    points, known, total = [], [], 0
    for name, begins, stops in steps(budget, starts, ends):
        if begins > now:
            break
        nanos = by_step.get(name, 0)
        total += nanos
        known.append((begins, stops, nanos))
        points.append(SpendPoint(begins, format_nanos(nanos), format_nanos(total)))
    expected = None
    if is_running:
        expected = forecast(
            step=step_of(budget), points=known, spent=total, amount=amount_nanos(budget), ends_at=ends, now=now
        )
    return BudgetDetail(
        budget=budget, period_starts_at=starts, period_ends_at=ends, as_of=now, standing=standing, step=step_of(budget),
        points=points, forecast=expected, subjects=ranked[:MOST_SUBJECTS] if is_each(budget) else [],
    )  # fmt: skip


async def preview(
    connection: Connection, organization_id: UUID, before: Budget | None, after: Budget, at: datetime
) -> Preview:
    """Say what a budget would be: its period, what of it is spent already, what differs from before."""
    spent = (await spend_of(connection, organization_id, [after], at))[after.id]
    ranked = _ranked(after, spent, None, {})
    standing = ranked[0] if ranked else standing_of(after, "", Spend(), held=None, paused_since=None)
    starts, ends = period_of(after, at)
    return Preview(
        period_starts_at=starts, period_ends_at=ends, standing=standing, changes=differences(before, after),
        will_pause=standing.state == "paused",
    )  # fmt: skip


async def breakdown(
    connection: Connection, organization_id: UUID, budget: Budget, *, by: str, subject: str | None, at: datetime
) -> Breakdown:
    """Say who spends a budget in the period that holds an instant, by a dimension of the meter. Needs a snapshot.

    Two dimensions that the rollups do not keep together are answered for a day at most, and otherwise with the reason.
    """
    starts, ends = period_of(budget, at)
    question = Question(
        start=starts, end=ends, group_by=(by,), filters=_filters(budget, subject),
        metrics=frozenset({"requests", "cost", "unpriced"}),
    )  # fmt: skip
    try:
        counted = await metering.count(connection, organization_id, question)
    except (RangeTooLong, RangeNoLongerKept) as error:
        return Breakdown(by, [], error.detail)
    groups = []
    for (values, _), tally in counted.tallies.items():
        own = tally.costs.get(budget.currency, 0)
        other = {
            name: format_nanos(nanos)
            for name, nanos in sorted(tally.costs.items())
            if name != budget.currency and nanos
        }
        value = values[0]
        groups.append(
            (own, BreakdownGroup(None if value in {None, ""} else str(value), format_nanos(own), other,
                                 tally.sums["requests"], tally.sums["unpriced"]))
        )  # fmt: skip
    groups.sort(key=lambda item: (-item[0], -item[1].requests, item[1].value or ""))
    return Breakdown(by, [group for _, group in groups[:MOST_SUBJECTS]])


def _filters(budget: Budget, subject: str | None) -> tuple[Filter, ...]:
    if budget.scope == "organization":
        return ()
    if budget.scope == "tag":
        name, is_one, value = (budget.subject or "").partition("=")
        chosen = value if is_one else subject
        return () if chosen is None else (Filter(f"tag:{name}", (chosen,)),)
    wanted = budget.subject if budget.subject is not None else subject
    if wanted is None:
        return ()
    return (Filter(budget.scope, (UUID(wanted) if budget.scope == "key" else wanted,)),)


async def events(
    connection: Connection, budget_id: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> list[BudgetEvent]:
    """Return a budget's events, newest first."""
    await get_budget(connection, budget_id)
    return await store.many(connection, BudgetEvent, "list_events", budget_id, *(before or (None, None)), limit)


async def import_rates(
    connection: Connection, organization_id: UUID | None, content: str, *, source: str, author: str
) -> RatesImported:
    """Take a list of exchange rates in: for one organization, or shared by all. The same again changes nothing."""
    rates = read_rates(content)
    added, differing = await store.put_rates(connection, organization_id, rates, source, author)
    days = [rate.rated_on for rate in rates]
    done = RatesImported(
        len(rates), added, differing, min(days), max(days),
        sorted({rate.base for rate in rates} | {rate.quote for rate in rates}),
    )  # fmt: skip
    await store.value(connection, "record_rates", {"source": source, **msgspec.to_builtins(done)})
    return done
