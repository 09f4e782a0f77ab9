"""Use cases of borrowing: rules, what a loan would cost, granting, repaying, cancelling, writing off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from math import ceil
from typing import Any
from uuid import UUID

from nexus.admission import store
from nexus.admission.errors import (
    LoanEnded,
    LoanRefused,
    NoBorrowingRule,
    UnknownBorrowingRule,
    UnknownBucket,
    UnknownLoan,
)
from nexus.admission.loans.types import BorrowingRule, Bucket, Loan, LoanOffer, Party, Terms
from nexus.admission.types import BucketStatus
from nexus.contracts.limits import Limit, LimitTable
from nexus.dataplane.decide.lending import (
    MOST_OWED,
    WHOLE,
    Lending,
    LoanAction,
    LoanAnswer,
    LoanRecord,
    LoanTerms,
    Outcome,
    interest_of,
)
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection
from nexus.platform.db.configuration import get_configuration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_RULES = 1000
Change = Callable[[Loan], Awaitable[LoanAnswer]]


def instant(microseconds: int) -> datetime:
    """Return the instant so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


async def get_rule(connection: Connection, rule_id: UUID) -> BorrowingRule:
    """Return a rule."""
    found = await store.many(connection, BorrowingRule, "list_borrowing_rules", rule_id, None, 1)
    if not found:
        raise UnknownBorrowingRule
    return found[0]


async def create_rule(connection: Connection, organization_id: UUID, fields: Mapping[str, Any]) -> BorrowingRule:
    """Add a rule; what it does not say is the system's configuration."""
    if (fields["lends_from"] == "application") != (fields["lender_application_id"] is not None):
        raise InvalidRequest(
            "lender_application_id: name it where lends_from is application, and only there",
            faults=[FieldFault("lender_application_id", "say which application lends")],
        )
    settings = await get_configuration(connection)
    rule_id = uuid7()
    await store.run(
        connection, "insert_borrowing_rule", organization_id, rule_id, fields["name"], fields["application_id"],
        fields["lends_from"], fields["lender_application_id"],
        _number("max_ratio", fields["max_ratio"], settings.exact("admission.max_borrow_ratio"), above=Decimal(1)),
        _number(
            "interest_rate", fields["interest_rate"], settings.exact("admission.default_interest_rate"), most=Decimal(10)
        ),
        fields["max_seconds"] or settings.integer("admission.max_borrow_duration_seconds"),
        _number(
            "repay_share", fields["repay_share"], settings.exact("admission.default_repay_share"), above=Decimal(0),
            most=Decimal(1),
        ),
        fields["most_loans"],
    )  # fmt: skip
    return await get_rule(connection, rule_id)


async def update_rule(connection: Connection, rule_id: UUID, fields: Mapping[str, Any]) -> BorrowingRule:
    """Change what is given of a rule; loans that were granted keep their terms."""
    await store.run(
        connection, "update_borrowing_rule", rule_id, _given("max_ratio", fields, above=Decimal(1)),
        _given("interest_rate", fields, most=Decimal(10)), fields["max_seconds"],
        _given("repay_share", fields, above=Decimal(0), most=Decimal(1)), fields["most_loans"], fields["is_active"],
    )  # fmt: skip
    return await get_rule(connection, rule_id)


def _given(
    name: str, fields: Mapping[str, Any], *, above: Decimal = Decimal(-1), most: Decimal = Decimal(100)
) -> Decimal | None:
    return _number(name, fields[name], None, above=above, most=most) if fields[name] is not None else None


def _number(
    name: str, text: str | None, default: Decimal | None, *, above: Decimal = Decimal(-1), most: Decimal = Decimal(100)
) -> Decimal:
    value = Decimal(text) if text is not None else default
    assert value is not None
    if not above < value <= most:
        message = f"give more than {above} and at most {most}" if above >= 0 else f"give at most {most}"
        raise InvalidRequest(f"{name}: {message}", faults=[FieldFault(name, message)])
    return value


def _lends(limit: Limit) -> bool:
    """Whether units of a limit may move: it refills, and they are not of a capacity that belongs to others too."""
    return limit.rate is not None and limit.share is None


def find_bucket(table: LimitTable, organization_id: UUID, name: str, field: str) -> Bucket:
    """Return the bucket of a name, where a limit in force that refills has it."""
    limit_id, _, whose = name.partition(":")
    for limit in table.limits.get(organization_id, ()):
        is_each = limit.subject is None and limit.scope != "organization"
        if limit.id.hex == limit_id and _lends(limit) and bool(whose) == is_each:
            return Bucket(limit, name, whose or limit.subject or "")
    raise UnknownBucket(faults=[FieldFault(field, "see /api/admission/loans/parties")])


