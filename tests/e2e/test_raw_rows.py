"""Every figure on Overview and Costs is the one that the raw rows give, whatever zone the person is in."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Site
from tests.e2e.sight import compact, count, duration, money, percent, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata"]
TOTALS = """
    count(*) AS requests,
    count(*) FILTER (WHERE status_code >= 400 OR status_code = 0) AS errors,
    sum(cost) AS cost,
    count(*) FILTER (WHERE cost IS NULL) AS unpriced,
    sum(input_tokens) AS input,
    sum(output_tokens) AS output,
    (percentile_disc(0.95) WITHIN GROUP (ORDER BY response_time_us)) / 1000.0 AS p95
"""
RANGE = "occurred_at >= $1::text::timestamptz AND occurred_at < $2::text::timestamptz"


async def _raw(site: Site, what: str, tail: str = "", *arguments: object) -> list[asyncpg.Record]:
    connection = await site.node.admin()
    try:
        question = f"SELECT {what} FROM metering.calls WHERE {RANGE} {tail}"
        return list(await connection.fetch(question, site.span["from"], site.span["to"], *arguments))
    finally:
        await connection.close()


async def _figure(page: Page, name: str, shown: str) -> None:
    await expect(page.get_by_role("group", name=name, exact=True).locator("[data-figure]")).to_have_text(shown)


@pytest.mark.parametrize("zone", ZONES)
async def test_every_figure_of_the_overview_is_that_of_the_raw_rows(visit: Any, site: Site, zone: str) -> None:
    page = await (await visit(zone=zone)).page(f"/?{urlencode(site.span)}")
    await settled(page)
    (whole,) = await _raw(site, TOTALS)
    groups = await _raw(site, f"provider, {TOTALS}", "GROUP BY provider")

    await _figure(page, "Requests", count(whole["requests"]))
    await _figure(page, "Error rate", percent(whole["errors"] / whole["requests"]))
    await _figure(page, "Cost", money(str(whole["cost"])))
    await _figure(page, "Model tokens", compact(whole["input"] + whole["output"]))
    await expect(page.get_by_role("note")).to_contain_text(count(whole["unpriced"]))
    answer = await site.node.ask("/api/metering/summary", **site.span, group_by="provider")
    await _figure(page, "p95 latency", duration(answer["total"]["latency_p95_ms"]))
    bound = answer["latency_error_bound"]
    assert abs(answer["total"]["latency_p95_ms"] - float(whole["p95"])) <= float(whole["p95"]) * bound
    assert len(groups) == 5
    for group in groups:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=group["provider"], exact=True))
        cells = row.get_by_role("cell")
        await expect(cells.nth(1)).to_have_text(count(group["requests"]))
        await expect(cells.nth(2)).to_have_text(percent(group["errors"] / group["requests"]))
        await expect(cells.nth(4)).to_have_text(f"{compact(group['input'])} / {compact(group['output'])}")
        cost = group["cost"]
        await expect(cells.nth(5)).to_contain_text(money(str(cost)) if cost is not None and cost >= 1 else "")
        known = next(item for item in answer["groups"] if item["provider"] == group["provider"])
        await expect(cells.nth(3)).to_have_text(duration(known["latency_p95_ms"]))


@pytest.mark.parametrize("zone", ZONES)
async def test_costs_of_every_day_are_those_of_the_raw_rows_of_that_zones_day(
    visit: Any, site: Site, zone: str
) -> None:
    page = await (await visit(zone=zone)).page(f"/costs?{urlencode(site.span)}&by=tag:team&interval=1d")
    await settled(page)
    (whole,) = await _raw(site, TOTALS)
    teams = await _raw(site, f"tags ->> 'team' AS team, {TOTALS}", "GROUP BY 1")
    day = "to_char(date_trunc('day', occurred_at, $3::text) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI')"
    days = await _raw(site, f"{day} AS day, tags ->> 'team' AS team, {TOTALS}", "GROUP BY 1, 2", zone)

    await _figure(page, "Cost", money(str(whole["cost"])))
    await _figure(page, "Requests", count(whole["requests"]))
    await _figure(page, "Model tokens", compact(whole["input"] + whole["output"]))
    for team in teams:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=team["team"], exact=True))
        cells = row.get_by_role("cell")
        await expect(cells.nth(1)).to_contain_text(money(str(team["cost"])))
        await expect(cells.nth(3)).to_have_text(percent(float(team["cost"] / whole["cost"])))
        await expect(cells.nth(4)).to_have_text(count(team["requests"]))
        await expect(cells.nth(5)).to_have_text(f"{compact(team['input'])} / {compact(team['output'])}")

    export = await page.get_by_role("link", name="CSV").get_attribute("href")
    answer = await page.context.request.get(site.url + (export or ""))
    shown = {
        (line["at"][:16], line["tag:team"]): (int(line["requests"]), Decimal(line["cost"] or 0))
        for line in csv.DictReader(io.StringIO(await answer.text()))
    }
    wanted = {(row["day"], row["team"]): (row["requests"], row["cost"] or Decimal(0)) for row in days}
    assert shown == wanted and len({at for at, _ in wanted}) >= 7
