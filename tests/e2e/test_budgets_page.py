"""Budgets: a page that teaches, a form that checks as one types, a budget with its spend, who spends it and what happened."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.sight import faults_of_access, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")
PICTURES = os.environ.get("NEXUS_TEST_PICTURES")


async def picture(page: Any, name: str) -> None:
    """Keep a picture for whoever looks, where NEXUS_TEST_PICTURES names a folder."""
    if PICTURES:
        await page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


async def test_a_budget_is_made_looked_at_and_changed(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/budgets")
    await settled(page)
    await expect(page.get_by_text("No budgets yet")).to_be_visible()
    await picture(page, "empty")

    await page.get_by_role("button", name="New budget").click()
    form = page.get_by_role("dialog", name="New budget")
    await form.get_by_label("Name").fill("search")
    await form.get_by_label("Amount").fill("0")
    await expect(form.get_by_text("give an amount of more than nothing")).to_be_visible()
    await form.get_by_label("Amount").fill("1000000")
    await form.get_by_label("Period").select_option("year")
    await form.get_by_label("Reason").fill("agreed for this year")
    await expect(form.locator("[data-preview]")).to_contain_text("are spent of it already")
    await picture(page, "form")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_be_hidden()
    row = page.locator("[data-budget=search]")
    await expect(row).to_contain_text("the whole organization")
    await expect(row.locator("[data-state]")).to_have_text("within")
    assert await faults_of_access(page) == []
    await picture(page, "list")

    await row.get_by_role("link", name="search").click()
    await expect(page.get_by_role("heading", name="search", level=1)).to_be_visible()
    await settled(page)
    await expect(page.get_by_role("table", name="Who spends it")).to_contain_text(re.compile(r"\d"))
    await expect(page.get_by_text("No threshold was crossed.")).to_be_visible()
    assert await faults_of_access(page) == []
    await picture(page, "page")

    await page.get_by_role("button", name="Edit", exact=True).click()
    form = page.get_by_role("dialog", name="Edit search")
    await form.get_by_label("Amount").fill("0.000001")
    await form.get_by_label("Reason").fill("less")
    await expect(form.locator("[data-preview]")).to_contain_text("amount: 1000000 → 0.000001")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_be_hidden()
    await expect(page.locator("[data-state]").first).to_have_text("over")
    await expect(page.get_by_role("table", name="What happened")).to_contain_text("was crossed")


async def test_budgets_fit_the_screen_in_both_themes(visit: Any, site: Site) -> None:
    faults: list[str] = []
    for theme in ("light", "dark"):
        page = await (await visit(color_scheme=theme)).page("/budgets")
        await settled(page)
        await expect(page.locator("[data-budget=search]")).to_be_visible()
        for place in ("list", "page"):
            if place == "page":
                await page.get_by_role("link", name="search").click()
                await expect(page.get_by_role("heading", name="search", level=1)).to_be_visible()
                await settled(page)
            for size in (PHONE, WIDE):
                faults += [] if await fits(page, **size) else [f"{place}, {theme}: wider than {size['width']}"]
                await picture(page, f"{place}-{theme}-{size['width']}")
            faults += await faults_of_access(page)

    assert faults == []
