"""Loans as a person sees them: a rule is made, a loan is asked for with its price said first, given back, written off."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.limited import SLUG, Limited
from tests.e2e.sight import faults_of_access, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_limit_borrows_once_a_rule_lets_it_and_its_loan_is_ended(
    visit: Any, site: Site, limited: Limited
) -> None:
    slow = {"name": "night", "dimension": "operations", "rate": "10", "per": "hour", "capacity": "100"}
    quota = {"name": "night", "scope": "application", "subject": "shop", "limits": [slow], "reason": "the backup"}
    await limited.api("POST", "admission/quotas", quota)
    page = await (await visit()).page(f"/loans?organization={SLUG}")
    await settled(page)
    await expect(page.get_by_text("Nobody may borrow until there is a borrowing rule.")).to_be_visible()
    await expect(page.get_by_role("button", name="Borrow", exact=True)).to_be_disabled()

    await page.get_by_role("button", name="Add a rule").click()
    form = page.get_by_role("dialog", name="Add a rule")
    await form.get_by_role("textbox", name="Name", exact=True).fill("ahead")
    await form.get_by_role("combobox", name="From").click()
    await page.get_by_role("option", name="its own future").click()
    await form.get_by_role("textbox", name="Ratio").fill("1")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_contain_text("give more than 1")
    await form.get_by_role("textbox", name="Ratio").fill("1.4")
    await form.get_by_role("button", name="Save").click()
    await expect(page.locator("[data-rule=ahead]")).to_contain_text("its own future")

    for end in ("Give back", "Write off"):
        await page.get_by_role("button", name="Borrow", exact=True).click()
        form = page.get_by_role("dialog", name="Borrow")
        await form.get_by_role("combobox", name="Borrower").click()
        await page.get_by_role("option", name=re.compile("shop · night")).click()
        await form.get_by_role("combobox", name="Lender").click()
        await page.get_by_role("option", name="its own future").click()
        await form.get_by_role("textbox", name=re.compile("How much")).fill("-2")
        await expect(form).to_contain_text("Give a positive number")
        await form.get_by_role("textbox", name=re.compile("How much")).fill("20.5")
        offer = form.get_by_role("group", name="What will happen")
        await expect(offer).to_contain_text("20.5 operations now; 2.05 operations interest; 22.55 operations to repay.")
        await expect(offer).to_contain_text("Due at")
        assert await faults_of_access(page) == []
        await form.get_by_role("button", name="Borrow", exact=True).click()
        row = page.locator("[data-loan]").first
        await expect(row).to_contain_text("shop · night")
        await expect(row).to_contain_text(re.compile(r"in (\d+ min|1 h)"))

        await row.get_by_role("button", name=re.compile(f"^{end}")).click()
        dialog = page.get_by_role("dialog", name=end)
        if end == "Write off":
            await dialog.get_by_role("textbox", name="Reason").fill("a drill")
        await dialog.get_by_role("button", name=end).click()
        await expect(page.get_by_text("No loan is open")).to_be_visible()

    await page.get_by_text("Ended", exact=True).click()
    await expect(page.locator("[data-loan]")).to_have_count(2)
    for size in (WIDE, PHONE):
        assert await fits(page, size["width"], size["height"])
    assert await faults_of_access(page) == []