def parties(table: LimitTable, organization_id: UUID, standing: Sequence[BucketStatus]) -> list[Party]:
    """Return the buckets that may lend or borrow: those of limits for one subject, and those that are in use."""
    limits = {limit.id.hex: limit for limit in table.limits.get(organization_id, ()) if _lends(limit)}
    levels = {item.bucket: item.available for item in standing}
    names = {name for name in levels if name.partition(":")[0] in limits}
    names |= {key for key, limit in limits.items() if limit.subject is not None or limit.scope == "organization"}
    found = [(limits[name.partition(":")[0]], name) for name in names]
    return sorted(
        (
            Party(
                name, limit.name, limit.scope, name.partition(":")[2] or limit.subject or "", limit.dimension,
                limit.currency, limit.scale, limit.capacity, levels.get(name, limit.capacity), limit.reserve,
            )
            for limit, name in found
        ),
        key=lambda item: (item.subject, item.limit, item.bucket),
    )  # fmt: skip


def _matches(rule: BorrowingRule, borrower: Bucket, lender: Bucket | None) -> bool:
    if not rule.is_active or (rule.application is not None and rule.application != borrower.application):
        return False
    if lender is None:
        return rule.lends_from == "own_future"
    return rule.lends_from == "any" or (
        rule.lends_from == "application" and rule.lender_application == lender.application
    )


def choose_rule(rules: Iterable[BorrowingRule], borrower: Bucket, lender: Bucket | None) -> BorrowingRule:
    """Return the rule that holds for a loan: that of the borrower's application before everybody's, that of the one lender
    before any's, then the older one."""
    found = [rule for rule in rules if _matches(rule, borrower, lender)]
    if not found:
        whose = borrower.application or "this bucket"
        source = "its own future" if lender is None else lender.application or "that bucket"
        raise NoBorrowingRule(
            f"no borrowing rule lets {whose} borrow from {source}: add one first",
            faults=[FieldFault("lender" if lender is not None else "borrower", "see /api/admission/borrowing-rules")],
        )
    return min(
        found, key=lambda rule: (rule.application is None, rule.lends_from == "any", rule.created_at, str(rule.id))
    )


async def terms_for(connection: Connection, borrower: Bucket, lender: Bucket | None, seconds: int | None) -> Terms:
    """Return the terms in force for a loan: the rule's, where the system's configuration is not stricter."""
    if lender is not None:
        _check_alike(borrower, lender)
    rules = await store.many(connection, BorrowingRule, "list_borrowing_rules", None, None, _MOST_RULES)
    rule = choose_rule(rules, borrower, lender)
    settings = await get_configuration(connection)
    longest = min(rule.max_seconds, settings.integer("admission.max_borrow_duration_seconds"))
    if seconds is not None and seconds > longest:
        message = f"give at most {longest} seconds"
        raise InvalidRequest(f"seconds: {message}", faults=[FieldFault("seconds", message)])
    return Terms(
        rule, min(Decimal(rule.max_ratio), settings.exact("admission.max_borrow_ratio")), Decimal(rule.interest_rate),
        seconds or longest, Decimal(rule.repay_share),
    )  # fmt: skip


def _check_alike(borrower: Bucket, lender: Bucket) -> None:
    mine, theirs = borrower.limit, lender.limit
    if borrower.name == lender.name:
        raise InvalidRequest(
            "a bucket lends nothing to itself: leave lender out to borrow from its own future",
            faults=[FieldFault("lender", "leave it out")],
        )
    if (mine.dimension, mine.scale, mine.currency) != (theirs.dimension, theirs.scale, theirs.currency):
        raise InvalidRequest(
            f"{lender.limit.name} counts {theirs.dimension}, {borrower.limit.name} counts {mine.dimension}",
            faults=[FieldFault("lender", "name a bucket that counts the same")],
        )


def _thousandths(value: Decimal) -> int:
    return int((value * WHOLE).to_integral_value(ROUND_FLOOR))


def offer(terms: Terms, borrower: Bucket, principal: int, now: datetime) -> LoanOffer:
    """Say what a loan costs: interest in whole units, when it is due, and when its share of refill will have repaid it."""
    interest = interest_of(principal, Fraction(terms.interest_rate))
    if principal + interest > MOST_OWED:
        raise InvalidRequest("units: that is too much", faults=[FieldFault("units", "give less")])
    rate = borrower.limit.rate
    assert rate is not None
    pace = Fraction(rate.numerator, rate.denominator) * 1_000_000 * Fraction(_thousandths(terms.share), WHOLE)
    after = ceil((principal + interest) / pace)
    ratio = _thousandths(terms.ratio)
    return LoanOffer(
        terms.rule.id, terms.rule.name, principal, interest, principal + interest, str(terms.interest_rate),
        str(terms.share), terms.seconds, now + timedelta(seconds=terms.seconds), after, after > terms.seconds,
        borrower.limit.capacity * (ratio - WHOLE) // WHOLE,
    )  # fmt: skip


