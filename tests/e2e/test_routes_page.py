"""Aliases of models: added, changed, removed; and the request that tries one, as a program would send it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.forwarded import ALIAS, FIRST, SECOND, SLUG, Forwarded
from tests.e2e.sight import faults_in_both_themes, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_route_is_added_changed_and_removed(visit: Any, site: Site, forwarded: Forwarded) -> None:
    page = await (await visit()).page(f"/routes?organization={SLUG}")
    await settled(page)
    await expect(page.locator(f"[data-route={ALIAS}]")).to_have_count(2)

    await page.get_by_role("button", name="Add a route").click()
    form = page.get_by_role("dialog", name="Add a route")
    await form.get_by_label("Alias").fill("no spaces")
    await form.get_by_role("combobox", name="Provider").fill("groq")
    await form.get_by_role("combobox", name="Model").fill("some-model")
    await form.get_by_role("button", name="Save").click()
    await expect(form.get_by_text(re.compile("[Aa]lias.*pattern|match"))).to_be_visible()
    await form.get_by_label("Alias").fill("careful")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_be_hidden()
    row = page.locator("[data-route=careful]")
    await expect(row).to_contain_text("some-model")
    await expect(row).to_contain_text("first")

    await row.get_by_role("button", name="Edit careful").click()
    form = page.get_by_role("dialog", name="Edit careful")
    await form.get_by_role("combobox", name="Provider").fill("nobody-known")
    await form.get_by_label("Weight").fill("0")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_be_hidden()
    await expect(row).to_contain_text("off")
    await expect(row).to_contain_text("no credential: it is passed over")

    await row.get_by_role("button", name="Remove careful").click()
    form = page.get_by_role("dialog", name="Remove")
    await expect(form).to_contain_text("calls that name careful are refused")
    await form.get_by_role("button", name="Remove").click()
    await expect(row).to_have_count(0)
    await expect(page.locator(f"[data-route={ALIAS}]")).to_have_count(2)


async def test_an_alias_is_tried_with_a_pasted_key_which_is_kept_nowhere(
    visit: Any, site: Site, forwarded: Forwarded
) -> None:
    found = await visit()
    page = await found.page(f"/routes?organization={SLUG}")
    await settled(page)
    sent: list[str] = []
    page.on(
        "request", lambda request: forwarded.key in (request.post_data or "") + request.url and sent.append(request.url)
    )

    await page.get_by_role("button", name=f"Try it {ALIAS}").click()
    await page.locator("input[type=password]").fill(forwarded.key)
    await page.get_by_role("button", name="Send", exact=True).click()

    outcome = page.locator("[data-outcome]")
    await expect(outcome.get_by_role("group", name="Status")).to_contain_text("200")
    await expect(outcome.get_by_role("group", name="Answer", exact=True)).to_contain_text("The call went through")
    await expect(outcome.get_by_role("group", name="Whole answer after")).to_contain_text(re.compile(r"\d"))
    await expect(outcome.locator("[data-attempt]")).to_have_count(1)
    await expect(outcome.locator("[data-attempt]")).to_contain_text(re.compile(f"{FIRST}|{SECOND}"))
    kept = await page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert forwarded.key not in kept and not sent

    await outcome.get_by_role("link", name="Attempts, timing and cost").click()
    await expect(page.get_by_role("heading", name="One attempt")).to_be_visible()
    await settled(page)
    await expect(page.get_by_text("usage exact")).to_be_visible()


async def test_a_refused_request_is_told_in_the_gateways_words(visit: Any, site: Site, forwarded: Forwarded) -> None:
    page = await (await visit()).page(f"/routes?organization={SLUG}&q=nowhere-at-all")
    await settled(page)

    await page.locator("input[type=password]").fill(forwarded.key)
    await page.get_by_role("button", name="Send", exact=True).click()

    outcome = page.locator("[data-outcome]")
    await expect(outcome.get_by_role("group", name="Status")).to_contain_text("404")
    await expect(outcome.get_by_role("group", name="Answer", exact=True)).to_contain_text("nowhere-at-all")
    await page.locator("input[type=password]").fill("nx_0000000000000000000000000000000000000000000")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(outcome.get_by_role("group", name="Status")).to_contain_text("401")


async def test_the_snippet_does_what_the_form_does(visit: Any, site: Site, forwarded: Forwarded) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here: `apt-get install curl`")
    page = await (await visit()).page(f"/routes?organization={SLUG}&q={ALIAS}")
    await settled(page)

    await page.get_by_label("Message").fill("""It's "fine" \\ so""")
    await page.get_by_role("tabpanel").get_by_role("button", name="Copy").click()
    snippet = await page.evaluate("navigator.clipboard.readText()")
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", snippet], env={**os.environ, "NEXUS_ACCESS_KEY": forwarded.key},
        capture_output=True, text=True,
    )  # fmt: skip
    await page.get_by_role("tab", name="Python").click()
    python = await page.get_by_role("tabpanel").locator("pre").inner_text()

    assert "The call went through" in done.stdout, (done.stdout, done.stderr)
    compile(python, "snippet", "exec")
    assert f'model="{ALIAS}"' in python and f"{site.url}/gw/v1" in python


async def test_without_routes_the_page_says_what_they_are_for(visit: Any, site: Site, forwarded: Forwarded) -> None:
    page = await (await visit()).page("/routes")
    await settled(page)

    await expect(page.get_by_role("heading", name="No routes yet")).to_be_visible()
    await page.get_by_role("button", name="Add a route").click()
    await expect(page.get_by_role("dialog", name="Add a route")).to_be_visible()
    await page.keyboard.press("Escape")
    away = {
        "type": "about:blank",
        "title": "Away",
        "status": 503,
        "detail": "The database is away.",
        "request_id": "r-1",
    }
    await page.route("**/api/catalog/model-routes*", lambda route: route.fulfill(status=503, json=away))
    await page.reload()
    # A failure of the server is tried again before it is told.
    await expect(page.get_by_role("alert")).to_contain_text("The database is away.")


async def test_everybody_can_read_the_routes_and_what_opens(visit: Any, site: Site, forwarded: Forwarded) -> None:
    page = await (await visit(reduced_motion="reduce")).page(f"/routes?organization={SLUG}&q={ALIAS}")
    await settled(page)
    await page.locator("input[type=password]").fill(forwarded.key)
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.locator("[data-outcome] [data-attempt]").first).to_be_visible()
    faults = [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_in_both_themes(page)
    await page.get_by_role("button", name="Add a route").click()
    await page.get_by_role("dialog", name="Add a route").wait_for()
    faults += [] if await fits(page, **PHONE) else ["the form is wider than a phone"]
    faults += await faults_in_both_themes(page)

    assert not faults, "\n".join(faults)
