"""The record of a call: documented field by field, and staged in the columns the database expects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from nexus.contracts.calls import (
    CALL_COLUMN_TYPES,
    CALL_COLUMNS,
    NOT_NULL_COLUMNS,
    TOKEN_COLUMNS,
    ApiCall,
    Tokens,
    Units,
)
from nexus.contracts.units import DIMENSIONS
from nexus.dataplane.ingest.record_types import RECORD_TYPES
from nexus.platform.db import Database

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"


STRUCTS = [("api_call", ApiCall, ""), ("api_call", Tokens, "tokens."), ("api_call", Units, "units.")] + [
    (name, record_type.struct, "") for name, record_type in RECORD_TYPES.items() if name != "api_call"
]


def section(name: str) -> str:
    """The part of the reference that is about one type of record."""
    return REFERENCE.read_text().partition(f"\n## `{name}`")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("name", "struct", "prefix"), STRUCTS, ids=[prefix or name for name, _, prefix in STRUCTS])
def test_every_field_is_described_and_in_the_reference(name: str, struct: type[msgspec.Struct], prefix: str) -> None:
    text = section(name)
    hints = get_type_hints(struct, include_extras=True)
    for item in msgspec.structs.fields(struct):
        metas = [meta for meta in get_args(hints[item.encode_name])[1:] if isinstance(meta, msgspec.Meta)]
        description = next((meta.description for meta in metas if meta.description), None)

        assert description, item.encode_name
        assert f"| `{prefix}{item.encode_name}` | {description} |" in text


@pytest.mark.parametrize("name", RECORD_TYPES)
def test_reference_names_no_field_that_does_not_exist(name: str) -> None:
    names = set(re.findall(r"^\| `([a-z_.0-9]+)` \|", section(name), re.MULTILINE))
    known = {
        f"{prefix}{field}"
        for type_name, struct, prefix in STRUCTS
        if type_name == name
        for field in struct.__struct_fields__
    }

    assert names == known


def test_only_provider_and_status_are_required() -> None:
    required = {item.name for item in msgspec.structs.fields(ApiCall) if item.required}

    assert required == {"provider", "status_code"}


def test_each_class_of_tokens_has_a_column_or_is_kept_in_units() -> None:
    assert set(TOKEN_COLUMNS.values()) <= set(CALL_COLUMNS)
    assert set(Tokens.__struct_fields__) - set(TOKEN_COLUMNS) == {
        "cache_write_1h",
        "cache_write_5m",
        "cached_audio_input",
    }


def test_everything_counted_has_dimensions_to_be_priced_by() -> None:
    assert {*Tokens.__struct_fields__, *Units.__struct_fields__} <= set(DIMENSIONS)


async def test_staging_table_has_these_columns(database: Database) -> None:
    async with database.as_writer(()) as connection:
        await connection.execute("SELECT metering.stage_calls_v1()")
        found = await connection.fetch(
            "SELECT attname, typname, attnotnull FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
            " WHERE attrelid = 'pg_temp.staged_calls'::regclass AND attnum > 0 ORDER BY attnum"
        )

    assert [(record["attname"], record["typname"]) for record in found] == list(CALL_COLUMN_TYPES.items())
    assert {record["attname"] for record in found if record["attnotnull"]} == NOT_NULL_COLUMNS
