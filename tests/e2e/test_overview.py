"""Sign-in and Overview as a person meets them: figures, live, links, charts, keyboard, sight."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.conftest import Site
from tests.e2e.sight import count, money, percent, settled
from tests.e2e.traffic import send
from tests.e2e.visits import slowed
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_wrong_password_is_told_and_the_right_one_leads_to_where_one_wanted(visit: Any, site: Site) -> None:
    page = await (await visit(signed_in=False)).page("/calls?range=7d")
    await page.wait_for_url("**/sign-in?*")

    await page.get_by_label("E-mail").fill(site.email)
    await page.locator("input[name=password]").fill("not it, surely")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("password")
    await expect(page.get_by_label("E-mail")).to_have_value(site.email)
    await page.locator("input[name=password]").fill(site.password)
    await page.keyboard.press("Enter")

    await page.wait_for_url("**/calls?*")
    assert "range=7d" in page.url
    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()


async def test_a_link_to_elsewhere_does_not_follow_a_sign_in(visit: Any, site: Site) -> None:
    person = await visit(signed_in=False)
    for there in (
        "//evil.example/",
        "///evil.example/",
        "https://evil.example/",
        "/\\evil.example/",
        "/\t/evil.example",
    ):
        await person.context.clear_cookies()
        page = await person.page(f"/sign-in?then={quote(there)}")
        await page.get_by_label("E-mail").fill(site.email)
        await page.locator("input[name=password]").fill(site.password)
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        assert page.url.startswith(f"{site.url}/")
        await page.close()


@pytest.mark.parametrize("zone", ["UTC", "Australia/Adelaide", "America/Los_Angeles"])
async def test_the_figures_are_those_of_the_api(visit: Any, site: Site, zone: str) -> None:
    found = await visit(zone=zone)
    page = await found.page(f"/?{urlencode(site.span)}")
    await settled(page)

    answer = await site.node.ask(
        "/api/metering/summary",
        **site.span,
        group_by="provider",
    )
    total = answer["total"]
    for name, shown in {
        "Requests": count(total["requests"]),
        "Error rate": percent(total["error_rate"]),
        "Cost": money(total["cost"]),
    }.items():
        await expect(page.get_by_role("group", name=name, exact=True).locator("[data-figure]")).to_have_text(shown)
    for group in answer["groups"]:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=group["provider"], exact=True))
        await expect(row.get_by_role("cell").nth(1)).to_have_text(count(group["requests"]))


async def test_a_figure_leads_to_the_calls_behind_it(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/?range=7d")
    await settled(page)

    await page.get_by_role("link", name="anthropic", exact=True).click()

    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()
    await settled(page)
    asked = parse_qs(urlsplit(page.url).query)
    assert asked["provider"] == ["anthropic"] and asked["range"] == ["7d"]
    providers = await page.locator("tbody [data-column=provider]").all_inner_texts()
    assert providers and set(providers) == {"anthropic"}


async def test_only_errors_are_shown_when_only_they_are_asked_for(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d")
    await settled(page)

    await page.get_by_label("Only errors").check()

    await page.wait_for_url("**errors=true**")
    await expect(page.locator("tbody tr").first).to_contain_text(re.compile("429|500|503"))
    statuses = await page.locator("tbody [data-column=status]").all_inner_texts()
    assert statuses and set(statuses) <= {"429", "500", "503"}


async def test_what_callers_wrote_is_text_and_nothing_else(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d&errors=true")
    await settled(page)
    rows = page.locator("tbody tr")

    seen = False
    for place in range(await rows.count()):
        await rows.nth(place).click()
        panel = page.get_by_role("dialog")
        await expect(panel).to_be_visible()
        seen = seen or "<script>" in await panel.inner_text()
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        if seen:
            break

    assert seen
    assert await page.title() != "stolen"


async def _empty_organization(page: Any, site: Site, slug: str) -> str:
    """Make an organization without calls; returns a key of it."""
    headers = {"origin": site.url}
    made = await page.context.request.post(
        f"{site.url}/api/identity/organizations", data={"name": f"{slug} & <b>Co</b>", "slug": slug}, headers=headers
    )
    assert made.status == 201, await made.text()
    answer = await page.context.request.post(
        f"{site.url}/api/identity/access-keys",
        data={"name": "first", "scopes": ["events:write"]},
        headers={**headers, "x-nexus-organization": slug},
    )
    assert answer.status == 201, await answer.text()
    key = str((await answer.json())["key"])

    async def is_known() -> bool:
        headers = {"authorization": f"Bearer {key}"}
        return (await page.context.request.post(f"{site.url}/v1/events", data="[]", headers=headers)).status != 401

    # The data plane learns of it within a second.
    await until(is_known, "the new key is known")
    return key


@pytest.mark.parametrize("language", ["curl", "Python"])
async def test_the_pages_own_snippet_sends_a_call_that_appears_without_reload(
    visit: Any, site: Site, language: str
) -> None:
    if language == "curl" and shutil.which("curl") is None:
        pytest.skip("no curl here: `apt-get install curl`")
    slug = f"fresh-{language.lower()}"
    page = await (await visit()).page("/sign-in")
    key = await _empty_organization(page, site, slug)
    await page.goto(f"{site.url}/?organization={slug}")
    await expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
    await page.evaluate("window.stays = true")
    await expect(page.get_by_text("live", exact=True)).to_be_visible()

    await page.get_by_role("tab", name=language).click()
    await page.get_by_role("tabpanel").get_by_role("button", name="Copy").click()
    snippet = await page.evaluate("navigator.clipboard.readText()")
    command = ["bash", "-c", snippet] if language == "curl" else [sys.executable, "-c", snippet]
    done = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, "NEXUS_ACCESS_KEY": key}, capture_output=True, text=True
    )

    assert '"accepted":1' in done.stdout.replace(" ", ""), (done.stdout, done.stderr)
    figure = page.get_by_role("group", name="Requests", exact=True).locator("[data-figure]")
    await expect(figure).to_have_text("1")
    assert await page.evaluate("window.stays")


async def test_an_answer_that_everybody_shares_gives_way_when_a_call_is_stored(visit: Any, site: Site) -> None:
    found = await visit()
    page = await found.page("/?range=30d&provider=rare")
    await settled(page)

    async def is_shared() -> bool:
        async with page.expect_response(lambda answer: "/api/dashboards/summary?last=30d" in answer.url) as answered:
            await page.reload()
        return (await answered.value).headers["x-cache"] == "hit"

    # What other tests stored may be announced late, and takes the first answer out of use.
    await until(is_shared, "the answer is shared")
    figure = page.get_by_role("group", name="Requests", exact=True).locator("[data-figure]")
    await expect(figure).to_have_text("0")
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await page.evaluate("window.stays = true")

    # Kept answers of thirty days live for thirty minutes: only what was stored can make this one go.
    await send(site.url, site.key, [{"id": "rare-1", "provider": "rare", "status_code": 200}])

    await expect(figure).to_have_text("1")
    assert await page.evaluate("window.stays")


async def test_dragging_over_a_chart_narrows_the_range_of_the_whole_view(visit: Any) -> None:
    page = await (await visit()).page("/?range=7d")
    await settled(page)
    chart = page.get_by_role("img", name="Requests").locator("canvas").first
    box = await chart.bounding_box()
    assert box is not None

    await page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 70, steps=6)
    await page.mouse.up()

    await page.wait_for_url("**from=**")
    asked = parse_qs(urlsplit(page.url).query)
    assert "range" not in asked and asked["from"] < asked["to"]
    await settled(page)


async def test_the_keyboard_alone_leads_everywhere(visit: Any) -> None:
    page = await (await visit()).page("/?range=7d")
    await settled(page)

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Control+k")
    await page.keyboard.type("calls")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()
    await settled(page)
    # In one step: calls that come in between would move the row from under the focus.
    await page.locator("tbody tr").first.press("Enter")

    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_letters_typed_right_after_opening_the_palette_are_not_lost(visit: Any) -> None:
    page = await (await visit()).page("/?range=7d")
    await settled(page)

    async with slowed(page, 4):
        await page.keyboard.press("Control+k")
        await page.keyboard.type("costs")

    await expect(page.get_by_role("textbox", name="Go to…")).to_have_value("costs")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Costs", exact=True)).to_be_visible()


async def test_script_of_the_first_view_is_small(browser: Browser, site: Site) -> None:
    # A browser of its own, that has kept nothing of former visits.
    context = await browser.new_context(storage_state=site.state)
    sizes: dict[str, int] = {}

    async def note(response: Any) -> None:
        if response.url.endswith(".js"):
            sizes[response.url.rsplit("/", 1)[-1]] = (await response.request.sizes())["responseBodySize"]

    context.on("response", note)
    page = await context.new_page()
    await page.goto(site.url)
    await settled(page)

    await until(lambda: all(sizes.values()) and len(sizes) > 1, "sizes are known")
    first = {name: size for name, size in sizes.items() if not name.startswith("Chart")}
    assert 0 < sum(first.values()) < 250_000, sizes
    await context.close()
