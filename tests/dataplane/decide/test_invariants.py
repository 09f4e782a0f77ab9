"""Invariants of money on the real scripts: what a pausing budget lets through, and what a settlement may give back."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dataplane.decide.cases import SECOND, ClockedRedis, limit

AMOUNT = 200


@dataclass
class Spending:
    """What was admitted and what it took."""

    estimates: dict[str, int] = field(default_factory=dict)
    actuals: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        return sum(self.actuals.get(name, estimate) for name, estimate in self.estimates.items())

    @property
    def error(self) -> int:
        """By how much estimates were too small."""
        return sum(max(0, actual - self.estimates[name]) for name, actual in self.actuals.items())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 60), st.integers(0, 0)),
        st.tuples(st.just("settle"), st.integers(0, 20), st.integers(0, 90)),
        st.tuples(st.just("settle again"), st.integers(0, 20), st.integers(0, 90)),
        st.tuples(st.just("release"), st.integers(0, 20), st.integers(0, 0)),
        st.tuples(st.just("wait and reap"), st.integers(0, 30), st.integers(0, 0)),
        st.tuples(st.just("step back"), st.integers(0, 30), st.integers(0, 0)),
    ),
    min_size=1,
    max_size=60,
)


async def spend(clocked: ClockedRedis, steps: list[tuple[str, int, int]], *, is_held_at_most: bool) -> None:
    """Run steps against a budget and assert after each what has to hold."""
    await clocked.client.flushall()
    await clocked.open()
    budget = limit(1, capacity=AMOUNT, method="fixed_window", period="year", dimension="money", currency="USD")
    seen = Spending()

    for number, (step, first, second) in enumerate(steps):
        names = list(seen.estimates)
        name = names[first % len(names)] if names else ""
        if step == "ask":
            answer = await clocked.decide([(budget, "b", first)], hold=f"h{number}", life_us=10 * SECOND)
            assert (answer[0] == 1) == (seen.spent + first <= AMOUNT), "nobody is refused below the cap"
            if answer[0] == 1:
                seen.estimates[f"h{number}"] = first
        elif step in {"settle", "settle again"} and name and (name in seen.actuals) == (step == "settle again"):
            actual = min(second, seen.estimates[name]) if is_held_at_most else second
            before = (await clocked.state("b")).level  # type: ignore[union-attr]
            await clocked.scripts.finish(clocked.keys, name, "settle", {"money": actual})
            after = (await clocked.state("b")).level  # type: ignore[union-attr]
            assert before - after <= seen.estimates[name], "more came back than was charged"
            assert step == "settle" or before == after
            seen.actuals.setdefault(name, actual)
        elif step == "release" and name and name not in seen.actuals:
            answer = await clocked.scripts.finish(clocked.keys, name, "release", {})
            if answer[0] == 1:
                seen.actuals[name] = 0
        elif step == "wait and reap":
            await clocked.set(clocked.now + first * SECOND)
            await clocked.scripts.reap(clocked.keys)
        elif step == "step back":
            await clocked.set(clocked.now - first * SECOND)
        state = await clocked.state("b")
        assert state is None or state.level == seen.spent
        assert seen.spent <= AMOUNT + seen.error
        assert not is_held_at_most or seen.spent <= AMOUNT


@settings(suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_a_pausing_budget_is_overspent_by_estimates_that_were_too_small_and_by_nothing_else(
    clocked: ClockedRedis, steps: list[tuple[str, int, int]]
) -> None:
    await spend(clocked, steps, is_held_at_most=False)


@settings(suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_a_pausing_budget_whose_calls_are_held_at_their_most_is_never_overspent(
    clocked: ClockedRedis, steps: list[tuple[str, int, int]]
) -> None:
    await spend(clocked, steps, is_held_at_most=True)
