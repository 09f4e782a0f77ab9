"""Metrics: a page that teaches, a list, and one metric explored by label, period and percentile, on a desk and on a phone."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, Site
from tests.e2e.sight import faults_of_access, fits, settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
PICTURES = os.environ.get("NEXUS_TEST_PICTURES")
EXPLORED = "/explore?metric=checkout.duration&kind=histogram&unit=s&range=1h"


async def picture(page: Any, name: str) -> None:
    """Keep a picture for whoever looks, where NEXUS_TEST_PICTURES names a folder."""
    if PICTURES:
        await page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def points(now: datetime) -> list[dict[str, Any]]:
    """An hour of three metrics."""
    made: list[dict[str, Any]] = []
    for minute in range(50):
        at = (now - timedelta(minutes=minute + 1)).isoformat()
        common = {"type": "metric", "timestamp": at, "service": "shop", "instance": "shop-1"}
        for place, route in enumerate(("/cart", "/pay")):
            slow = 4 if minute % 9 == 0 else 1
            values = [0.05 * (place + 1) * slow + 0.01 * (minute * step % 7) for step in range(1, 6)]
            made.append(
                common
                | {"name": "checkout.duration", "kind": "histogram", "unit": "s", "values": values,
                   "description": "How long a checkout takes.", "labels": {"route": route}}
            )  # fmt: skip
        made.append(common | {"name": "checkout.orders", "kind": "counter", "value": 3 + minute % 5, "unit": "{order}"})
        made.append(common | {"name": "queue.depth", "kind": "gauge", "value": 20 + minute % 11, "unit": "{job}"})
    return made


async def test_metrics_are_found_and_explored(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/explore")
    await settled(page)
    await expect(page.get_by_text("No metrics yet")).to_be_visible()
    await expect(page.get_by_text("checkout.duration")).to_be_visible()
    assert await faults_of_access(page) == []
    await picture(page, "metrics-empty")
    sent = await page.context.request.post(
        f"{site.url}/v1/events", data=points(datetime.now(UTC)), headers={"authorization": f"Bearer {site.key}"}
    )
    assert (await sent.json())["stored"] == 200

    async def is_listed() -> bool:
        return len((await site.node.ask("/api/metrics"))["items"]) == 3

    await until(is_listed, "the metrics are listed")
    await page.reload()
    row = page.get_by_role("row", name=re.compile("checkout.duration"))
    await expect(row).to_contain_text("histogram")
    await settled(page)
    assert await faults_of_access(page) == []
    await picture(page, "metrics-list")
    await row.press("Enter")
    await expect(page).to_have_url(re.compile("metric=checkout.duration"))
    await expect(page.get_by_role("heading", name="checkout.duration")).to_be_visible()

    await page.goto(site.url + EXPLORED)
    groups = page.get_by_role("table", name="Groups")
    await expect(groups.get_by_role("row", name=re.compile("all series"))).to_contain_text("500")
    await expect(page.get_by_role("heading", name="Percentiles")).to_be_visible()
    await settled(page)
    assert await faults_of_access(page) == []
    await picture(page, "metrics-percentiles")

    await page.get_by_role("combobox", name="Group by").click()
    await page.get_by_role("option", name="route", exact=True).click()
    await expect(groups.get_by_role("row", name="/cart")).to_contain_text("250")
    await page.keyboard.press("Escape")
    await settled(page)
    await picture(page, "metrics-grouped")
    await groups.get_by_role("row", name="/pay").press("Enter")
    await expect(page).to_have_url(re.compile("label.route=%2Fpay"))
    await expect(groups.get_by_role("row", name=re.compile("all series"))).to_contain_text("250")
    # A link shows somebody else the same; what the server refuses is said in its words.
    await page.goto(f"{site.url}/explore?metric=nothing.of.it")
    await expect(page.get_by_text("there is no metric 'nothing.of.it'")).to_be_visible()
    await picture(page, "metrics-unknown")

    phone = await (await visit(color_scheme="dark")).page(f"{EXPLORED}&group=label.route")
    await expect(phone.get_by_role("table", name="Groups")).to_contain_text("/cart")
    await settled(phone)
    assert await fits(phone, **PHONE)
    assert await faults_of_access(phone) == []
    await picture(phone, "metrics-phone-dark")
