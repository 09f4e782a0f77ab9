"""The API of metrics: lists, labels, filters and groups; what cannot be answered says why; tenants are kept apart."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from nexus.identity import access_keys
from nexus.metrics import exposition, figures, service
from nexus.metrics import store as metrics_store
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.issues.conftest import Taker
from tests.metrics.conftest import NOW, Api, api_of, fold, point

START = NOW - timedelta(hours=1)


def requests_of(count: int = 3) -> list[dict[str, Any]]:
    """Points of a counter by route, method and instance."""
    return [
        point(
            "http.requests", "counter", START + timedelta(minutes=minute), value=10 * (place + 1), unit="{request}",
            description="Requests that were served.", service="shop", instance=f"shop-{place % 2}",
            labels={"route": f"/r{place}", "method": "GET" if place else "POST"},
        )
        for minute in range(2)
        for place in range(count)
    ]  # fmt: skip


async def test_metrics_are_listed_by_name_with_kind_unit_and_newest_point(
    take: Taker, api: Api, database: Database
) -> None:
    await take(*requests_of(), point("a.heat", "gauge", NOW, value=1, unit="Cel"))
    await fold(database)
    await take(point("a.heat", "gauge", NOW + timedelta(minutes=1), value=2, unit="Cel", instance="other"))
    await take(point("a.heat", "histogram", NOW, values=[1]))

    first = await api(limit=2)
    rest = await api(limit=2, cursor=first["next_cursor"])

    assert [(one["name"], one["kind"], one["unit"], one["series"]) for one in first["items"] + rest["items"]] == [
        ("a.heat", "gauge", "Cel", 2), ("a.heat", "histogram", "", 1), ("http.requests", "counter", "{request}", 3),
    ]  # fmt: skip
    assert first["items"][0]["last_seen"] == "2026-04-03T12:01:00Z"
    assert rest["next_cursor"] is None
    assert rest["items"][0]["description"] == "Requests that were served."
    assert [one["name"] for one in (await api(q="REQ"))["items"]] == ["http.requests"]
    assert [one["name"] for one in (await api(q="%"))["items"]] == []
    assert [one["kind"] for one in (await api(kind="histogram"))["items"]] == ["histogram"]


async def test_labels_are_listed_with_their_values(take: Taker, api: Api) -> None:
    await take(*requests_of())

    told = {one["name"]: one for one in await api("labels", name="http.requests")}
    of_get = {one["name"]: one["values"] for one in await api("labels", name="http.requests", label__method="GET")}

    assert list(told) == ["label.method", "label.route", "environment", "instance", "service"]
    assert told["label.method"] == {"name": "label.method", "values": ["GET", "POST"], "count": 2}
    assert told["instance"]["values"] == ["shop-0", "shop-1"]
    assert of_get["label.route"] == ["/r1", "/r2"]


async def test_series_are_filtered_and_grouped_by_labels(take: Taker, api: Api) -> None:
    await take(*requests_of())

    by_method = await api.groups("http.requests", "1m", START, NOW, group_by="label.method")
    by_two = await api.groups(
        "http.requests", "1h", START, NOW, group_by="label.method,instance", aggregations="increase"
    )
    only = await api.groups("http.requests", "1h", START, NOW, label__route=["/r0", "/r2"], service="shop")

    assert [(one["labels"], one["series"], one["whole"]["increase"]) for one in by_method] == [
        ({"label.method": "GET"}, 2, 100), ({"label.method": "POST"}, 1, 20),
    ]  # fmt: skip
    assert [one["increase"] for one in by_method[0]["points"]] == [50, 50]
    assert by_method[0]["points"][0]["rate"] == pytest.approx(50 / 60)
    assert [(one["labels"], one["whole"]) for one in by_two] == [
        ({"label.method": "GET", "instance": "shop-0"}, {"increase": 60}),
        ({"label.method": "GET", "instance": "shop-1"}, {"increase": 40}),
        ({"label.method": "POST", "instance": "shop-0"}, {"increase": 20}),
    ]
    assert only[0]["whole"]["increase"] == 80
    assert await api.groups("http.requests", "1h", START, NOW, label__route="/none") == []


async def test_only_the_largest_groups_are_given_and_the_others_counted(
    take: Taker, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take(*requests_of(5))
    monkeypatch.setattr(figures, "MAX_GROUPS", 2)

    told = await api("series", name="http.requests", period="1h", group_by="label.route")

    assert [one["labels"]["label.route"] for one in told["groups"]] == ["/r4", "/r3"]
    assert (told["groups_left_off"], told["series"]) == (3, 5)


BAD_QUESTIONS: list[tuple[str, dict[str, str], int, str]] = [
    ("series", {}, 422, "name"),
    ("series", {"name": "nothing"}, 404, ""),
    ("series", {"name": "http.requests", "unit": "s"}, 404, ""),
    ("series", {"name": "twice"}, 422, "kind"),
    ("series", {"name": "http.requests", "period": "2m"}, 422, "period"),
    ("series", {"name": "http.requests", "period": "1m", "from_": "2026-01-01T00:00:00Z"}, 422, "period"),
    ("series", {"name": "http.requests", "group_by": "route"}, 422, "group_by"),
    ("series", {"name": "http.requests", "group_by": "label.a,label.b,label.c,label.d,label.e"}, 422, "group_by"),
    ("series", {"name": "http.requests", "aggregations": "p95"}, 422, "aggregations"),
    ("series", {"name": "http.requests", "aggregations": "p12"}, 422, "aggregations"),
    ("series", {"name": "http.requests", "label.": "x"}, 422, "label."),
    ("series", {"name": "http.requests", "label__a": "x\0"}, 422, "label.a"),
    ("labels", {"name": "http.requests", "from_": "2026-01-01T00:00:00Z"}, 422, "from"),
    ("", {"limit": "0"}, 422, "limit"),
    ("", {"cursor": "nonsense"}, 422, "cursor"),
    ("prometheus", {"within_seconds": "0"}, 422, "within_seconds"),
]


async def test_what_cannot_be_answered_says_which_parameter_and_why(take: Taker, api: Api) -> None:
    await take(*requests_of(1), point("twice", "gauge", START, value=1), point("twice", "counter", START, value=1))

    for path, parameters, status, field in BAD_QUESTIONS:
        answer = await api.send(path, **parameters)
        problem = answer.json()
        assert answer.status_code == status, (parameters, problem)
        assert not field or field in {fault["field"] for fault in problem["errors"]}, (parameters, problem)
        assert problem["detail"]


async def test_more_than_a_question_may_read_is_refused_with_a_remedy(
    take: Taker, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take(*requests_of(4))
    with monkeypatch.context() as patched:
        patched.setattr(service, "MAX_SERIES", 3)
        too_many = await api.send("series", name="http.requests")
    with monkeypatch.context() as patched:
        patched.setattr(service, "MAX_SUMS", 4 * 60 - 1)
        too_long = await api.send("series", name="http.requests", from_=START.isoformat(), to=NOW.isoformat())
    with monkeypatch.context() as patched:
        patched.setattr(service, "MAX_WAITING", 7)
        behind = await api.send("series", name="http.requests", period="1h")

    assert (too_many.status_code, too_long.status_code, behind.status_code) == (422, 422, 503)
    assert "filter by labels" in too_many.json()["detail"] and "longer period" in too_long.json()["detail"]
    assert behind.headers["retry-after"]


async def test_another_organization_s_metrics_are_as_if_they_were_not_there(
    tmp_path: Path,
    take: Taker,
    api: Api,
    http: httpx.AsyncClient,
    database: Database,
    admin_connection: asyncpg.Connection,
) -> None:
    await take(*requests_of())
    await fold(database)
    other = TestOrganization(uuid4(), "other")
    await admin_connection.execute(
        "INSERT INTO identity.organizations (id, name, slug) VALUES ($1, 'other', 'other')", other.id
    )
    theirs = await api_of(database, other.id, http)
    answers = [await theirs.send(path, name="http.requests", label__route="/r0") for path in ("series", "labels")]
    exposition = await theirs.send("prometheus")
    listed = await theirs()
    # The same series has the same id in both, and points and sums in each.
    await Taker(take.ingest, other.id)(*requests_of(1))
    before = await theirs.groups("http.requests", "1h", START, NOW)
    await fold(database)

    assert [answer.status_code for answer in answers] == [404, 404]
    assert all("r0" not in answer.text for answer in answers)
    assert (exposition.status_code, exposition.text, listed["items"]) == (200, "", [])
    assert before == await theirs.groups("http.requests", "1h", START, NOW)
    assert before[0]["whole"]["increase"] == 20
    assert (await api.groups("http.requests", "1h", START, NOW))[0]["whole"]["increase"] == 120


async def test_a_key_without_the_permission_is_refused(database: Database, api: Api, take: Taker) -> None:
    async with database.as_system() as connection:
        made = await access_keys.create(
            connection, take.organization_id, name="writes", scopes=["events:write"], at=NOW
        )

    assert [
        (await Api(api.http, made.key).send(path)).status_code for path in ("", "labels", "series", "prometheus")
    ] == [403] * 4


async def test_secrets_in_names_labels_and_descriptions_are_masked(
    take: Taker, api: Api, admin_connection: asyncpg.Connection
) -> None:
    secret = "sk-abcdefghijklmnopqrstuvwx"
    await take(
        point("calls", "counter", START, value=1, labels={"auth": f"Bearer {secret}", secret: "x"}, description=secret,
              service=secret, instance=secret)
    )  # fmt: skip

    told = [str(await api("labels", name="calls")), str(await api())]
    rows = await admin_connection.fetch("SELECT s::text AS row FROM metrics.series AS s")

    assert all(secret not in text for text in [*told, *(row["row"] for row in rows)])


BAD_POINTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "counter"}, "value"),
    ({"kind": "counter", "value": -1}, "value"),
    ({"kind": "gauge", "value": 1, "temporality": "delta"}, "temporality"),
    ({"kind": "gauge", "value": 1, "buckets": {"bounds": [], "counts": [1]}}, "buckets"),
    ({"kind": "histogram"}, "buckets"),
    ({"kind": "histogram", "values": [1], "buckets": {"bounds": [], "counts": [1]}}, "buckets"),
    ({"kind": "histogram", "values": [1], "sum": 1}, "sum"),
    ({"kind": "histogram", "values": [1], "temporality": "cumulative"}, "temporality"),
    ({"kind": "histogram", "buckets": {"bounds": [2, 1], "counts": [1, 1, 1]}}, "buckets.bounds"),
    ({"kind": "histogram", "buckets": {"bounds": [1], "counts": [1]}}, "buckets.counts"),
    ({"kind": "histogram", "buckets": {"bounds": [1], "counts": [1, -1]}}, "buckets.counts"),
    ({"kind": "histogram", "buckets": {"bounds": [1], "counts": [1, 1]}, "count": 3}, "count"),
    ({"kind": "histogram", "buckets": {"bounds": [1], "counts": [1, 1]}, "min": 3, "max": 2}, "min"),
    ({"kind": "histogram", "exponential": {"scale": 21}}, "exponential.scale"),
    ({"kind": "summary", "sum": 1}, "count"),
    ({"kind": "summary", "count": 1, "quantiles": [{"quantile": 2, "value": 1}]}, "quantiles"),
    ({"kind": "average", "value": 1}, "kind"),
    ({"kind": "counter", "value": 1, "start_timestamp": "2026-04-03T12:00:00Z"}, "start_timestamp"),
    ({"kind": "counter", "value": 1, "timestamp": "2026-05-03T12:00:00Z"}, "timestamp"),
    ({"kind": "counter", "value": 1, "labels": {"a": "\0"}}, "labels"),
    ({"kind": "counter", "value": 1, "labels": {"a": 1}}, "labels.a"),
    ({"kind": "counter", "value": 1, "metric": "x"}, "metric"),
]


async def test_faulty_points_are_refused_with_field_and_reason_and_their_neighbour_is_taken(take: Taker) -> None:
    good = point("fine", "gauge", START, value=1)

    common = {"type": "metric", "name": "x", "timestamp": START.isoformat(), "id": "mine"}
    receipt = await take(good, *(common | fields for fields, _ in BAD_POINTS))

    assert receipt.stored == 1
    for place, ((fields, field), refused) in enumerate(zip(BAD_POINTS, receipt.refused, strict=True), 1):
        assert (refused.index, refused.id) == (place, "mine")
        assert field in {fault.field for fault in refused.errors}, (fields, refused.errors)
        assert all(fault.message for fault in refused.errors)


# Whatever grows with the points of an answer: read, added up, written.
HEAVY = [
    (metrics_store, "aggregate_of", "series"),
    (figures, "changes_of", "series"),
    (figures, "figures", "series"),
    (metrics_store, "aggregate_of", "prometheus"),
    (exposition, "families", "prometheus"),
    (exposition, "generate_latest", "prometheus"),
]


@pytest.mark.parametrize(("module", "name", "path"), HEAVY, ids=lambda value: value if isinstance(value, str) else "")
async def test_others_are_answered_while_figures_are_worked_out(
    take: Taker, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, path: str
) -> None:
    await take(*requests_of())
    await fold(database)
    work, begun, answered = getattr(module, name), threading.Event(), threading.Event()
    met: list[bool] = []

    def waiting_for_others(*arguments: Any, **named: Any) -> Any:
        begun.set()
        # In the event loop nobody could be answered meanwhile, and this would end without.
        met.append(answered.wait(10))
        return work(*arguments, **named)

    monkeypatch.setattr(module, name, waiting_for_others)
    asked = {"name": "http.requests", "period": "1h"} if path == "series" else {"within_seconds": 86_400}
    question = asyncio.create_task(api.send(path, **asked))
    await asyncio.to_thread(begun.wait, 10)
    other = await api.send()
    answered.set()

    assert other.is_success and (await question).is_success
    assert met and all(met)
