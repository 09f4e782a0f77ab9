"""A purse tells leases how fast they are asked for: as much as calls were charged, whatever came back meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.limits import Call, LimitTable
from nexus.dataplane.decide.leases import Asked, BucketKey, Leases
from nexus.dataplane.decide.purses import Charges, Plan, Plans
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, limit

TABLE = LimitTable(
    1,
    MappingProxyType(
        {
            ORGANIZATION: [
                limit(1, capacity=10**6, units=1000),
                limit(2, capacity=10**6, units=1000, dimension="tokens"),
            ]
        }
    ),
)
CALL = Call(organization_id=ORGANIZATION, tokens=10)
AT_ONCE = 400
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 60)),
        st.tuples(st.just("settle"), st.integers(0, 120)),
        st.tuples(st.sampled_from(["grant", "refill", "close", "tell"]), st.just(0)),
    ),
    max_size=60,
)


class Told(Leases):
    """Leases that keep what they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[BucketKey, int] = {}
        self.units: dict[BucketKey, int] = {}

    def note_many(self, key: BucketKey, calls: int, units: int, now_us: int) -> None:
        self.calls[key] = self.calls.get(key, 0) + calls
        self.units[key] = self.units.get(key, 0) + units
        super().note_many(key, calls, units, now_us)

    def grant(self, cell: str, asked: Asked) -> None:
        """Take over a new lease on each limit, as the script answers."""
        each = [10**6, AT_ONCE, 0, 0, 0]
        self.granted(cell, self.next_sequence(), asked, [1, 0, 0, 0, *each * len(asked)], SECOND, SECOND)


@given(STEPS)
def test_leases_are_told_what_calls_were_charged(steps: Sequence[tuple[str, int]]) -> None:
    leases, plan = Told(), Plans().of(TABLE, CALL)
    purse = plan.purse
    usual = plan.charges_of(CALL)
    calls = 0
    charged = [0, 0]
    under_way: list[Charges] = []
    leases.grant(plan.cell, plan.asked(usual))
    purse.open(leases, usual, SECOND)
    for what, amount in [*steps, ("grant", 0), ("take", 1), ("tell", 0)]:
        charges = [1, amount]
        if what == "take" and purse.until_us and purse.take(charges) is not None:
            purse.hold(charges)
            under_way.append(charges)
            calls += 1
            charged = [before + more for before, more in zip(charged, charges, strict=True)]
        elif what == "settle" and under_way:
            held, is_open = under_way.pop(), bool(purse.until_us)
            purse.settle(held, [1, amount])
            charged[1] += max(0, amount - held[1]) if is_open else 0
        elif what == "grant":
            purse.close()
            leases.grant(plan.cell, plan.asked(usual))
            assert purse.open(leases, usual, SECOND)
        elif what == "refill":
            purse.refill(leases, [1, 200], SECOND)
        elif what == "close":
            purse.close()
        elif what == "tell":
            purse.tell(leases, SECOND)

    assert [leases.calls[key] for key in plan.keys] == [calls, calls]
    assert [leases.units[key] for key in plan.keys] == charged


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2), st.sampled_from(["", "a", "b"])),
        max_size=20,
    )
)
def test_calls_have_one_plan_exactly_if_they_have_the_same_in_common(
    kinds: Sequence[tuple[int | None, int | None, str]],
) -> None:
    plans = Plans()

    def plan(key: int | None, user: int | None, tag: str) -> Plan:
        return plans.of(
            TABLE,
            Call(
                organization_id=UUID(int=ORGANIZATION.int), tags={"team": tag} if tag else {},
                key_id=None if key is None else UUID(int=key), user_id=None if user is None else UUID(int=user),
            ),
        )  # fmt: skip

    made = {kind: plan(*kind) for kind in kinds}

    assert len(set(map(id, made.values()))) == len(made)
    assert all(plan(*kind) is known for kind, known in made.items())
