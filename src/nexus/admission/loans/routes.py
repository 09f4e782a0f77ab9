"""`/api/admission/borrowing-rules` and `/api/admission/loans`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from redis.exceptions import RedisError

from nexus.admission import buckets, store
from nexus.admission.errors import LimiterUnavailable
from nexus.admission.loans import service
from nexus.admission.loans.types import BorrowingRule, Bucket, LendsFrom, Loan, LoanOffer, Party
from nexus.admission.routes import Name
from nexus.admission.view_routes import limits_in_force
from nexus.dataplane.decide.breaker import LimiterAway
from nexus.dataplane.decide.lending import MOST_OWED, Lending, LoanAction, LoanAnswer
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.platform.web import Page, check_limit, decode_cursor, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
Number = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?$")]
Rate = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,2}(\.[0-9]{1,4})?$")]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
AtOnce = Annotated[int, msgspec.Meta(ge=1, le=100)]
Units = Annotated[int, msgspec.Meta(ge=1, le=MOST_OWED)]
BucketName = Annotated[str, msgspec.Meta(min_length=1, max_length=600, pattern=r"^[^\x00]+$")]
Reason = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]


class BorrowingRuleNew(msgspec.Struct, forbid_unknown_fields=True):
    """A rule to add; terms that are left out are the system configuration's."""

    name: Name
    lends_from: LendsFrom
    application_id: UUID | None = None
    lender_application_id: UUID | None = None
    max_ratio: Number | None = None
    interest_rate: Rate | None = None
    max_seconds: Seconds | None = None
    repay_share: Number | None = None
    most_loans: AtOnce = 2


class BorrowingRuleChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a rule; what is left out stays."""

    max_ratio: Number | None = None
    interest_rate: Rate | None = None
    max_seconds: Seconds | None = None
    repay_share: Number | None = None
    most_loans: AtOnce | None = None
    is_active: bool | None = None


class LoanQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A loan to ask for, or to ask what it costs. Without a lender it is from the bucket's own future."""

    borrower: BucketName
    units: Units
    lender: BucketName | None = None
    seconds: Seconds | None = None
    """Until it is due; left out, as long as may be."""
    reason: Reason = ""


class Repayment(msgspec.Struct, forbid_unknown_fields=True):
    """How much to repay at most; left out, all that is owed."""

    units: Units | None = None


class WriteOff(msgspec.Struct, forbid_unknown_fields=True):
    """Why what is owed is forgiven."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]


class LoanDesk:
    """Where loans are granted; a process without a data plane has none."""

    def __init__(self, lending: Lending | None = None) -> None:
        self.lending = lending


def _lending(request: AnyRequest) -> Lending:
    lending = web_state(request).part(LoanDesk, LoanDesk).lending
    if lending is None:
        raise LimiterUnavailable
    return lending


class _RedisAway:
    """Says that Redis does not answer, of whatever way it does not."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (RedisError, OSError, TimeoutError, LimiterAway)):
            raise LimiterUnavailable(retry_after_seconds=1) from error


def _both(request: AnyRequest, data: LoanQuestion) -> tuple[Bucket, Bucket | None]:
    table, organization_id = limits_in_force(request).table(), organization_of(request)
    borrower = service.find_bucket(table, organization_id, data.borrower, "borrower")
    lender = service.find_bucket(table, organization_id, data.lender, "lender") if data.lender is not None else None
    return borrower, lender


