"""Capacity that organizations share, as whoever looks after the installation sees it: declared, shared out, and ended."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.sight import faults_in_both_themes, faults_of_access, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")
NAME = "account-iops"


async def test_a_capacity_is_declared_shared_out_and_ended(visit: Any, site: Site) -> None:
    made = await visit(reduced_motion="reduce")
    page = await made.page("/operations?tab=clusters")
    created = await page.request.post(
        f"{site.url}/api/identity/organizations",
        data={"name": "Sharers", "slug": "sharers"},
        headers={"origin": site.url},
    )
    assert created.ok, await created.text()
    await settled(page)

    await page.get_by_role("button", name="Share a capacity").click()
    form = page.get_by_role("dialog")
    await form.get_by_label("Name", exact=False).first.fill(NAME)
    await form.get_by_label("Which one").fill("east")
    await form.get_by_label("How much").fill("lots")
    await form.get_by_label("At once").fill("200")
    assert await faults_of_access(page) == []
    await form.get_by_role("button", name="Create", exact=True).click()
    await expect(form.get_by_label("How much")).to_have_attribute("aria-invalid", "true")
    await form.get_by_label("How much").fill("100")
    await form.get_by_role("button", name="Create", exact=True).click()
    await expect(form).to_have_count(0)
    shared = page.locator(f"[data-capacity={NAME}]")
    await expect(shared).to_contain_text("Nobody shares it yet.")

    await shared.get_by_role("button", name=f"Add a member {NAME}").click()
    await form.get_by_label("Organization").fill("sharers")
    await form.get_by_label("Guaranteed").fill("101")
    assert await faults_of_access(page) == []
    await form.get_by_role("button", name="Create", exact=True).click()
    await expect(form.get_by_label("Guaranteed")).to_have_attribute("aria-invalid", "true")
    await form.get_by_label("Guaranteed").fill("40")
    await form.get_by_role("button", name="Create", exact=True).click()
    await expect(form).to_have_count(0)

    # Alone, it is granted all there is, once the worker has looked.
    member = shared.get_by_role("row").filter(has_text="Sharers")
    await expect(member).to_contain_text("40")
    await expect(shared).to_contain_text("100 of 100 a second are granted")
    for size in (PHONE, WIDE):
        assert await fits(page, **size)
    assert await faults_in_both_themes(page) == []

    await shared.get_by_role("button", name=f"End sharing {NAME}").click()
    await form.get_by_role("textbox").fill(NAME)
    await form.get_by_role("button", name="End sharing").click()
    await expect(shared).to_have_count(0)
    assert made.complaints == []
