"""The limits' page: how full every bucket is, as it changes; who is refused by which limit, and why."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.limited import SLUG, Limited
from tests.e2e.sight import faults_in_both_themes, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATH = f"/limits?organization={SLUG}"


async def test_a_call_moves_its_bucket_and_a_refusal_says_who_and_why(visit: Any, site: Site, limited: Limited) -> None:
    tight = {"name": "tight", "dimension": "requests", "method": "fixed_window", "amount": "5", "period": "year"}
    quota = {"name": "tight", "scope": "application", "subject": "tight", "limits": [tight], "reason": "few"}
    await limited.api("POST", "admission/quotas", quota)
    page = await (await visit()).page(PATH)
    await settled(page)
    while not (await limited.admit(application="tight"))[1].get("limits"):
        pass
    line = page.locator("[data-bucket]", has_text="tight")
    await expect(line).to_contain_text("4 of 5 requests")
    await expect(line).to_have_attribute("data-status", "healthy")

    for _ in range(4):
        await limited.admit(application="tight")
    refused = [await limited.admit(application="tight") for _ in range(3)]
    large = await limited.admit(application="tight", requests=6)

    assert [status for status, _ in [*refused, large]] == [429] * 4
    await expect(line).to_contain_text("0 of 5 requests")
    await expect(line).to_have_attribute("data-status", "critical")
    await expect(line).to_contain_text("4 refused")
    rows = page.locator("[data-refusal=tight]")
    await expect(rows).to_have_count(2)
    used_up = rows.filter(has_text="used up")
    await expect(used_up).to_contain_text(re.compile(r"limited \(nx_.*tight.*used up.*3after"))
    await expect(rows.filter(has_text="larger than the limit allows")).to_contain_text("waiting does not help")

    await line.focus()
    await page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Bucket: tight")
    await expect(panel.locator("[data-transaction=charge]")).to_have_count(5)
    await expect(panel.locator("[data-refusal]")).to_have_count(2)
    assert "q=" in page.url
    await page.keyboard.press("Escape")
    await page.get_by_text("Refusing", exact=True).click()
    await expect(page.locator("[data-bucket]")).to_have_count(1)


async def test_a_hold_is_explained_by_its_id(visit: Any, site: Site, limited: Limited) -> None:
    flight = {"name": "slots", "dimension": "tokens", "method": "fixed_window", "amount": "1000", "period": "year"}
    quota = {"name": "slots", "scope": "application", "subject": "slots", "limits": [flight], "reason": "few"}
    await limited.api("POST", "admission/quotas", quota)
    while not (await limited.admit(application="slots"))[1].get("limits"):
        pass
    assert (await limited.admit(application="slots", tokens=300, hold_id="job-1"))[0] == 200
    page = await (await visit()).page(PATH)
    await page.get_by_role("search", name="Explain a hold").get_by_role("textbox").fill("job-1")
    await page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Hold")
    again = panel.get_by_role("button", name="Try again")
    row = panel.locator("[data-limit=slots]")
    await row.or_(again).first.wait_for()
    while await again.is_visible():
        # The trail is a second behind.
        await again.click()
        await row.or_(again).first.wait_for()

    await expect(panel.locator("[data-state]")).to_contain_text("open")
    await expect(row).to_contain_text("1 000300700––".replace(" ", "\u202f"))
    assert await fits(page, **PHONE), "the panel is wider than a phone"
    await limited.settle({"hold_id": "job-1", "actual": {"tokens": 120}})
    await expect(panel.locator("[data-state]")).to_contain_text("settled")
    await expect(row).to_contain_text("700120180")


async def test_everybody_can_read_the_limits_and_a_bucket(visit: Any, site: Site, limited: Limited) -> None:
    while not (await limited.admit(application="shop", operation="list"))[1].get("limits"):
        pass
    page = await (await visit(reduced_motion="reduce")).page(PATH)
    await page.locator("[data-bucket]").first.wait_for()
    faults = [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_in_both_themes(page)
    await page.locator("[data-bucket]").first.click()
    await page.get_by_role("dialog").locator("[data-transaction]").first.wait_for()
    faults += [] if await fits(page, **PHONE) else ["the panel is wider than a phone"]
    faults += await faults_in_both_themes(page)

    assert not faults, "\n".join(faults)


async def test_without_limits_the_page_leads_to_quotas(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/limits")

    await expect(page.get_by_role("heading", name="Nothing is limited yet")).to_be_visible()
    await page.get_by_role("button", name="Make a quota").click()
    await expect(page.get_by_role("heading", name="Quotas", exact=True)).to_be_visible()