@get("/borrowing-rules", guards=[requires("quota:read")])
async def list_rules(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[BorrowingRule]:
    """List borrowing rules."""
    check_limit(limit)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.many(db, BorrowingRule, "list_borrowing_rules", None, id_of(cursor), limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/borrowing-rules", guards=[requires("quota:create")])
async def create_rule(request: AnyRequest, data: JSONBody[BorrowingRuleNew]) -> BorrowingRule:
    """Let buckets borrow."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_rule(db, organization_id, msgspec.structs.asdict(data))


@patch("/borrowing-rules/{rule_id:uuid}", guards=[requires("quota:update")])
async def update_rule(
    request: AnyRequest, rule_id: FromPath[UUID], data: JSONBody[BorrowingRuleChange]
) -> BorrowingRule:
    """Change the terms of a rule, or put it out of force; loans keep the terms they were granted on."""
    async with web_state(request).database.tenant(organization_of(request), actor_of(request)) as db:
        return await service.update_rule(db, rule_id, msgspec.structs.asdict(data))


@get("/loans", guards=[requires("quota:read")])
async def list_loans(
    request: AnyRequest,
    which: FromQuery[Literal["open", "ended"] | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[Loan]:
    """List loans, newest first."""
    check_limit(limit)
    before = decode_cursor(cursor, tuple[UUID])[0] if cursor else None
    is_open = None if which is None else which == "open"
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.many(db, Loan, "list_loans", None, is_open, before, limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@get("/loans/parties", guards=[requires("quota:read")])
async def list_parties(request: AnyRequest) -> list[Party]:
    """List the buckets that may lend or borrow, with what they have now."""
    table, organization_id = limits_in_force(request).table(), organization_of(request)
    standing = await buckets.standing(web_state(request).redis, table, organization_id)
    return service.parties(table, organization_id, standing)


@post("/loans/offer", guards=[requires("quota:read")], status_code=200)
async def show_offer(request: AnyRequest, data: JSONBody[LoanQuestion]) -> LoanOffer:
    """Say what a loan would cost, by which rule, and when it would be repaid; nothing is granted."""
    borrower, lender = _both(request, data)
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        terms = await service.terms_for(db, borrower, lender, data.seconds)
    return service.offer(terms, borrower, data.units, state.clock.now())


@post("/loans", guards=[requires("token:borrow")])
async def borrow(request: AnyRequest, data: JSONBody[LoanQuestion]) -> Loan:
    """Borrow units for a bucket, now."""
    borrower, lender = _both(request, data)
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with _RedisAway(), state.database.tenant(organization_id, actor) as db:
        terms = await service.terms_for(db, borrower, lender, data.seconds)
        return await service.borrow(
            db, _lending(request), organization_id, borrower, lender, terms, principal=data.units, reason=data.reason,
            requested_by=actor.label, now=state.clock.now(),
        )  # fmt: skip


@get("/loans/{loan_id:uuid}", guards=[requires("quota:read")])
async def read_loan(request: AnyRequest, loan_id: FromPath[UUID]) -> Loan:
    """Show a loan."""
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await service.get_loan(db, loan_id)


async def _change(request: AnyRequest, loan_id: UUID, action: LoanAction, *, units: int = 0, reason: str = "") -> Loan:
    state, organization_id, lending = web_state(request), organization_of(request), _lending(request)

    async def work(loan: Loan) -> LoanAnswer:
        name, sequence = loan.borrower, loan.sequence + 1
        if action == "repay":
            most = units or MOST_OWED
            return await lending.repay(organization_id, name, loan.id.hex, units=most, sequence=sequence)
        if action == "cancel":
            return await lending.cancel(organization_id, name, loan.id.hex, sequence=sequence)
        return await lending.write_off(organization_id, name, loan.id.hex, sequence=sequence)

    async with _RedisAway(), state.database.tenant(organization_id, actor_of(request)) as db:
        return await service.change(db, organization_id, loan_id, action, work, state.clock.now(), reason)


@post("/loans/{loan_id:uuid}/repay", guards=[requires("token:borrow")], status_code=200)
async def repay(request: AnyRequest, loan_id: FromPath[UUID], data: JSONBody[Repayment]) -> Loan:
    """Repay a loan now, as far as its bucket has units above its reserve."""
    return await _change(request, loan_id, "repay", units=data.units or 0)


@post("/loans/{loan_id:uuid}/cancel", guards=[requires("token:borrow")], status_code=200)
async def cancel(request: AnyRequest, loan_id: FromPath[UUID]) -> Loan:
    """Give back a loan that was not used, without interest."""
    return await _change(request, loan_id, "cancel")


@post("/loans/{loan_id:uuid}/write-off", guards=[requires("token:adjust")], status_code=200)
async def write_off(request: AnyRequest, loan_id: FromPath[UUID], data: JSONBody[WriteOff]) -> Loan:
    """Forgive what is owed: the lender's loss."""
    return await _change(request, loan_id, "write_off", reason=data.reason)


router = Router(
    "/api/admission",
    route_handlers=[
        list_rules, create_rule, update_rule, list_loans, list_parties, show_offer, borrow, read_loan, repay, cancel,
        write_off,
    ],
    tags=["admission"],
)  # fmt: skip
