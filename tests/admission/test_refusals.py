"""Refused calls are counted by limit, bucket, kind and who asked; what is told twice counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from nexus.contracts.limits import Call, Limit, LimitTable, Rate
from nexus.dataplane.decide import refusals
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.refusals import RefusalBook
from nexus.kit.ids import opaque_uuid, uuid7
from nexus.platform.db import Database
from tests.admission.conftest import Api
from tests.conftest import TestOrganization

DAY = 86_400_000_000


def limit_of(organization: TestOrganization, name: str, capacity: int, **more: Any) -> Limit:
    return Limit(
        id=opaque_uuid(f"{organization.id}:{name}"), name=name, organization_id=organization.id, dimension="requests",
        method="token_bucket", capacity=capacity, rate=Rate.of(capacity, per_us=DAY), **more,
    )  # fmt: skip


def engine_of(api: Api, organization: TestOrganization, book: RefusalBook, *limits: Limit) -> Admission:
    table = LimitTable(1, MappingProxyType({organization.id: limits}))
    return Admission(api.redis, lambda: table, timeout_seconds=5, refusals=book)


async def shown(api: Api, **parameters: Any) -> list[dict[str, Any]]:
    range_ = {"from": (api.clock.now() - timedelta(hours=1)).isoformat(), "to": _later(api)}
    answer = await api.get("refusals", **range_, **parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def _later(api: Api) -> str:
    return (api.clock.now() + timedelta(minutes=1)).isoformat()


async def test_each_refused_call_is_counted_under_the_limit_that_refused_it_and_who_asked(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    key, other = uuid7(), uuid7()
    per_key = limit_of(organization, "per-key", 3, scope="key", subject=None)
    watched = limit_of(organization, "watched", 1, scope="organization", subject=None, is_shadow=True)
    books = [RefusalBook(database, clock=api.clock) for _ in range(2)]
    engines = [engine_of(api, organization, book, per_key, watched) for book in books]

    for number in range(7):
        await engines[number % 2].decide(Call(organization_id=organization.id, key_id=key, application="shop"))
    await engines[0].decide(Call(organization_id=organization.id, key_id=other, requests=4))
    for book in (*books, *books):
        await book.tell()

    found = await shown(api)
    rows = {(row["limit"], row["kind"], row["key_id"], row["application"]): row for row in found}
    refused = rows["per-key", "refused", str(key), "shop"]
    assert refused["calls"] == 4 and refused["subject"] == str(key) and refused["scope"] == "key"
    assert refused["retry_after_ms"] > 60_000 and refused["bucket"] == f"{per_key.id.hex}:{key}"
    assert rows["per-key", "impossible", str(other), ""]["retry_after_ms"] is None
    # The first call fitted; refused ones would have been refused by it too, but were not its doing.
    assert rows["watched", "shadow", str(key), "shop"]["calls"] >= 2
    assert [row["calls"] for row in found] == sorted((row["calls"] for row in found), reverse=True)
    only = await shown(api, bucket=refused["bucket"])
    assert {row["bucket"] for row in only} == {refused["bucket"]}
    assert {row["limit"] for row in await shown(api, limit_id=str(watched.id))} == {"watched"}
    assert (await api.get("refusals", bucket="\x00")).status_code == 422
    assert (await api.get("refusals", **{"from": "2026-01-01T00:00:00"})).status_code == 422


class _Unsure:
    """A database that commits, and whose answer is lost the first time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.was_lost = False

    @asynccontextmanager
    async def as_system(self) -> AsyncIterator[Any]:
        async with self._database.as_system() as connection:
            yield connection
        if not self.was_lost:
            self.was_lost = True
            raise ConnectionResetError


async def test_counts_whose_telling_was_unsure_are_told_again_and_counted_once(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    unsure = _Unsure(database)
    book = RefusalBook(unsure, clock=api.clock)  # type: ignore[arg-type]
    engine = engine_of(api, organization, book, limit_of(organization, "few", 1, scope="organization", subject=None))
    call = Call(organization_id=organization.id)

    for _ in range(4):
        await engine.decide(call)
    await book.tell()
    await engine.decide(call)
    await book.tell()
    api.clock.advance(timedelta(minutes=1))
    await engine.decide(call)
    await book.tell()

    assert unsure.was_lost
    assert [row["calls"] for row in await shown(api)] == [5]
    assert len(book._counts) == 1, "minutes that are over and told are forgotten"


async def test_many_names_take_no_more_room_and_no_refusal_is_lost(
    api: Api, database: Database, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST", 3)
    book = RefusalBook(database, clock=api.clock)
    few = limit_of(organization, "few", 1, scope="key", subject=None)
    engine = engine_of(api, organization, book, few)

    for number in range(8):
        await engine.decide(Call(organization_id=organization.id, key_id=UUID(int=number + 1), requests=2))
    await book.tell()

    found = await shown(api)
    assert sum(row["calls"] for row in found) == 8 and len(found) == 4
    assert (found[0]["bucket"], found[0]["key_id"], found[0]["calls"]) == (f"{few.id.hex}:", None, 5)
