"""Ids carry their time and keep their order; money is rounded once, half to even."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from multiprocessing import get_context
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.kit.ids import opaque_uuid, positional_uuid, uuid7, uuid7_time
from nexus.kit.money import format_nanos, parse_decimal, round_nanos
from nexus.kit.redaction import redact_headers, redact_text


def _of_one_instant(count: int) -> list[int]:
    return [uuid7(datetime(2026, 1, 1, tzinfo=UTC)).int for _ in range(count)]


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    uuid7()
    with get_context("fork").Pool(1) as pool:
        of_child = pool.apply(_of_one_instant, (700,))

    made = [*of_child, *_of_one_instant(700)]
    assert len(set(made)) == len(made)


def test_ids_of_one_process_are_strictly_increasing() -> None:
    made = [uuid7() for _ in range(20_000)]

    assert all(a.int < b.int for a, b in zip(made, made[1:], strict=False))
    assert {item.version for item in made} == {7}


@given(st.datetimes(min_value=datetime(2010, 1, 1), max_value=datetime(2200, 1, 1)))
def test_an_id_carries_its_instant_to_the_millisecond(at: datetime) -> None:
    instant = at.replace(tzinfo=UTC)

    carried = uuid7_time(uuid7(instant))

    assert carried is not None
    assert timedelta(0) <= instant - carried < timedelta(milliseconds=1)


@given(st.uuids())
def test_only_version_seven_carries_a_time(value: UUID) -> None:
    assert uuid7_time(uuid4()) is None
    if value.version != 7:
        assert uuid7_time(value) is None


@given(st.text(), st.integers(min_value=0, max_value=2**40))
def test_derived_ids_are_stable_and_carry_no_time(name: str, position: int) -> None:
    organization = UUID(int=7)

    assert opaque_uuid(name) == opaque_uuid(name)
    assert positional_uuid(organization, name, position) == positional_uuid(organization, name, position)
    assert positional_uuid(organization, name, position) != positional_uuid(organization, name, position + 1)
    assert uuid7_time(opaque_uuid(name)) is None


@given(st.integers(min_value=-(10**22), max_value=10**22))
def test_nanos_survive_being_written(nanos: int) -> None:
    text = format_nanos(nanos)

    assert "E" not in text and round_nanos(parse_decimal(text)) == nanos


def test_halves_are_rounded_to_even() -> None:
    assert [round_nanos(Fraction(k, 2 * 10**9)) for k in (1, 3, 5)] == [0, 2, 2]
    assert round_nanos(Decimal("0.0000000015")) == 2


@pytest.mark.parametrize("text", ["", "NaN", "Infinity", "1,5", "abc"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_decimal(text)


def test_secrets_do_not_pass_redaction() -> None:
    key = "nx_" + "a" * 40

    assert key not in redact_text(f"refused: Bearer {key} for postgres://me:hunter22@db/x sk-abcdefghijklmnopqrst")
    assert "hunter22" not in redact_text("postgres://me:hunter22@db/x")
    assert redact_headers({"Authorization": "x", "Content-Type": "a/b", "X-Api-Key": "y"}) == {"content-type": "a/b"}
