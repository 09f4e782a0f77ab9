"""Storage as a person sees it: nothing yet, then IOPS and throughput by application, one application, and its limit."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from playwright.async_api import expect

from nexus.kit.ids import uuid7
from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.sight import faults_of_access, fits, settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
SLUG = "storers"


def windows(now: datetime) -> list[dict[str, Any]]:
    """An hour of two applications, one of which is slow and fails."""
    made: list[dict[str, Any]] = []
    for number in range(12):
        at = now - timedelta(minutes=5 * number + 2)
        common = {"type": "storage", "timestamp": at.isoformat(), "cluster": "east", "window_seconds": 60}
        made.append(
            common | {"id": str(uuid7(at)), "application": "shop", "operation": "read_small", "read_ops": 6000,
                      "bytes_read": 24_576_000, "avg_latency_ms": 0.5, "p99_latency_ms": 4.0}
        )  # fmt: skip
        made.append(
            common | {"id": str(uuid7(at)), "application": "batch", "operation": "write_large", "write_ops": 60,
                      "bytes_written": 62_914_560, "avg_latency_ms": 8.0, "error_count": 6}
        )  # fmt: skip
    return made


async def test_storage_from_nothing_to_one_application_and_its_limit(visit: Any, site: Site) -> None:
    made = await visit()
    page = await made.page("/")
    headers = {"origin": site.url}
    created = await page.request.post(
        f"{site.url}/api/identity/organizations", data={"name": "Storers", "slug": SLUG}, headers=headers
    )
    assert created.ok, await created.text()
    here = {**headers, "x-nexus-organization": SLUG}
    minted = await page.request.post(
        f"{site.url}/api/identity/access-keys", data={"name": "storage", "scopes": ["events:write"]}, headers=here
    )
    key = (await minted.json())["key"]
    quota = {
        "name": "apps", "scope": "application", "reason": "try",
        "limits": [{"name": "bandwidth", "dimension": "bytes", "rate": "2000000", "per": "second"}],
    }  # fmt: skip
    limited = await page.request.post(f"{site.url}/api/admission/quotas", data=quota, headers=here)
    assert limited.ok, await limited.text()
    await page.goto(f"{site.url}/storage?organization={SLUG}")
    await settled(page)
    await expect(page.get_by_text("No storage operations yet in this range")).to_be_visible()
    assert await faults_of_access(page) == []

    records = windows(datetime.now(UTC))

    async def is_stored() -> bool:
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{site.url}/v1/events", json=records, headers={"authorization": f"Bearer {key}"}) as answer,
        ):
            return answer.status == 200

    async def is_in_force() -> bool:
        answer = await page.request.get(f"{site.url}/api/storage/limits", headers=here)
        return len((await answer.json())["limits"]) == 1

    await until(is_stored, "the windows are taken")
    await until(is_in_force, "the limit is in force")
    await page.goto(f"{site.url}/storage?organization={SLUG}&range=6h")
    await settled(page)
    await expect(page.get_by_role("group", name="Operations", exact=True)).to_contain_text("72.7")
    await expect(page.get_by_role("group", name="IOPS", exact=True)).to_contain_text("peak 100")
    applications = page.get_by_role("table", name="Applications")
    await expect(applications.get_by_role("row", name=re.compile("shop"))).to_contain_text("highest p99 4.0")
    await expect(applications.get_by_role("row", name=re.compile("batch"))).to_contain_text("72")
    await expect(applications.get_by_role("row", name=re.compile("shop"))).to_contain_text("0\u202f% admitted")
    await expect(page.get_by_role("table", name="Clusters")).to_contain_text("east")
    for size in (WIDE, PHONE):
        assert await fits(page, size["width"], size["height"])
    assert await faults_of_access(page) == []

    await applications.get_by_role("button", name="batch").press("Enter")
    await expect(page).to_have_url(re.compile("application=batch"))
    await settled(page)
    await expect(page.get_by_role("table", name="Kinds of operations").get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("img", name="Throughput over time")).to_be_visible()
    await page.get_by_role("button", name="Remove the filter batch").click()
    await expect(applications.get_by_role("row")).to_have_count(3)
    assert made.complaints == []
