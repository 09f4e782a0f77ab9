"""Loans: the scripts on a real Redis do what the model does, conserve units, and survive replays, losses and publications."""

from __future__ import annotations

import asyncio
import os
import struct
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any, TypeVar

import msgspec
import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from nexus.contracts.limits import Limit, Rate
from nexus.dataplane.decide.lending import Lending, LoanRecord, LoanTerms, reopen_loans
from nexus.dataplane.decide.model import Wish
from nexus.dataplane.decide.scripts import POSTING, TrailEntry
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, START, ClockedRedis, limit, rates
from tests.dataplane.decide.loan_model import Books, Cell
from tests.dataplane.decide.test_scripts import STATUS, is_as_new, rebuilt

T = TypeVar("T")
EXAMPLES = int(os.environ.get("NEXUS_DECIDE_EXAMPLES", settings.default.max_examples))
LOAN_KINDS = {"borrow", "repay", "interest", "default", "cancel", "write_off"}
NUMBERS = st.integers(0, 2)
PARTS = st.one_of(st.integers(0, 100), st.integers(0, 1000))
"""Of a capacity, in thousandths."""


async def unreachable(_: object) -> None:
    raise AssertionError("the cell is known")


async def accounts_of(clocked: ClockedRedis) -> dict[str, tuple[int, ...]]:
    """Return each bucket's debt, receivable, interest and what waits."""
    found: dict[bytes, bytes] = await clocked.client.hgetall(clocked.keys.accounts)  # type: ignore[misc]
    return {name.decode(): tuple(map(int, struct.unpack("<4d", data))) for name, data in found.items()}


async def loans_of(clocked: ClockedRedis, bucket: str) -> list[LoanRecord]:
    """Return a bucket's open loans as Redis keeps them."""
    data = await clocked.client.get(clocked.keys.loans + bucket)
    return msgspec.convert(msgspec.msgpack.decode(data)[3], list[LoanRecord]) if data is not None else []


async def ledger(clocked: ClockedRedis) -> dict[tuple[str, str], int]:
    """Replay the accounts' postings; those of each loan transaction sum to zero. Returns balances by bucket and account."""
    balances: dict[tuple[str, str], int] = {}
    for _, fields in await clocked.client.xrange(clocked.keys.trail):
        entry = TrailEntry.read(fields)
        changed = sum(int(POSTING.unpack(data)[3]) for _, data in entry.postings)
        for item in entry.accounts:
            place = item.bucket, item.account
            balances[place] = (0 if item.is_opened else balances[place]) + item.changed
            assert balances[place] == item.balance
            changed += item.changed
        assert entry.kind not in LOAN_KINDS or changed == 0, entry
    return balances


