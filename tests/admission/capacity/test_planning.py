"""Shares of one capacity, as they are planned: never more than there is, guarantees as floors, fair where all ask for more."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexus.admission.capacity.fair import Member, fair_shares, step_of, wanted
from nexus.admission.capacity.planning import Capacity, Grant, plan, settled_ceiling

HOUR = 3600
NAMES = [UUID(int=number) for number in range(1, 6)]


@st.composite
def members_of(draw: st.DrawFn, rate: int) -> list[Member]:
    """Members whose guarantees are together at most the rate."""
    left, found = rate, []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        guaranteed = draw(st.integers(1, max(1, left // 2)))
        left -= guaranteed
        most = draw(st.none() | st.integers(guaranteed, rate))
        found.append(Member(name, guaranteed, most, draw(st.integers(1, 5))))
    return found


def rates() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(100, 10**6), st.integers(1, 10**6).map(lambda a_second: a_second * HOUR * 100))


@given(rates().flatmap(lambda rate: st.tuples(st.just(rate), members_of(rate))), st.data())
def test_shares_are_weighted_max_min_fair_within_guarantees_and_caps(
    known: tuple[int, list[Member]], data: st.DataObject
) -> None:
    rate, members = known
    asked = [data.draw(st.integers(0, 2 * rate)) for _ in members]

    shares = fair_shares(rate, members, asked)

    step = step_of(rate)
    assert sum(shares) <= rate
    for member, share in zip(members, shares, strict=True):
        assert share >= member.guaranteed
        assert member.most is None or share <= member.most
    if all(member.most is None for member in members):
        assert sum(shares) > rate - step * len(members), "nothing is kept from everybody"
    for poor, has, asks in zip(members, shares, asked, strict=True):
        if has + step >= wanted(poor, asks):
            continue
        # Who does not get what it wants has, by its weight, no less than anybody who has more than its guarantee.
        for rich, more in zip(members, shares, strict=True):
            assert more <= rich.guaranteed or Fraction(more - step, rich.weight) <= Fraction(has + step, poor.weight)


@dataclass
class Cells:
    """What is in force in Redis, and what can still be spent there: what was in force before, until leases have ended."""

    rates: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    numbers: dict[UUID, int] = field(default_factory=dict)
    lasting: dict[UUID, tuple[int, int]] = field(default_factory=dict)

    def put(self, grant: Grant) -> None:
        name = grant.organization_id
        if grant.number <= self.numbers.get(name, 0):
            return
        rate, burst = self.rates.get(name, (0, 0))
        last_rate, last_burst = self.lasting.get(name, (0, 0))
        self.lasting[name] = max(last_rate, rate), max(last_burst, burst)
        self.rates[name], self.numbers[name] = (grant.rate, grant.burst), grant.number

    def wait(self) -> None:
        """Let all leases from before end."""
        self.lasting.clear()

    def spendable(self) -> tuple[int, int]:
        """Return the rate and the burst that all cells together may spend now."""
        most = [
            (max(rate, self.lasting.get(name, (0, 0))[0]), max(burst, self.lasting.get(name, (0, 0))[1]))
            for name, (rate, burst) in self.rates.items()
        ]
        return sum(rate for rate, _ in most), sum(burst for _, burst in most)


class Moving(RuleBasedStateMachine):
    """Any sequence of turns, each of which may stop after any step, of late orders, of members and terms that change."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells()
        self.ledger: dict[UUID, Grant] = {}
        self.members: dict[UUID, Member] = {}
        self.seen: set[tuple[UUID, int]] = set()
        """Grants that have been seen in force, and all leases from before have ended since."""
        self.late: list[Grant] = []
        self.largest = (0, 0)

    @initialize(rate=st.integers(1, 10**4), burst=st.integers(20, 10**5))
    def begin(self, rate: int, burst: int) -> None:
        self.capacity = Capacity(rate * HOUR, burst, rate * HOUR, burst)
        self.largest = (rate * HOUR, burst)

    @rule(name=st.sampled_from(NAMES), guaranteed=st.integers(1, 10**8), most=st.none() | st.integers(1, 10**8))
    def join(self, name: UUID, guaranteed: int, most: int | None) -> None:
        others = sum(member.guaranteed for member in self.members.values() if member.organization_id != name)
        if others + guaranteed <= self.capacity.rate:
            self.members[name] = Member(name, guaranteed, None if most is None else max(most, guaranteed))

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: UUID) -> None:
        self.members.pop(name, None)

    @rule(rate=st.integers(1, 10**4), burst=st.integers(20, 10**5))
    def change(self, rate: int, burst: int) -> None:
        if sum(member.guaranteed for member in self.members.values()) <= rate * HOUR:
            known = self.capacity
            ceiling = max(known.ceiling_rate, rate * HOUR), max(known.ceiling_burst, burst)
            self.capacity = Capacity(rate * HOUR, burst, *ceiling)

    @rule(
        asked=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10**8)), stops_after=st.integers(0, 12),
        is_late=st.booleans(),
    )  # fmt: skip
    def turn(self, asked: dict[UUID, int], stops_after: int, is_late: bool) -> None:
        """One turn of a worker, as the job does it; it may be killed between any two of its steps."""
        for grant in list(self.ledger.values()):
            if not stops_after:
                return
            stops_after -= 1
            self.cells.put(grant)
        grants = [
            grant.confirmed() if (grant.organization_id, grant.number) in self.seen else grant
            for grant in self.ledger.values()
        ]
        self.capacity = settled_ceiling(self.capacity, grants)
        planned = plan(self.capacity, list(self.members.values()), grants, asked)
        # In one transaction.
        self.ledger = {grant.organization_id: grant for grant in [*grants, *planned]}
        gone = [grant for grant in grants if grant.organization_id not in self.members and not grant.held_rate]
        for grant in gone:
            del self.ledger[grant.organization_id]
        for grant in planned:
            if not stops_after or is_late:
                self.late.append(grant)
                continue
            stops_after -= 1
            self.cells.put(grant)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def come_late(self, data: st.DataObject) -> None:
        self.cells.put(self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    @rule()
    def wait(self) -> None:
        """So long that no lease from before is spent any more: what is in force now can be confirmed."""
        self.cells.wait()
        self.seen |= set(self.cells.numbers.items())

    @invariant()
    def all_together_spend_at_most_what_there_is(self) -> None:
        if not self.largest[0]:
            return
        rate, burst = self.cells.spendable()
        assert rate <= self.capacity.ceiling_rate
        assert burst <= self.capacity.ceiling_burst
        assert sum(grant.held_rate for grant in self.ledger.values()) <= self.capacity.ceiling_rate
        assert sum(grant.held_burst for grant in self.ledger.values()) <= self.capacity.ceiling_burst

    def teardown(self) -> None:
        """Left alone, it comes to rest: everybody has its guarantee, and who asks for more has a fair share."""
        if not self.members:
            return
        asked = dict.fromkeys(self.members, 2 * self.capacity.rate)
        for _ in range(6):
            self.turn(asked, 100, False)
            self.wait()
        known = list(self.members.values())
        fair = fair_shares(self.capacity.rate, known, [asked[member.organization_id] for member in known])
        # Differences that are worth no move stay, and all of them may be one member's gain.
        small = [max(step_of(self.capacity.rate), share // 20) for share in fair]
        for member, share, least in zip(known, fair, small, strict=True):
            has = self.ledger[member.organization_id].rate
            assert has >= member.guaranteed
            assert share - least <= has <= share + sum(small)
        assert plan(self.capacity, known, list(self.ledger.values()), asked) == []
        assert self.capacity.ceiling_rate == self.capacity.rate


TestMoving = Moving.TestCase


def test_a_small_difference_moves_nothing() -> None:
    capacity = Capacity(1000 * HOUR, 1000, 1000 * HOUR, 1000)
    members = [Member(name, 100 * HOUR) for name in NAMES[:2]]
    asked = {NAMES[0]: 2000 * HOUR, NAMES[1]: 240 * HOUR}
    grants = plan(capacity, members, [], asked)

    assert plan(capacity, members, grants, {**asked, NAMES[1]: 250 * HOUR}) == []
    assert plan(capacity, members, grants, {**asked, NAMES[1]: 400 * HOUR}) != []


def test_what_is_shrinking_is_given_to_nobody_until_it_is_confirmed() -> None:
    capacity = Capacity(1000 * HOUR, 1000, 1000 * HOUR, 1000)
    members = [Member(name, 100 * HOUR) for name in NAMES[:2]]
    first = plan(capacity, members, [], {NAMES[0]: 2000 * HOUR, NAMES[1]: 0})
    grown = {grant.organization_id: grant.rate for grant in first}
    moved = {NAMES[0]: 0, NAMES[1]: 2000 * HOUR}

    (shrunk,) = plan(capacity, members, first, moved)
    now = [shrunk, *(grant for grant in first if grant.organization_id != NAMES[0])]

    assert grown[NAMES[0]] > 800 * HOUR
    assert (shrunk.organization_id, shrunk.state, shrunk.held_rate) == (NAMES[0], "shrinking", grown[NAMES[0]])
    assert plan(capacity, members, now, moved) == []
    (recipient,) = plan(capacity, members, [replace(shrunk).confirmed(), now[1]], moved)
    assert (recipient.organization_id, recipient.rate) == (NAMES[1], 1000 * HOUR - shrunk.rate)
