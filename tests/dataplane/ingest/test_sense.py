"""How deep a value of free form may be nested."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nexus.dataplane.ingest.sense import free_json_fault

_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 9) | st.just("[{"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def _levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)


@given(_VALUES, st.integers(1, 4))
def test_a_value_is_refused_for_its_levels_alone(value: Any, most: int) -> None:
    fault = free_json_fault(value, max_bytes=10_000, max_depth=most)
    assert (fault is not None) == (_levels(value) > most)


def test_a_value_of_very_many_levels_is_refused() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    assert "levels deep" in str(free_json_fault(value, max_bytes=10_000, max_depth=16))