class Loans(RuleBasedStateMachine):
    """Any sequence of calls, leases, loans and what may happen to them, in any time."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.client = redis.asyncio.Redis.from_url(self.url)
        self.redis = ClockedRedis(self.client)
        self.lending = Lending(self.redis.scripts, unreachable)
        self.books = Books(Cell())
        self.known: list[Limit] = []
        self.asked: list[LoanTerms] = []
        self.calls = 0

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.wait(self.client.aclose())
        self.loop.close()

    @initialize(
        sizes=st.lists(st.one_of(st.integers(20, 200), st.integers(20, 6 * 10**13)), min_size=3, max_size=3),
        paces=st.lists(st.one_of(st.just((1, SECOND)), st.just((1, SECOND)), rates()), min_size=3, max_size=3),
        reserves=st.lists(st.integers(0, 5), min_size=3, max_size=3),
        last=st.sampled_from(["leaky_bucket", "leaky_bucket", "fixed_window"]),
    )
    def begin(self, sizes: list[int], paces: list[tuple[int, int]], reserves: list[int], last: str) -> None:
        self.wait(self.client.flushall())
        self.wait(self.redis.open())
        methods = ("token_bucket", "token_bucket", last)
        self.known = [
            limit(number, capacity=size, units=units, per_us=per_us, reserve=reserve, method=method)
            for number, (size, (units, per_us), reserve, method) in enumerate(
                zip(sizes, paces, reserves, methods, strict=True)
            )
        ]

    @rule(
        by=st.one_of(
            st.integers(0, 3 * SECOND), st.integers(0, 60 * SECOND), st.integers(0, 10**12), st.integers(-SECOND, -1)
        )
    )
    def pass_time(self, by: int) -> None:
        self.wait(self.redis.set(max(START, self.redis.now + by)))

    def units(self, number: int, part: int) -> int:
        return max(1, self.known[number].capacity * part // 1000)

    @rule(number=NUMBERS, part=PARTS, privileged=st.booleans())
    def call(self, number: int, part: int, privileged: bool) -> None:
        units = self.units(number, part)
        asked = [(self.known[number], f"b{number}", units)]
        answer = self.wait(self.redis.decide(asked, is_privileged=privileged))
        verdict = self.books.cell.decide(asked, self.redis.now, is_privileged=privileged)
        assert answer[0] == STATUS[verdict.outcome]

    @rule(number=NUMBERS)
    def use_up(self, number: int) -> None:
        bucket = self.books.cell.buckets.get(f"b{number}")
        if bucket is not None and bucket.is_bucket:
            asked = [(self.known[number], f"b{number}", max(0, floor(bucket.level) - bucket.limit.reserve))]
            answer = self.wait(self.redis.decide(asked))
            assert answer[0] == STATUS[self.books.cell.decide(asked, self.redis.now).outcome]

    @rule(number=NUMBERS, after=st.integers(-1, 2))
    def fall_due(self, number: int, after: int) -> None:
        dues = [loan.due for loan in self.books._loans(f"b{number}")]
        if dues:
            self.use_up(number)
            self.wait(self.redis.set(max(self.redis.now, dues[0] + after)))
            self.use_up(number)
            self.wait(self.lending.bring_to_now(ORGANIZATION, f"b{number}"))
            self.books.bring_to_now(f"b{number}", self.redis.now)

    @rule(number=st.integers(0, 1), part=PARTS, life=st.integers(SECOND, 20 * SECOND))
    def lease(self, number: int, part: int, life: int) -> None:
        self.calls += 1
        wanted = self.units(number, part)
        wishes = [Wish(self.known[number], f"b{number}", 0, wanted)]
        more = {"life_us": life, "horizon_us": SECOND}
        answer = self.wait(self.redis.scripts.lease(self.redis.keys, "p", self.calls, wishes, self.redis.now, **more))
        verdict = self.books.cell.lease("p", self.calls, wishes, self.redis.now, **more)
        assert verdict is not None and answer[0] == STATUS[verdict.outcome]

    @rule(
        numbers=st.tuples(NUMBERS, st.sampled_from([None, 0, 1, 1, 2])), part=st.integers(1, 400), percent=st.integers(0, 40),
        share=st.sampled_from([1, 100, 333, 500]), duration=st.one_of(st.integers(1, 5), st.integers(1, 3600)),
        ratio=st.sampled_from([1500, 2000, 3000]), most=st.integers(2, 4),
    )  # fmt: skip
    def borrow(
        self, numbers: tuple[int, int | None], part: int, percent: int, share: int, duration: int, ratio: int, most: int
    ) -> None:
        mine, theirs = numbers
        principal = self.units(mine, part)
        if theirs is not None and theirs != mine:
            principal = min(principal, self.units(theirs, part))
        terms = LoanTerms(
            id=f"loan-{len(self.asked)}", borrower=self.known[mine], borrower_bucket=f"b{mine}",
            lender=self.known[theirs] if theirs is not None else None,
            lender_bucket=f"b{theirs}" if theirs is not None else "", principal=principal,
            interest=-(-principal * percent // 100), share=share, duration_us=duration * SECOND, ratio=ratio, most_loans=most,
        )  # fmt: skip
        before = self.wait(self.redis.everything())
        answer = self.wait(self.lending.borrow(ORGANIZATION, terms, self.redis.now))
        assert answer.outcome == self.books.borrow(terms, self.redis.now)
        if answer.outcome == "done":
            self.asked.append(terms)
        else:
            assert self.wait(self.redis.everything()) == before, "a refusal wrote"

    @rule(number=st.integers(0, 30))
    def ask_for_it_again(self, number: int) -> None:
        if self.asked:
            before = self.wait(self.redis.everything())
            answer = self.wait(self.lending.borrow(ORGANIZATION, self.asked[number % len(self.asked)], self.redis.now))
            assert answer.outcome in {"done_before", "closed"}
            assert self.wait(self.redis.everything()) == before, "a replay wrote"

    @rule(by=st.one_of(st.just(SECOND), st.integers(0, 30 * SECOND)), most=st.integers(0, 3))
    def bring_to_now(self, by: int, most: int) -> None:
        """As the worker does each second, which may die in between."""
        self.wait(self.redis.set(self.redis.now + by))
        for name in ("b0", "b1", "b2")[:most]:
            self.wait(self.lending.bring_to_now(ORGANIZATION, name))
            self.books.bring_to_now(name, self.redis.now)
        if most == 3:
            self.wait(self.lending.pay_out(ORGANIZATION))
            self.books.pay_out(self.redis.now)

    @rule(
        number=st.integers(0, 30), part=PARTS, again=st.sampled_from([False, False, True]),
        action=st.sampled_from(["repay", "repay", "cancel", "write_off"]),
    )  # fmt: skip
    def change(self, number: int, part: int, again: bool, action: str) -> None:
        if not self.asked:
            return
        terms = self.asked[number % len(self.asked)]
        units = max(1, terms.borrower.capacity * part // 1000)
        bucket, now = terms.borrower_bucket, self.redis.now
        known = [loan.sequence for loan in self.books._loans(bucket) if loan.id == terms.id]
        sequence = (known[0] if known else 0) + (0 if again else 1)
        before = self.wait(self.redis.everything())
        if action == "repay":
            outcome = self.books.repay(bucket, terms.id, units, sequence, now)
            work = self.lending.repay(ORGANIZATION, bucket, terms.id, units=units, sequence=sequence)
        elif action == "cancel":
            outcome = self.books.cancel(bucket, terms.id, sequence, now)
            work = self.lending.cancel(ORGANIZATION, bucket, terms.id, sequence=sequence)
        else:
            outcome = self.books.write_off(bucket, terms.id, sequence, now)
            work = self.lending.write_off(ORGANIZATION, bucket, terms.id, sequence=sequence)
        assert self.wait(work).outcome == outcome
        assert outcome == "done" or self.wait(self.redis.everything()) == before

    @rule(
        number=NUMBERS, capacity=st.one_of(st.integers(20, 300), st.integers(20, 6 * 10**13)),
        rate=st.one_of(st.none(), rates()),
    )  # fmt: skip
    def publish(self, number: int, capacity: int, rate: tuple[int, int] | None) -> None:
        old = self.known[number]
        new = Rate.of(rate[0], per_us=rate[1]) if rate is not None and old.rate is not None else old.rate
        self.known[number] = replace(old, capacity=capacity, version=old.version + 1, rate=new)

    @rule()
    def reap(self) -> None:
        self.wait(self.redis.scripts.reap(self.redis.keys))
        self.books.cell.end_leases(self.redis.now)
        for name, bucket in list(self.books.cell.buckets.items()):
            if self.wait(self.redis.state(name)) is None:
                assert name not in self.books.debtors, "a bucket was forgotten that has loans"
                assert is_as_new(bucket, self.redis.now)
                del self.books.cell.buckets[name]

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        for name, bucket in self.books.cell.buckets.items():
            state = self.wait(self.redis.state(name))
            assert state is not None
            assert state.level + Fraction(state.fraction, state.denominator) == bucket.level, name
            assert state.at == bucket.at
        for number in range(3):
            debtor = self.books.debtors.get(f"b{number}")
            assert self.wait(loans_of(self.redis, f"b{number}")) == [
                LoanRecord(
                    loan.id, loan.lender, loan.state, loan.principal, loan.interest, loan.repaid, loan.paid,
                    int(loan.share * 1000), int(loan.rest * 1000), loan.granted, loan.due, loan.had, loan.sequence,
                )
                for loan in (debtor.loans if debtor is not None else ())
            ]  # fmt: skip
        assert self.wait(accounts_of(self.redis)) == {
            name: (item.debt, item.receivable, item.interest, item.waiting)
            for name, item in self.books.accounts.items()
        }

    @invariant()
    def the_trail_rebuilds_it_and_units_are_conserved(self) -> None:
        levels = self.wait(rebuilt(self.redis))
        assert all(self.wait(self.redis.state(name)) == state for name, state in levels.items())
        balances = self.wait(ledger(self.redis))
        kept = self.wait(accounts_of(self.redis))
        owed: dict[str, int] = defaultdict(int)
        lent: dict[str, int] = defaultdict(int)
        for number in range(3):
            for loan in self.wait(loans_of(self.redis, f"b{number}")):
                owed[f"b{number}"] -= loan.principal - loan.repaid
                if loan.lender:
                    lent[loan.lender] += loan.principal - loan.repaid
        for name, (debt, receivable, interest, waiting) in kept.items():
            assert (debt, receivable, interest) == tuple(
                balances[name, account] for account in ("debt", "receivable", "interest")
            )
            assert debt == owed[name] and receivable == lent[name] + waiting
        # A loan of which only interest is to come owes nothing that the books tell of.
        assert {name for found in (owed, lent) for name, units in found.items() if units} <= set(kept)


@pytest.mark.hypothesis
def test_any_sequence_of_loans_equals_the_model_and_conserves_units(redis_url: str) -> None:
    Loans.url = redis_url
    run_state_machine_as_test(
        Loans,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.fixture
def lending(clocked: ClockedRedis) -> Lending:
    return Lending(clocked.scripts, unreachable)


SLOW = limit(2, capacity=200, per_us=10_000 * SECOND)


def terms(**more: Any) -> LoanTerms:
    """40 units for 44, for a bucket of 100 that gains one a second, from one that gains next to nothing; half its refill."""
    common: dict[str, Any] = {
        "id": "l", "borrower": limit(1, capacity=100), "borrower_bucket": "b", "lender": SLOW,
        "lender_bucket": "a", "principal": 40, "interest": 4, "share": 500, "duration_us": 100 * SECOND, "ratio": 1500,
        "most_loans": 2,
    }  # fmt: skip
    return LoanTerms(**{**common, **more})


async def level(clocked: ClockedRedis, bucket: str) -> int:
    state = await clocked.state(bucket)
    assert state is not None
    return state.level


async def test_a_loan_is_repaid_with_interest_to_its_lender_by_a_share_of_refill(
    clocked: ClockedRedis, lending: Lending
) -> None:
    await clocked.decide([(limit(1, capacity=100), "b", 90), (SLOW, "a", 50)])

    granted = await lending.borrow(ORGANIZATION, terms())
    assert (granted.outcome, await level(clocked, "b"), await level(clocked, "a")) == ("done", 50, 110)
    await clocked.set(START + 80 * SECOND)
    after = await lending.bring_to_now(ORGANIZATION, "b")
    await clocked.set(START + 88 * SECOND)
    closed = await lending.bring_to_now(ORGANIZATION, "b")

    loan = after.loan("l")
    assert loan is not None and (loan.state, loan.repaid, loan.paid) == ("active", 40, 0), "half of 80 units in 80 s"
    assert [(item.state, item.repaid, item.paid) for item in closed.loans] == [("repaid", 40, 4)]
    # 50 had, 88 refilled but never above 100: it was full after 50 s, and paid 40 then, 4 later.
    assert await level(clocked, "b") == 100 - 40 + 8 - 4
    assert await level(clocked, "a") == 200 - 50 + 4 and await accounts_of(clocked) == {}
    assert (await ledger(clocked))["a", "interest"] == -4


async def test_what_a_full_lender_is_repaid_waits_until_it_has_room(clocked: ClockedRedis, lending: Lending) -> None:
    lender = limit(2, capacity=200, units=10**6)
    await clocked.decide([(limit(1, capacity=100), "b", 90)])
    await lending.borrow(ORGANIZATION, terms(lender=lender))
    await clocked.set(START + 20 * SECOND)
    await lending.repay(ORGANIZATION, "b", "l", units=44, sequence=1)

    assert await level(clocked, "a") == 160, "nobody looked at it since: it is full by now, for all that is paid to it"
    assert (await accounts_of(clocked))["a"] == (0, 44, -4, 44)
    await clocked.decide([(replace(lender, version=2, rate=Rate.of(1, per_us=10**9)), "a", 30)])
    assert await lending.pay_out(ORGANIZATION) == 30
    await clocked.decide([(lender, "a", 50)])
    assert await lending.pay_out(ORGANIZATION) == 14
    assert await level(clocked, "a") == 200 - 50 + 14 and await accounts_of(clocked) == {}


async def test_a_defaulted_loan_blocks_others_and_takes_the_whole_refill_but_for_the_reserve(
    clocked: ClockedRedis, lending: Lending
) -> None:
    borrower = limit(1, capacity=100, reserve=10)
    await clocked.decide([(borrower, "b", 90)])
    await lending.borrow(ORGANIZATION, terms(borrower=borrower, share=1, duration_us=10 * SECOND))
    await clocked.decide([(borrower, "b", 40)])
    await clocked.set(START + 10 * SECOND)

    defaulted = (await lending.bring_to_now(ORGANIZATION, "b")).loan("l")
    assert defaulted is not None and (defaulted.state, defaulted.owed) == ("defaulted", 34)
    assert await level(clocked, "b") == 10, "what it has above its reserve is taken at once"
    assert (await lending.borrow(ORGANIZATION, terms(id="m", borrower=borrower, principal=1))).outcome == "defaulted"
    for second in range(11, 44):
        await clocked.set(START + second * SECOND)
        await lending.bring_to_now(ORGANIZATION, "b")
        assert (await clocked.decide([(borrower, "b", 1)]))[0] == 0
        assert (await clocked.decide([(borrower, "b", 0)], is_privileged=True))[0] == 1, "the reserve is left alone"
    await clocked.set(START + 44 * SECOND)
    last = (await lending.bring_to_now(ORGANIZATION, "b")).loan("l")

    assert last is not None and last.state == "repaid"
    assert (await lending.borrow(ORGANIZATION, terms(id="m", borrower=borrower, principal=1))).outcome == "done"


async def test_repayment_does_not_depend_on_how_often_it_is_run(clocked: ClockedRedis, lending: Lending) -> None:
    # Shares of a third, a rate of 0.7 a second, and due in between: to the unit, whether run each second or once.
    borrower = limit(1, capacity=100, units=7, per_us=10 * SECOND)
    seen = []
    for steps in (range(1, 41), (40,)):
        await clocked.client.flushall()
        await clocked.open()
        await clocked.set(START)
        await clocked.decide([(borrower, "b", 60)])
        asked = terms(borrower=borrower, lender=None, lender_bucket="", share=333, duration_us=25 * SECOND)
        await lending.borrow(ORGANIZATION, asked)
        await clocked.decide([(borrower, "b", 80)])
        for second in steps:
            await clocked.set(START + second * SECOND)
            answer = await lending.bring_to_now(ORGANIZATION, "b")
        loan = answer.loan("l")
        assert loan is not None
        seen.append((loan.state, loan.repaid, await level(clocked, "b")))

    assert seen[0] == seen[1] and seen[0][0] == "defaulted"


async def test_a_loan_from_the_own_future_ends_at_the_ratio(clocked: ClockedRedis, lending: Lending) -> None:
    await clocked.decide([(limit(1, capacity=100), "b", 100)])
    own: dict[str, Any] = {"lender": None, "lender_bucket": "", "interest": 5, "share": 100}

    too_much = await lending.borrow(ORGANIZATION, terms(**own, principal=51))
    first = await lending.borrow(ORGANIZATION, terms(**own, principal=30))
    beyond = await lending.borrow(ORGANIZATION, terms(**own, id="m", principal=21))
    second = await lending.borrow(ORGANIZATION, terms(**own, id="m", principal=20))
    admitted = [(await clocked.decide([(limit(1, capacity=100), "b", 10)]))[0] for _ in range(6)]
    third = await lending.borrow(ORGANIZATION, terms(**own, id="n", principal=1))

    assert (too_much.outcome, too_much.units) == ("beyond_ratio", 50)
    assert (first.outcome, beyond.outcome, second.outcome, third.outcome) == (
        "done", "beyond_ratio", "done", "too_many",
    )  # fmt: skip
    assert admitted == [1, 1, 1, 1, 1, 0], "half of its capacity, out of its future"
    assert (await accounts_of(clocked))["b"][0] == -50


async def test_what_is_out_on_lease_is_not_lent_and_what_is_lent_is_not_leased(
    clocked: ClockedRedis, lending: Lending
) -> None:
    lender = limit(2, capacity=200, reserve=20)
    wish = Wish(lender, "a", 0, 1000)
    granted = await clocked.scripts.lease(clocked.keys, "p", 1, [wish], clocked.now, life_us=10**7, horizon_us=SECOND)
    out, before = granted[5] + granted[6], await level(clocked, "a")
    await clocked.decide([(limit(1, capacity=1000), "b", 1000)])

    refused = await lending.borrow(ORGANIZATION, terms(borrower=limit(1, capacity=1000), principal=before - 19))
    lent = await lending.borrow(ORGANIZATION, terms(borrower=limit(1, capacity=1000), principal=before - 20))
    again = await clocked.scripts.lease(clocked.keys, "q", 2, [wish], clocked.now, life_us=10**7, horizon_us=SECOND)

    assert out > 0 and before == 200 - out
    assert (refused.outcome, lent.outcome) == ("lender_short", "done"), "its reserve is not lent either"
    assert again[5] == 0 and await level(clocked, "a") <= 20


async def test_what_a_bucket_has_out_on_lease_counts_as_had_and_as_no_room(
    clocked: ClockedRedis, lending: Lending
) -> None:
    mine, theirs = limit(1, capacity=100, per_us=10_000 * SECOND), limit(2, capacity=100, per_us=10_000 * SECOND)
    for number, (known, name) in enumerate(((mine, "b"), (theirs, "a")), 1):
        wish = Wish(known, name, 0, 40)
        await clocked.scripts.lease(clocked.keys, "p", number, [wish], clocked.now, life_us=10**9, horizon_us=SECOND)
    leased = {"borrower": mine, "lender": theirs, "principal": 30, "interest": 10}

    beyond = await lending.borrow(ORGANIZATION, terms(**{**leased, "principal": 51}))
    granted = await lending.borrow(ORGANIZATION, terms(**leased))
    await lending.repay(ORGANIZATION, "b", "l", units=40, sequence=1)

    assert (beyond.outcome, beyond.units, granted.outcome) == ("beyond_ratio", 50, "done")
    assert await level(clocked, "a") == 60, "full, with what is out on lease"
    assert (await accounts_of(clocked))["a"] == (0, 10, -10, 10)


async def test_only_what_was_not_used_can_be_cancelled_and_costs_nothing(
    clocked: ClockedRedis, lending: Lending
) -> None:
    await clocked.decide([(limit(1, capacity=100), "b", 90), (SLOW, "a", 100)])
    await lending.borrow(ORGANIZATION, terms())
    await clocked.decide([(limit(1, capacity=100), "b", 1)])
    used = await lending.cancel(ORGANIZATION, "b", "l", sequence=1)
    await clocked.set(START + 10 * SECOND)
    unused = await lending.cancel(ORGANIZATION, "b", "l", sequence=1)
    again = await lending.cancel(ORGANIZATION, "b", "l", sequence=2)

    assert (used.outcome, unused.outcome, again.outcome) == ("refused", "done", "closed")
    assert await accounts_of(clocked) == {}
    assert (await level(clocked, "b"), await level(clocked, "a")) == (10 - 1 + 10, 100)


async def test_a_loan_that_is_written_off_is_its_lender_s_loss(clocked: ClockedRedis, lending: Lending) -> None:
    await clocked.decide([(limit(1, capacity=100), "b", 90)])
    await lending.borrow(ORGANIZATION, terms(duration_us=SECOND))
    await clocked.decide([(limit(1, capacity=100), "b", 50)])
    await clocked.set(START + 2 * SECOND)

    forgiven = await lending.write_off(ORGANIZATION, "b", "l", sequence=1)
    late = await lending.repay(ORGANIZATION, "b", "l", units=5, sequence=2)

    loan = forgiven.loan("l")
    assert loan is not None and (loan.state, late.outcome) == ("written_off", "closed")
    balances = await ledger(clocked)
    assert balances["b", "debt"] == balances["a", "receivable"] == 0
    assert balances["b", "interest"] == -balances["a", "interest"] == -forgiven.units + 4


async def test_a_published_version_keeps_what_was_borrowed_and_what_is_owed(
    clocked: ClockedRedis, lending: Lending
) -> None:
    await clocked.decide([(limit(1, capacity=100), "b", 1)])
    await lending.borrow(ORGANIZATION, terms())
    smaller = limit(1, capacity=10, version=2)

    await clocked.decide([(smaller, "b", 0)])

    assert await level(clocked, "b") == 10 + 39, "its fill of the smaller capacity, and what it borrowed above it"
    assert [loan.owed for loan in await loans_of(clocked, "b")] == [44]


async def test_a_bucket_that_has_loans_is_not_forgotten(clocked: ClockedRedis, lending: Lending) -> None:
    await lending.borrow(ORGANIZATION, terms(duration_us=3600 * SECOND))
    await clocked.set(START + 300 * SECOND)
    await clocked.scripts.reap(clocked.keys)

    assert await level(clocked, "b") == 140
    await lending.bring_to_now(ORGANIZATION, "b")
    await clocked.scripts.reap(clocked.keys)
    assert await clocked.state("b") is not None


async def test_a_cell_that_lost_its_state_gets_its_loans_back_before_it_is_known_and_not_after(
    clocked: ClockedRedis, lending: Lending
) -> None:
    await clocked.decide([(limit(1, capacity=100), "b", 90)])
    await lending.borrow(ORGANIZATION, terms())
    kept = await loans_of(clocked, "b")
    state = await clocked.state("b")
    assert state is not None
    await clocked.client.flushall()
    await clocked.set(clocked.now)

    assert await reopen_loans(clocked.scripts, clocked.keys, {"b": kept})
    await clocked.scripts.open_cell(clocked.keys, has_lost=True, states={"b": replace(state, level=0).pack()})
    assert not await reopen_loans(clocked.scripts, clocked.keys, {"b": []})
    await clocked.set(START + 200 * SECOND)
    answer = await lending.bring_to_now(ORGANIZATION, "b")

    assert await ledger(clocked)
    assert [(loan.state, loan.repaid) for loan in answer.loans] == [("repaid", 40)]


async def test_no_more_is_admitted_than_burst_and_rate_and_loans(clocked: ClockedRedis, lending: Lending) -> None:
    mine, theirs = limit(1, capacity=100), limit(2, capacity=100)
    admitted = {"b": 0, "a": 0}
    borrowed = 0
    for second in range(120):
        await clocked.set(START + second * SECOND)
        await lending.bring_to_now(ORGANIZATION, "b")
        await lending.pay_out(ORGANIZATION)
        asked = terms(id=f"l{second}", borrower=mine, lender=theirs, principal=7, interest=1, duration_us=5 * SECOND)
        granted = await lending.borrow(ORGANIZATION, asked)
        borrowed += 7 if granted.outcome == "done" else 0
        # The lender is asked for less at first, then for all it has.
        for name, known, times in (("b", mine, 12), ("a", theirs, 12 if second > 80 else 0)):
            for _ in range(times):
                admitted[name] += 9 if (await clocked.decide([(known, name, 9)]))[0] == 1 else 0
    owed = sum(loan.principal - loan.repaid for loan in await loans_of(clocked, "b"))

    assert borrowed > 50
    assert admitted["b"] <= 100 + 119 + borrowed
    assert admitted["b"] + admitted["a"] <= 2 * (100 + 119), "what one gets the other lent"
    assert owed <= 50
