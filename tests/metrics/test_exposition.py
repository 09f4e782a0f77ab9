"""What Prometheus reads: names and labels it allows, whole histograms, sums that only grow; its own parsers understand it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nexus.metrics.exposition import family_name, label_name, metric_name
from nexus.platform.db import Database
from tests.issues.conftest import Taker
from tests.metrics.conftest import NOW, Api, fold, point

AT = NOW - timedelta(minutes=5)
ODD = 'a "quoted" \\ and\nbroken é'


def records() -> list[dict[str, Any]]:
    """Points of every kind, some under names that Prometheus does not allow."""
    place = {"service": "shop", "instance": "shop-1"}
    return [
        point("http.server.requests", "counter", AT, value=3, unit="{request}", description=ODD,
              labels={"http.route": ODD}, **place),
        point("http.server.requests", "counter", NOW, value=4, unit="{request}", labels={"http.route": ODD}, **place),
        point("bytes_total", "counter", AT, value=9, unit="By", temporality="cumulative",
              start_timestamp=(AT - timedelta(minutes=1)).isoformat()),
        point("2nd.heat", "gauge", AT, value=-1.5, unit="Cel", labels={"service": "mine", "a.b": "1", "a-b": "2"}, **place),
        point("load", "gauge", AT, value=0.25, unit="1"),
        point("load", "counter", AT, value=5, unit="1"),
        point("http.server.request.duration", "histogram", AT, unit="s",
              buckets={"bounds": [0.1, 1, 2.5], "counts": [1, 2, 0, 4]}, sum=20.5, labels={"le": "mine"}),
        point("spread", "histogram", AT, values=[1.5, 0, -3, 1e6], unit="ms"),
        point("rpc", "summary", AT, count=4, sum=2.0,
              quantiles=[{"quantile": 0.5, "value": 0.4}, {"quantile": 0.99, "value": 0.9}]),
        point("old", "gauge", NOW - timedelta(hours=3), value=1),
    ]  # fmt: skip


async def test_both_formats_are_understood_and_say_the_same(take: Taker, api: Api, database: Database) -> None:
    sent = records()
    await take(*sent[:4])
    await fold(database)
    await take(*sent[4:])

    text = await api.send("prometheus")
    headers = {"authorization": f"Bearer {api.key}", "accept": "application/openmetrics-text; version=1.0.0"}
    open_metrics = await api.http.get("/api/metrics/prometheus", headers=headers)

    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")
    families = {family.name: family for family in parse_openmetrics(open_metrics.text)}
    told = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families.values() for s in f.samples}
    plain = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in parse_text(text.text) for s in f.samples}
    assert plain == told
    assert {name: (family.type, family.unit) for name, family in families.items()} == {
        "http_server_requests": ("counter", ""),
        "bytes": ("counter", ""),
        "_2nd_heat_celsius": ("gauge", "celsius"),
        "load_ratio": ("gauge", "ratio"),
        "load": ("counter", ""),
        "http_server_request_duration_seconds": ("histogram", "seconds"),
        "spread_milliseconds": ("histogram", "milliseconds"),
        "rpc": ("summary", ""),
    }
    assert families["http_server_requests"].documentation == ODD

    def value(name: str, **labels: str) -> float:
        found = [v for (n, ls), v in told.items() if n == name and dict(ls) == {"environment": "production"} | labels]
        assert len(found) == 1, (name, labels)
        return found[0]

    at = {"service": "shop", "instance": "shop-1"}
    assert value("http_server_requests_total", http_route=ODD, **at) == 7
    assert value("bytes_total") == 9
    assert value("_2nd_heat_celsius", exported_service="mine", a_b="2;1", **at) == -1.5
    buckets = [
        value("http_server_request_duration_seconds_bucket", exported_le="mine", le=le)
        for le in ("0.1", "1.0", "2.5", "+Inf")
    ]
    assert buckets == [1, 3, 3, 7]
    assert value("http_server_request_duration_seconds_sum", exported_le="mine") == 20.5
    assert value("spread_milliseconds_bucket", le="+Inf") == 4
    assert not any(name == "spread_milliseconds_sum" for name, _ in told)
    assert value("rpc", quantile="0.99") == 0.9
    spread = [s for s in families["spread_milliseconds"].samples if s.name.endswith("_bucket")]
    assert [s.value for s in spread] == sorted(s.value for s in spread) and len(spread) <= 42


async def test_metrics_can_be_named_and_old_series_are_left_out(take: Taker, api: Api) -> None:
    await take(*records())

    named = await api.send("prometheus", name=["load", "rpc"])
    whole = await api.send("prometheus", within_seconds="86400")
    recent = await api.send("prometheus")

    assert {family.name for family in parse_text(named.text)} == {"load_ratio", "load", "rpc"}
    assert ("old" in {f.name for f in parse_text(whole.text)}, "old" in {f.name for f in parse_text(recent.text)}) == (
        True,
        False,
    )


async def test_two_kinds_that_come_to_one_name_are_two_families(take: Taker, api: Api) -> None:
    await take(
        point("a.b", "gauge", AT, value=1),
        point("a_b", "histogram", AT, values=[1]),
        point("a-b", "gauge", AT, value=2),
    )

    found = {family.name: family.type for family in parse_text((await api.send("prometheus")).text)}

    assert found == {"a_b": "gauge", "a_b_histogram": "histogram"}


def test_names_follow_opentelemetry_s_rules() -> None:
    assert metric_name("http.server.request.duration") == "http_server_request_duration"
    assert metric_name("9 lives!") == "_9_lives_"
    assert label_name("a:b..c") == "a_b_c"
    assert family_name("requests", "{request}/s", "gauge") == ("requests_per_seconds", "per_seconds")
    assert family_name("duration_seconds", "s", "histogram") == ("duration_seconds", "seconds")
    assert family_name("share", "1", "counter") == ("share", "")
