"""The sum that is shown is the sum that was charged."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.cost_lines import cost_lines
from nexus.contracts.prices import Component, PriceDocument, compile_price
from nexus.contracts.pricing import cost_of
from nexus.kit.money import NANOS

MEGA = 1_000_000
counts = st.integers(0, 10**6)


@given(inner=counts, more=counts, output=counts, is_failure=st.booleans())
def test_the_lines_add_up_to_the_cost(inner: int, more: int, output: int, is_failure: bool) -> None:
    parts = [
        Component("input", "3", MEGA), Component("input", "6", MEGA, 200_000), Component("cached_input", "0.3", MEGA),
        Component("output", "15", MEGA), Component("requests", "0.001", 1),
    ]  # fmt: skip
    price = compile_price(PriceDocument(UUID(int=1), "p", parts), parts)
    usage = {"input": inner + more, "cached_input": inner, "output": output}
    usage = {unit: count for unit, count in usage.items() if count} | {"requests": 1}

    lines = cost_lines(price, usage, is_failure=is_failure)

    priced = cost_of(price, usage, is_failure=is_failure)
    assert priced.cost_nanos is not None
    assert sum(Decimal(line.cost) for line in lines) == Decimal(priced.cost_nanos) / NANOS
    for line in lines:
        assert Decimal(line.amount) * line.count / line.per == Decimal(line.cost)
    assert {line.unit for line in lines} <= usage.keys()
