"""How a provider's endpoints do, as a person sees it while calls fail and heal, and what it told of its limits."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.forwarded import SLUG, Forwarded
from tests.e2e.sight import faults_in_both_themes, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _call(forwarded: Forwarded, **headers: str) -> int:
    """Send one request straight to the provider's path."""
    sent = {
        "authorization": f"Bearer {forwarded.key}",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{forwarded.url}/gw/openai/v1/chat/completions"
    async with aiohttp.ClientSession() as client, client.post(url, json=body, headers=sent) as answer:
        await answer.read()
        return answer.status


async def test_an_endpoint_that_fails_is_shown_open_and_well_again_after_a_call_that_worked(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    page = await (await visit()).page(f"/providers?organization={SLUG}&q=openai")
    await settled(page)
    row = page.get_by_role("dialog").locator("[data-endpoint]")
    await expect(row).to_contain_text("sandbox")
    await expect(row).to_contain_text("well")

    for _ in range(6):
        assert await _call(forwarded, x_sandbox_status="503") == 503

    # Without a reload. After ten seconds the next call is a trial.
    await expect(row).to_contain_text(re.compile("open until|pass it over until|half open"))
    await expect(row).to_contain_text("http_503")
    await expect(row).to_contain_text("in a row")
    assert await _call(forwarded) == 200
    await expect(row).to_contain_text("well")
    await expect(row).to_contain_text("http_503")


async def test_limits_that_a_provider_told_are_bars_beside_its_credential(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    assert await _call(forwarded, x_sandbox_rate_limit="60") == 200

    page = await (await visit()).page(f"/providers?organization={SLUG}&q=openai")
    await settled(page)

    limits = page.get_by_role("dialog").get_by_role("group", name="Limits of sandbox")
    await expect(limits).to_contain_text(re.compile(r"requests\s*\d+ of 60 left"))
    bar = limits.get_by_role("progressbar", name="Limits of sandbox: requests")
    await expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^[1-9]"))
    row = page.get_by_role("dialog").get_by_role("row").filter(has_text="sk-ope")
    await expect(row).not_to_contain_text("not in the last day")


async def test_health_that_cannot_be_read_is_told_and_the_rest_of_the_panel_stays(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    found = await visit()
    page = await found.page("/")
    away = {"type": "about:blank", "title": "Unavailable", "status": 503, "detail": "Redis does not answer."}
    for path in ("**/health", "**/limits"):
        await page.route(f"{site.url}/api/{path}", lambda route: route.fulfill(status=503, json=away))
    await page.goto(f"{site.url}/providers?organization={SLUG}&q=groq")

    panel = page.get_by_role("dialog")
    await expect(panel.get_by_role("alert")).to_contain_text("Redis does not answer.")
    await expect(panel.get_by_role("button", name="Rotate sandbox")).to_be_visible()


async def test_everybody_can_read_the_health_of_a_provider(visit: Any, site: Site, forwarded: Forwarded) -> None:
    assert await _call(forwarded, x_sandbox_rate_limit="60") == 200
    page = await (await visit(reduced_motion="reduce")).page(f"/providers?organization={SLUG}&q=openai")
    await settled(page)
    await expect(page.get_by_role("progressbar").first).to_be_visible()

    faults = [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_in_both_themes(page)

    assert not faults, "\n".join(faults)
