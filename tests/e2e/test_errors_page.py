"""Errors: a page that teaches, an inbox with filters and what is done to several, an issue with its trend, samples and causes."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from nexus.kit.ids import uuid7
from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.sight import faults_of_access, fits, settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
PICTURES = os.environ.get("NEXUS_TEST_PICTURES")
STACK = """Traceback (most recent call last):
  File "/app/shop/web.py", line {0}, in checkout
    charge(order)
  File "/app/shop/pay.py", line {0}, in charge
    raise PaymentError(f"card of order {{order}} was declined")
PaymentError: card of order {0} was declined"""


async def picture(page: Any, name: str) -> None:
    """Keep a picture for whoever looks, where NEXUS_TEST_PICTURES names a folder."""
    if PICTURES:
        await page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def errors(now: datetime) -> list[dict[str, Any]]:
    """Errors of four causes, over the last hours."""
    made: list[dict[str, Any]] = []

    def add(number: int, message: str, **fields: Any) -> None:
        at = now - timedelta(minutes=17 * number + 1)
        made.append({"type": "error", "id": str(uuid7(at)), "message": message, "service": "shop", **fields})

    for number in range(40):
        add(
            number, f"card of order {9000 + number} was declined", error_type="PaymentError", level="fatal",
            stack_trace=STACK.format(number + 12), category="external_api", impact_level="high", end_user=f"visitor-{number % 7}",
            service_version=f"2.{number // 20}", context={"order": 9000 + number, "api_key": "not to be kept"},
            environment="staging" if number % 5 == 0 else "production",
        )  # fmt: skip
    for number in range(12):
        add(
            number * 3,
            f"connection to db-{number}.internal:{5432 + number} refused",
            error_type="ConnectionError",
            category="database",
        )
    for number in range(3):
        add(number, "the cache is slow", level="warn", service="cache")
    add(5, "template has no title", error_type="TemplateError")
    return made


async def test_errors_are_looked_through_and_dealt_with(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/errors")
    await settled(page)
    await expect(page.get_by_text("No errors yet")).to_be_visible()
    assert await faults_of_access(page) == []
    await picture(page, "errors-empty")
    sent = await page.context.request.post(
        f"{site.url}/v1/events", data=errors(datetime.now(UTC)), headers={"authorization": f"Bearer {site.key}"}
    )
    assert (await sent.json())["stored"] == 56

    async def is_folded() -> bool:
        return (await site.node.ask("/api/errors/values"))["environment"] == ["production", "staging"]

    await until(is_folded, "the errors are folded")
    await page.reload()
    row = page.locator("tr[data-issue^='card of order']")
    await expect(row.locator("[data-count]")).to_have_text("40")
    await expect(page.locator("tr[data-issue]")).to_have_count(4)
    assert await faults_of_access(page) == []
    await picture(page, "errors")

    await page.get_by_label("Search").fill("refused")
    await page.keyboard.press("Enter")
    await expect(page.locator("tr[data-issue]")).to_have_count(1)
    await expect(page).to_have_url(re.compile("q=refused"))
    await page.get_by_label("Search").fill("")
    await page.get_by_role("button", name="Apply").click()
    await page.get_by_label("Environment").select_option("staging")
    await expect(page.locator("tr[data-issue]")).to_have_count(1)
    await page.get_by_label("Environment").select_option("")
    await expect(page.locator("tr[data-issue]")).to_have_count(4)

    for title in ("the cache is slow", "template has no title"):
        await page.get_by_role("checkbox", name=f"Choose {title}").check()
    together = page.get_by_role("group", name="2 chosen")
    await together.get_by_role("button", name="Merge").click()
    dialog = page.get_by_role("dialog", name="Merge")
    await expect(dialog).to_contain_text("the cache is slow")
    await dialog.get_by_role("button", name="Merge").click()
    await expect(page.locator("tr[data-issue]")).to_have_count(3)
    await expect(page.locator("tr[data-issue='the cache is slow'] [data-count]")).to_have_text("4")
    await page.get_by_role("checkbox", name="Choose the cache is slow").check()
    await page.get_by_role("button", name="Ignore").click()
    await expect(page.locator("tr[data-issue]")).to_have_count(2)

    # By keyboard into the issue.
    await row.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="PaymentError", level=1)).to_be_visible()
    await settled(page)
    await expect(page.locator("[data-sample]")).to_contain_text("shop/pay.py")
    await expect(page.locator("[data-sample]")).to_contain_text('"api_key": "[secret]"')
    await expect(page.locator("[data-cause=stack]")).to_contain_text("message: card of order <n> was declined")
    assert await faults_of_access(page) == []
    await picture(page, "issue")
    await page.get_by_role("button", name="Older").click()
    await expect(page.get_by_text("Sample 2 of")).to_be_visible()
    await page.get_by_label("Note", exact=True).fill("the bank is told")
    await page.get_by_role("button", name="Add a note").click()
    await expect(page.locator("[data-event=note]")).to_contain_text("the bank is told")
    await page.get_by_role("button", name="Resolve", exact=True).click()
    dialog = page.get_by_role("dialog", name="Resolve")
    await dialog.get_by_label("Why (optional)").fill("fixed in 2.2")
    await dialog.get_by_role("button", name="Resolve").click()
    await expect(page.locator("[data-status]")).to_have_text("resolved")
    await expect(page.locator("[data-event=resolved]")).to_contain_text("fixed in 2.2")

    again = errors(datetime.now(UTC) + timedelta(minutes=3))[:1]
    await page.context.request.post(
        f"{site.url}/v1/events", data=again, headers={"authorization": f"Bearer {site.key}"}
    )
    await expect(page.locator("[data-status]")).to_have_text("regressed")
    await expect(page.locator("[data-event=regressed]")).to_have_count(1)


async def test_errors_fit_the_screen_in_both_themes(visit: Any, site: Site) -> None:
    faults: list[str] = []
    for theme in ("light", "dark"):
        page = await (await visit(color_scheme=theme)).page("/errors?status=all")
        await settled(page)
        for place in ("errors", "issue"):
            if place == "issue":
                await page.get_by_role("link", name="PaymentError").click()
                await expect(page.get_by_role("heading", name="PaymentError", level=1)).to_be_visible()
                await settled(page)
            for size in (PHONE, WIDE):
                faults += [] if await fits(page, **size) else [f"{place}, {theme}: wider than {size['width']}"]
                await picture(page, f"{place}-{theme}-{size['width']}")
            faults += await faults_of_access(page)

    assert faults == []
