"""Bodies of calls: turned on under Settings, read on a call's page, and gone when somebody says so."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.forwarded import SLUG, Forwarded
from tests.e2e.sight import faults_of_access, fits, settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
OWN = {"x-nexus-organization": SLUG}
PATH = "/api/metering"


async def _call(site: Site, forwarded: Forwarded, page: Page) -> str:
    status, request_id = await forwarded.chat()
    assert status == 200
    (call,) = await forwarded.attempts(request_id, 1, page.context.request)
    return str(call["id"])


async def _show(site: Site, page: Page, call_id: str) -> None:
    await page.goto(f"{site.url}/calls/{call_id}?organization={SLUG}")
    await page.get_by_role("button", name="Show the bodies").click()


async def _why(site: Site, page: Page, call_id: str) -> str:
    answer = await page.context.request.get(f"{site.url}{PATH}/calls/{call_id}/bodies", headers=OWN)
    return str((await answer.json())["why"])


async def test_bodies_are_turned_on_read_and_deleted(visit: Any, site: Site, forwarded: Forwarded) -> None:
    page = await (await visit()).page(f"/settings?organization={SLUG}")
    before = await _call(site, forwarded, page)
    await _show(site, page, before)
    await expect(page.get_by_text("bodies are turned off for this organization")).to_be_visible()

    await page.goto(f"{site.url}/settings?organization={SLUG}")
    await settled(page)
    await page.get_by_role("switch", name="Keep bodies of calls").click()
    for name, text in (("Words that are masked", "hello"), ("Fields whose values are masked", "role")):
        box = page.get_by_role("combobox", name=name)
        await box.fill(text)
        await box.press("Enter")
    form = page.locator("form").filter(has_text="Keep bodies of calls")
    await form.get_by_role("button", name="Save").click()
    await expect(form.get_by_role("status")).to_have_text("Saved")
    await expect(page.get_by_text("On since")).to_be_visible()
    faults = [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_of_access(page)
    await page.set_viewport_size(WIDE)

    # In force within a second: whichever call is the first that is kept.
    kept = ""

    async def is_kept() -> bool:
        nonlocal kept
        kept = await _call(site, forwarded, page)
        for _ in range(40):
            if (why := await _why(site, page, kept)) != "on_its_way":
                return why == "kept"
        return False

    await until(is_kept, "a call's bodies are kept")
    await _show(site, page, kept)
    asked = page.get_by_role("region", name="Request")
    await expect(asked).to_contain_text('"content": "Say [word]."')
    await expect(asked).to_contain_text('"role": "[field]"')
    await expect(asked).to_contain_text("masked: ")
    await expect(asked).to_contain_text("fields 1")
    await expect(asked).to_contain_text("words 1")
    await expect(page.get_by_role("region", name="Answer")).to_contain_text('"object": "chat.completion"')
    faults += [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_of_access(page)
    assert not faults, "\n".join(faults)
    log = await page.context.request.get(
        f"{site.url}/api/governance/audit-log", params={"action": "call_bodies_read"}, headers=OWN
    )
    assert kept in {entry["row_id"] for entry in (await log.json())["items"]}

    await page.goto(f"{site.url}/settings?organization={SLUG}")
    await page.get_by_role("button", name="Delete all bodies").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("textbox").fill(SLUG)
    await dialog.get_by_role("button", name="Delete all bodies").click()
    await expect(page.get_by_text("Deleted: nothing kept so far can be read any more.")).to_be_visible()
    await _show(site, page, kept)
    await expect(page.get_by_text("somebody had all bodies deleted")).to_be_visible()
    off = await page.context.request.put(f"{site.url}{PATH}/body-settings", data={}, headers=OWN | {"origin": site.url})
    assert off.status == 200


async def test_what_cannot_be_is_refused_where_it_stands_and_nothing_typed_is_lost(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    page = await (await visit()).page(f"/settings?organization={SLUG}")
    words = page.get_by_role("combobox", name="Words that are masked")
    await words.fill("ab")
    await words.press("Enter")

    form = page.locator("form").filter(has_text="Keep bodies of calls")
    await form.get_by_role("button", name="Save").click()

    await expect(form.get_by_role("alert")).to_be_visible()
    await expect(form).to_contain_text("ab")
