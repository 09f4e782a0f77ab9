"""The page of one call: the attempts of its request, their time, its cost line by line, what is not known."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.forwarded import SECOND, SLUG, Forwarded
from tests.e2e.sight import duration, faults_in_both_themes, faults_of_access, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_all_attempts_of_a_request_are_shown_with_why_there_was_another(visit: Any, forwarded: Forwarded) -> None:
    calls = forwarded.retried
    page = await (await visit()).page(f"/calls/{calls[0]['id']}?organization={SLUG}")
    await settled(page)

    await expect(page.get_by_role("heading", name="3 attempts")).to_be_visible()
    rows = page.locator("[data-attempt]")
    await expect(rows).to_have_count(3)
    for row, call in zip(await rows.all(), calls, strict=True):
        await expect(row).to_contain_text(call["provider"])
        await expect(row).to_contain_text(str(call["status_code"]))
        await expect(row).to_contain_text("sandbox")
        await expect(row).to_contain_text(duration(call["response_time_ms"]))
    await expect(rows.nth(0)).to_contain_text(re.compile(r"the provider failed .*; tried again after"))
    await expect(rows.nth(1)).to_contain_text(f"went on to openai/{SECOND}")
    await expect(rows.nth(2)).to_contain_text("answered the client")
    bars = page.get_by_role("img", name="Attempt")
    await expect(bars).to_have_count(3)
    await expect(bars.nth(0)).to_have_attribute("aria-label", re.compile("In Nexus before sending"))
    await expect(bars.nth(2)).to_have_attribute("aria-label", re.compile("Until the first byte"))
    # One after the other on a bar that all share: each begins right of the one before.
    starts = [
        await bar.locator("span").first.evaluate("item => item.getBoundingClientRect().left")
        for bar in await bars.all()
    ]
    assert starts == sorted(starts) and starts[0] < starts[2]

    await page.get_by_role("link", name="Attempt 3").click()
    await expect(page).to_have_url(re.compile(calls[2]["id"]))
    await expect(page.get_by_text("usage exact")).to_be_visible()


async def test_the_cost_is_told_line_by_line_with_the_price_it_was_made_from(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    call = forwarded.retried[2]
    page = await (await visit()).page(f"/calls/{call['id']}?organization={SLUG}")
    await settled(page)

    asked = {"usage": call["tokens"], "is_failure": False}
    headers = {"origin": site.url, "x-nexus-organization": SLUG}
    answer = await page.context.request.post(
        f"{site.url}/api/catalog/prices/{call['price_id']}/sum", data=asked, headers=headers
    )
    lines = (await answer.json())["lines"]
    assert {line["unit"] for line in lines} >= {"input", "output"}
    table = page.get_by_role("table", name="How the cost is made")
    for line in lines:
        row = table.get_by_role("row").filter(has=page.get_by_role("cell", name=line["unit"], exact=True))
        await expect(row).to_contain_text(line["amount"])
        await expect(row.get_by_role("cell").last).to_have_text(line["cost"])
    await expect(table.locator("[data-total]")).to_contain_text(call["cost"])
    await expect(page.locator("[data-price]")).to_contain_text(f"openai {SECOND}")
    await expect(page.locator("[data-price]")).to_contain_text("source")


async def test_the_list_leads_to_the_page_of_a_call_that_was_reported(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/calls?range=7d&model=gpt-4o")
    await settled(page)

    await page.locator("tbody tr").first.click()
    await page.get_by_role("dialog").get_by_role("link", name="Attempts, timing and cost").click()

    await expect(page.get_by_role("heading", name="One attempt")).to_be_visible()
    await settled(page)
    await expect(page.get_by_role("group", name="In Nexus before sending")).to_contain_text("–")
    await expect(page.locator("[data-total]")).to_be_visible()
    await page.get_by_role("navigation", name="Where this is").get_by_role("link").click()
    await expect(page.get_by_role("heading", name="Calls", exact=True)).to_be_visible()
    assert "at=" not in page.url


async def test_metadata_of_strangers_breaks_no_page(visit: Any, site: Site) -> None:
    odd = {"gateway": {"credential": {"a": 1}, "attempt": "x", "queue_ms": -5, "usage": [], "client_left": "yes"}}
    page = await (await visit()).page("/calls?range=7d")
    headers = {"authorization": f"Bearer {site.key}"}
    record = {"id": "odd-1", "provider": "rare-metadata", "status_code": 200, "metadata": odd}
    sent = await page.context.request.post(f"{site.url}/v1/events", data=[record], headers=headers)
    assert sent.status == 200

    await page.goto(f"{site.url}/calls?range=15m&provider=rare-metadata")
    await page.locator("tbody tr.open").first.click()
    await page.get_by_role("dialog").get_by_role("link", name="Attempts, timing and cost").click()

    await settled(page)
    await expect(page.get_by_role("heading", name="One attempt")).to_be_visible()


async def test_a_call_that_is_not_there_is_said_to_be_missing(visit: Any) -> None:
    for unknown in ("019f0000-0000-7000-8000-000000000000", quote("no call")):
        page = await (await visit()).page(f"/calls/{unknown}")
        await expect(page.get_by_role("alert")).to_be_visible()
        await expect(page.get_by_role("button", name="Try again")).to_be_visible()


async def test_a_refused_call_says_what_was_asked_and_which_limit_refused(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    page = await (await visit()).page(f"/calls?organization={SLUG}&refused=true")
    own = {"origin": site.url, "x-nexus-organization": SLUG}

    async def make(path: str, data: dict[str, Any]) -> dict[str, Any]:
        answer = await page.context.request.post(f"{site.url}/api/{path}", data=data, headers=own)
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())

    scarce = {"name": "scarce", "dimension": "requests", "method": "fixed_window", "amount": "1", "period": "year"}
    quota = {"name": "scarce", "scope": "application", "subject": "scarce", "limits": [scarce], "reason": "few"}
    await make("admission/quotas", quota)
    new = {"name": "scarce", "scopes": ["gateway:call"], "application": "scarce"}
    client = Forwarded(site.url, (await make("identity/access-keys", new))["key"], [])
    status, request_id = 0, ""
    while status != 429:
        # The key and the quota are known within a second.
        status, request_id = await client.chat()
    attempts = await client.attempts(request_id, 2, page.context.request)

    await page.reload()
    await expect(page.locator("tbody tr.open").first).to_contain_text("refused 429")
    await page.goto(f"{site.url}/calls/{attempts[1]['id']}?organization={SLUG}")
    await settled(page)
    await expect(page.get_by_role("alert").filter(has_text="refused by the limit scarce")).to_be_visible()
    await expect(page.locator("[data-attempt]").nth(0)).to_contain_text("not sent (refused by the limit scarce)")
    await expect(page.locator("[data-limit=scarce]")).to_contain_text("01refused")
    await expect(page.get_by_text("It was never sent, so it cost nothing.")).to_be_visible()
    faults = [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_of_access(page)
    assert not faults, "\n".join(faults)


async def test_everybody_can_read_the_page_of_a_call(visit: Any, site: Site, forwarded: Forwarded) -> None:
    page = await (await visit(reduced_motion="reduce")).page("/")
    calls = forwarded.retried
    faults: list[str] = []
    for call in (calls[0], calls[2]):
        await page.goto(f"{site.url}/calls/{call['id']}?organization={SLUG}")
        await settled(page)
        faults += [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
        faults += await faults_in_both_themes(page)

    assert not faults, "\n".join(faults)