async def borrow(
    connection: Connection, lending: Lending, organization_id: UUID, borrower: Bucket, lender: Bucket | None, terms: Terms,
    *, principal: int, reason: str, requested_by: str, now: datetime,
) -> Loan:  # fmt: skip
    """Grant a loan, recorded in the caller's transaction; should that fail, the worker records it from Redis."""
    cost = offer(terms, borrower, principal, now)
    asked = LoanTerms(
        id=uuid7().hex, borrower=borrower.limit, borrower_bucket=borrower.name,
        lender=lender.limit if lender is not None else None, lender_bucket=lender.name if lender is not None else "",
        principal=principal, interest=cost.interest, share=_thousandths(terms.share),
        duration_us=terms.seconds * 1_000_000, ratio=_thousandths(terms.ratio), most_loans=terms.rule.most_loans,
    )  # fmt: skip
    answer = await lending.borrow(organization_id, asked)
    record = answer.loan(asked.id)
    if answer.outcome != "done" or record is None:
        raise _refusal(answer.outcome, answer.units)
    await insert(
        connection,
        organization_id,
        borrower.name,
        record,
        rule_id=terms.rule.id,
        reason=reason,
        requested_by=requested_by,
    )
    await tell(connection, organization_id, answer.loans, now)
    await record_action(
        connection, "loan.granted", record.id,
        {"borrower": borrower.name, "lender": record.lender or None, "principal": principal, "interest": record.interest,
         "reason": reason},
    )  # fmt: skip
    return await get_loan(connection, UUID(hex=record.id))


def _refusal(outcome: Outcome, units: int) -> LoanRefused:
    field, message = {
        "defaulted": ("borrower", "it has a defaulted loan, which is repaid first, or written off"),
        "beyond_ratio": ("units", f"it may have and owe {units} units more by borrowing"),
        "lender_short": ("units", f"the lender has {units} units above its reserve"),
        "too_many": ("borrower", "it has as many loans at once as it may, or its whole refill is promised already"),
    }.get(outcome, ("borrower", "its limit does not refill any more"))
    return LoanRefused(f"{field}: {message}", faults=[FieldFault(field, message)], reason=outcome)


async def insert(
    connection: Connection, organization_id: UUID, borrower: str, record: LoanRecord, *, rule_id: UUID | None, reason: str,
    requested_by: str,
) -> int:  # fmt: skip
    """Record a loan that Redis has granted, once; returns how many were."""
    return await store.run(
        connection, "insert_loan", organization_id, UUID(hex=record.id), rule_id, borrower, record.lender or None,
        record.principal, record.interest, record.share, record.had, reason, requested_by, instant(record.granted),
        instant(record.due),
    )  # fmt: skip


async def tell(
    connection: Connection, organization_id: UUID, records: Sequence[LoanRecord], now: datetime
) -> list[Any]:
    """Record how loans stand; returns those whose state changed. One that defaults is an event in the audit log, once."""
    if not records:
        return []
    rows = await store.rows(
        connection, "update_loans", [UUID(hex=item.id) for item in records], [item.state for item in records],
        [item.repaid for item in records], [item.paid for item in records], [item.rest for item in records],
        [item.sequence for item in records], organization_id, now,
    )  # fmt: skip
    changed = [row for row in rows if row["state"] != row["before"]]
    for row in changed:
        if row["state"] == "defaulted":
            detail = {"borrower": row["borrower"], "lender": row["lender"], "owed": row["owed"]}
            await record_action(connection, "loan.defaulted", row["id"].hex, detail)
    return changed


async def record_action(connection: Connection, action: str, loan_id: str, detail: Mapping[str, object]) -> None:
    """Write into the audit log what was done to a loan."""
    await store.rows(connection, "record_loan_action", action, str(UUID(hex=loan_id)), dict(detail))


async def get_loan(connection: Connection, loan_id: UUID) -> Loan:
    """Return a loan."""
    found = await store.many(connection, Loan, "list_loans", loan_id, None, None, 1)
    if not found:
        raise UnknownLoan
    return found[0]


async def change(
    connection: Connection, organization_id: UUID, loan_id: UUID, action: LoanAction, work: Change, now: datetime, reason: str
) -> Loan:  # fmt: skip
    """Repay, cancel or write off a loan: one such request for it after another."""
    if not await store.rows(connection, "lock_loan", loan_id):
        raise UnknownLoan
    loan = await get_loan(connection, loan_id)
    if not loan.is_open:
        raise LoanEnded(f"it was {loan.state.replace('_', ' ')} before: nothing is owed any more")
    answer = await work(loan)
    if answer.outcome == "refused":
        message = (
            "the bucket has nothing above its reserve to repay with: wait until it has refilled"
            if action == "repay"
            else "what was borrowed has been used: repay it instead"
        )
        raise LoanRefused(message, faults=[FieldFault("loan_id", message)], reason=answer.outcome)
    records = list(answer.loans)
    if answer.outcome == "unknown":
        if action != "write_off":
            raise LoanRefused("Redis has lost this loan: only writing it off is left", reason=answer.outcome)
        records = [_forgotten(loan)]
    await tell(connection, organization_id, records, now)
    if answer.outcome in {"done", "unknown"}:
        await record_action(
            connection,
            f"loan.{action}",
            loan.id.hex,
            {"borrower": loan.borrower, "units": answer.units, "reason": reason},
        )
    return await get_loan(connection, loan_id)


def _forgotten(loan: Loan) -> LoanRecord:
    return LoanRecord(
        loan.id.hex, loan.lender or "", "written_off", loan.principal, loan.interest, loan.repaid, loan.interest_paid,
        loan.share, 0, 0, 0, 0, loan.sequence + 1,
    )  # fmt: skip
