"""System configuration is typed, refuses what does not fit, and is documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.kit.errors import InvalidRequest
from nexus.platform.db import Database
from nexus.platform.db.configuration import (
    CONFIGURATION_KEYS,
    UnknownConfigurationKey,
    get_configuration,
    reset_configuration,
    set_configuration,
)

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def test_every_key_is_documented_with_its_default() -> None:
    text = REFERENCE.read_text()

    for item in CONFIGURATION_KEYS.values():
        assert f"| `{item.key}` | `{json.dumps(item.default)}` | {item.what} |" in text


@given(
    st.sampled_from(sorted(CONFIGURATION_KEYS)),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2)),
)
def test_a_value_is_taken_with_the_default_s_type_or_refused_by_name(key: str, value: object) -> None:
    item = CONFIGURATION_KEYS[key]

    try:
        parsed = item.parse(value)
    except InvalidRequest as refused:
        assert [fault.field for fault in refused.faults] == [key]
    else:
        assert type(parsed) is type(item.default) and parsed == value


async def test_a_change_is_seen_by_the_next_reader_and_can_be_taken_back(database: Database) -> None:
    key = "auth.lockout_duration_minutes"
    async with database.as_system() as connection:
        await set_configuration(connection, key, 30)

    async with database.as_system() as connection:
        changed = await get_configuration(connection)
        await reset_configuration(connection, key)
    async with database.as_system() as connection:
        restored = await get_configuration(connection)

    assert (changed[key], restored[key]) == (30, 15)


async def test_an_unknown_key_is_refused(database: Database) -> None:
    async with database.as_system() as connection:
        with pytest.raises(UnknownConfigurationKey):
            await set_configuration(connection, "auth.nothing", 1)
