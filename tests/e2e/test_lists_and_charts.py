"""The list of calls is sorted and shows the columns one chose; charts compare with the period before and are saved."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Site
from tests.e2e.sight import settled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_heads_click_sorts_the_whole_list_and_not_the_page_alone(visit: Any, site: Site) -> None:
    page = await (await visit()).page(f"/calls?{urlencode(site.span)}")
    await settled(page)

    await page.get_by_role("button", name="Cost").click()
    await page.wait_for_url("**sort=-cost**")
    await settled(page)
    dearest = await site.node.ask("/api/metering/calls", **site.span, sort="-cost", limit="1")
    await page.locator("tbody tr").first.click()
    await expect(page.get_by_role("dialog").get_by_text(dearest["items"][0]["id"])).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("columnheader", name="Cost")).to_have_attribute("aria-sort", "descending")

    await page.get_by_role("button", name="More").click()
    await expect(page.locator("tbody tr")).to_have_count(100)
    shown = await page.locator("tbody [data-column=cost]").all_inner_texts()
    amounts = [Decimal(text.replace("$", "")) for text in shown]
    assert amounts == sorted(amounts, reverse=True) and len(set(amounts)) > 10

    await page.get_by_role("button", name="Cost").click()
    await expect(page.get_by_role("columnheader", name="Cost")).to_have_attribute("aria-sort", "ascending")


async def test_chosen_columns_stand_in_the_address_and_are_kept(visit: Any, site: Site) -> None:
    found = await visit()
    page = await found.page("/calls?range=7d")
    await settled(page)

    await page.get_by_role("button", name="Columns").click()
    async with page.expect_response(
        lambda answer: "/api/identity/me" in answer.url and answer.request.method == "PATCH"
    ):
        await page.get_by_role("checkbox", name="Tags").check()
    await expect(page.get_by_role("columnheader", name="Tags")).to_be_visible()
    assert "tags" in page.url
    async with page.expect_response(
        lambda answer: "/api/identity/me" in answer.url and answer.request.method == "PATCH"
    ):
        await page.get_by_role("checkbox", name="Provider").uncheck()

    other = await found.page("/calls?range=7d")
    await settled(other)
    await expect(other.get_by_role("columnheader", name="Tags")).to_be_visible()
    await expect(other.get_by_role("columnheader", name="Provider")).to_have_count(0)
    async with other.expect_response(
        lambda answer: "/api/identity/me" in answer.url and answer.request.method == "PATCH"
    ):
        await other.get_by_role("button", name="Columns").click()
        await other.get_by_role("button", name="The usual ones").click()
    await expect(other.get_by_role("columnheader", name="Provider")).to_be_visible()


async def test_a_calls_fields_have_names_for_people(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d")
    await settled(page)

    await page.locator("tbody tr").first.click()

    await expect(page.get_by_role("dialog").get_by_role("rowheader", name="Received", exact=True)).to_be_visible()
    assert "_at" not in "".join(await page.get_by_role("dialog").get_by_role("rowheader").all_inner_texts())


async def test_a_chart_is_saved_as_a_picture(visit: Any, site: Site) -> None:
    page = await (await visit()).page(f"/costs?{urlencode(site.span)}&interval=1mo")
    await settled(page)

    async with page.expect_download() as started:
        await page.get_by_role("button", name="Save Cost as PNG").click()
    download = await started.value

    assert download.suggested_filename == "nexus-cost.png"
    assert (await download.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


async def test_costs_stand_beside_those_of_the_period_before(visit: Any, site: Site) -> None:
    # The second half of what there is, so that the first half is the period before.
    answer = await site.node.ask("/api/metering/calls", **site.span, sort="timestamp", limit="1")
    first, end = answer["items"][0]["timestamp"], site.span["to"]
    page = await (await visit()).page("/calls")
    middle = await page.evaluate(
        "([a, b]) => new Date((Date.parse(a) + Date.parse(b)) / 2).toISOString()", [first, end]
    )
    start = await page.evaluate("([m, b]) => new Date(2 * Date.parse(m) - Date.parse(b)).toISOString()", [middle, end])
    before = await site.node.ask("/api/metering/summary", **{"from": start, "to": middle}, group_by="provider")
    await page.goto(f"{site.url}/costs?{urlencode({'from': middle, 'to': end})}")
    await settled(page)

    amounts = {group["provider"]: group["cost"] for group in before["groups"] if group["cost"]}
    assert len(amounts) >= 4
    for provider, cost in amounts.items():
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=provider, exact=True))
        shown = await row.get_by_role("cell").nth(2).inner_text()
        found = re.match(r"\$([0-9.]+)", shown)
        assert found and abs(Decimal(found[1]) - Decimal(cost)) <= Decimal("0.005"), (provider, shown, cost)
