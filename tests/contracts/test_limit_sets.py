"""A set of limits and a record's numbers say what the record said when it wrote its limits out."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.limit_sets import DescribedLimit, LimitSet, asked_of, expand

ORGANIZATION = UUID(int=0xACE)
AMOUNTS = st.integers(0, 2**53)
NAMES = st.text(max_size=8)


@st.composite
def written_out(draw: st.DrawFn) -> tuple[list[DescribedLimit], dict[str, Any], list[list[Any]]]:
    """Limits, what a record says of them by the set, and what it would say if it wrote them out."""
    columns = draw(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=4))
    limits, left, marks = [], [], []
    for bucket, name, place, had in draw(
        st.lists(st.tuples(NAMES, NAMES, st.integers(0, len(columns) - 1), st.none() | AMOUNTS), max_size=12)
    ):
        limits.append(DescribedLimit(bucket, name, "key", "tokens", 1000, place))
        left.append(had)
        marks.append([bucket, name, "key", "tokens", 1000, *columns[place], had, False])
    told = {"charged": [one for one, _ in columns], "settled": [two for _, two in columns], "left": left}
    return limits, told, marks


@given(written_out())
def test_expanded_it_is_what_would_be_written_out(made: tuple[list[DescribedLimit], dict[str, Any], list[Any]]) -> None:
    limits, told, marks = made
    known = LimitSet.of(ORGANIZATION, limits)
    metadata = {"mine": 1, "gateway": {"attempt": 2, "limit_set": {"id": known.id, **told}}}
    # As both come back from PostgreSQL.
    metadata, kept = json.loads(msgspec.json.encode((metadata, known.limits)))
    asked = asked_of(metadata)

    assert asked is not None and str(asked.id) == known.id
    shown = expand(metadata, asked, msgspec.convert(kept, list[DescribedLimit]))
    assert shown == {"mine": 1, "gateway": {"attempt": 2, "limits": marks}}


@given(written_out(), written_out())
def test_a_set_is_named_by_what_is_in_it_and_whose_it_is(one: tuple[Any, ...], two: tuple[Any, ...]) -> None:
    first, second = LimitSet.of(ORGANIZATION, one[0]), LimitSet.of(ORGANIZATION, two[0])

    assert (first.id == second.id) == (one[0] == two[0])
    assert LimitSet.of(UUID(int=2), one[0]).id != first.id
    assert UUID(first.id)


LIMITS = [DescribedLimit("a", "a", "key", "tokens", 1, 0), DescribedLimit("b", "b", "key", "tokens", 1, 1)]
SOUND = {"id": str(UUID(int=5)), "charged": [1, 2], "settled": [1, 2], "left": [7, None]}


@pytest.mark.parametrize(
    "spoiled",
    [
        {"left": [7]}, {"left": [7, 8, 9]}, {"charged": [1]}, {"settled": []}, {"left": ["7", "8"]}, {"id": "b"}, {"id": 5},
        {"charged": None}, {"charged": [1.5, 2]},
    ],
)  # fmt: skip
def test_numbers_that_are_not_those_of_the_set_are_shown_as_they_came(spoiled: dict[str, Any]) -> None:
    metadata = {"gateway": {"limit_set": {**SOUND, **spoiled}}}
    asked = asked_of(metadata)

    assert asked is None or expand(metadata, asked, LIMITS) == metadata
    sound = asked_of({"gateway": {"limit_set": SOUND}})
    assert sound is not None and "limits" in expand({"gateway": {"limit_set": SOUND}}, sound, LIMITS)["gateway"]


@pytest.mark.parametrize(
    "metadata", [None, {}, {"gateway": None}, {"gateway": []}, {"gateway": {"limit_set": [1]}}, [1]]
)
def test_metadata_without_a_set_name_none(metadata: Any) -> None:
    assert asked_of(metadata) is None
