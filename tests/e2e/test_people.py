"""Costs, keys, people, prices and the audit, walked through as a person would."""

from __future__ import annotations

import csv
import io
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Site
from tests.e2e.sight import count, money, settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
PASSWORD = "an owl reads seven maps"


async def _sent(site: Site, key: str) -> int:
    """The status that a program with this key meets."""
    record = {
        "id": key,
        "provider": "openai",
        "model": "gpt-4o",
        "status_code": 200,
        "tokens": {"input": 1, "output": 1},
    }
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{site.url}/v1/events", json=[record], headers={"authorization": f"Bearer {key}"}) as answer,
    ):
        return answer.status


async def _secret(page: Page) -> str:
    """What is shown this once; the dialog is closed after."""
    dialog = page.get_by_role("dialog").filter(has=page.locator("[data-secret]"))
    found = await dialog.locator("[data-secret] code").inner_text()
    await dialog.get_by_role("button", name="Done").click()
    await expect(dialog).to_be_hidden()
    return found


@pytest.mark.parametrize("zone", ["UTC", "Australia/Adelaide", "America/Los_Angeles"])
async def test_costs_are_those_of_the_api_and_of_its_export_in_any_zone(visit: Any, site: Site, zone: str) -> None:
    page = await (await visit(zone=zone)).page(f"/costs?{urlencode(site.span)}&by=tag:team&interval=1d")
    await settled(page)
    export = page.get_by_role("link", name="CSV")
    asked = {
        name: values[0] for name, values in parse_qs(urlsplit(await export.get_attribute("href") or "").query).items()
    }
    assert asked["tz"] == zone and asked["interval"] == "1d"

    answer = await site.node.ask(
        "/api/metering/summary", **{"from": asked["from"], "to": asked["to"], "group_by": "tag:team"}
    )
    tile = page.get_by_role("group", name="Cost", exact=True).locator("[data-figure]")
    await expect(tile).to_have_text(money(answer["total"]["cost"]))
    for group in answer["groups"]:
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=group["tag:team"], exact=True))
        await expect(row.get_by_role("cell").nth(1)).to_contain_text(money(group["cost"]))
        await expect(row.get_by_role("cell").nth(4)).to_have_text(count(group["requests"]))
    content = await page.context.request.get(site.url + (await export.get_attribute("href") or ""))
    assert content.headers["content-disposition"].startswith("attachment")
    text = await content.text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert sum(int(row["requests"]) for row in rows) == answer["total"]["requests"]


async def test_one_call_shows_the_sum_that_made_its_cost(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d&provider=openai")
    await settled(page)

    await page.locator("tbody tr").first.click()
    panel = page.get_by_role("dialog")
    total = await panel.locator("[data-total]").inner_text()
    lines = (
        await panel.get_by_role("table", name="How the cost is made")
        .locator("tbody tr td:nth-child(4)")
        .all_inner_texts()
    )

    assert len(lines) == 2
    assert f"{sum(map(float, lines)):.9f}" == f"{float(total.split()[0]):.9f}"


async def test_a_filter_is_chosen_from_what_occurs_and_taken_away_again(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d")
    await settled(page)

    await page.get_by_role("button", name="Add filter").click()
    await page.get_by_label("Filter", exact=True).first.click()
    await page.get_by_role("option", name="user", exact=True).click()
    await page.get_by_label("Value", exact=True).first.click()
    await page.get_by_role("option", name="grace").click()
    await page.wait_for_url("**user=grace**")
    await settled(page)
    await expect(page.locator("tbody [data-column=user]").first).to_have_text("grace")
    assert set(await page.locator("tbody [data-column=user]").all_inner_texts()) == {"grace"}

    await page.get_by_role("button", name="Remove the filter user: grace").click()
    await page.wait_for_url(lambda url: "grace" not in url)


async def test_a_range_on_a_zones_wall_clock_is_what_is_asked_for(visit: Any) -> None:
    page = await (await visit(zone="Asia/Kolkata")).page("/calls?range=7d")
    await settled(page)

    await page.get_by_role("button", name=re.compile("^Range")).click()
    await page.get_by_label("From").fill("2026-01-02T05:30")
    await page.get_by_label("To", exact=True).fill("2026-01-03T05:30")
    await page.get_by_role("button", name="Apply").click()

    await page.wait_for_url("**from=**")
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["from"], asked["to"]) == (["2026-01-02T00:00:00.000Z"], ["2026-01-03T00:00:00.000Z"])


async def test_a_key_is_made_used_rotated_and_revoked_and_the_audit_tells(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/keys")
    await settled(page)

    await page.get_by_role("button", name="Create key").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("mailer")
    await page.get_by_role("dialog").get_by_role("button", name="Create", exact=True).click()
    first = await _secret(page)
    assert first.startswith("nx_") and first not in await page.content()

    async def is_taken(key: str) -> bool:
        return await _sent(site, key) == 200

    await until(lambda: is_taken(first), "the new key is taken")
    await page.get_by_role("button", name="Rotate mailer").click()
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    second = await _secret(page)
    assert second != first
    await until(lambda: is_taken(second), "the successor is taken")
    assert await is_taken(first), "the old key works on for the overlap"

    await expect(page.get_by_role("row").filter(has_text="mailer")).to_have_count(2)
    await page.get_by_role("row").filter(has_text=second[:11]).get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("button", name="Revoke")).to_be_disabled()
    name = (await dialog.get_by_text("Type").inner_text()).removeprefix("Type ").removesuffix(" to confirm")
    await dialog.get_by_role("textbox").fill(name)
    await dialog.get_by_role("button", name="Revoke").click()
    await expect(dialog).to_be_hidden()

    async def is_refused() -> bool:
        return await _sent(site, second) == 401

    await until(is_refused, "the revoked key is refused")
    await page.goto(f"{site.url}/audit?range=1h&table_name=identity.access_keys")
    await settled(page)
    rows = page.locator("tbody tr")
    await expect(rows.filter(has_text="insert").first).to_contain_text(site.email)
    await rows.filter(has_text="update").first.click()
    await expect(page.get_by_role("dialog")).to_contain_text("revoked_at")


async def test_a_key_may_call_only_what_it_is_given(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/keys")
    made = await page.context.request.post(
        f"{site.url}/api/identity/access-keys",
        data={"name": "reacher", "scopes": ["gateway:call"]},
        headers={"origin": site.url},
    )
    place = f"/api/identity/access-keys/{(await made.json())['access_key']['id']}/gateway-reach"
    await page.reload()
    await settled(page)

    await page.get_by_role("button", name="What it may call: reacher").click()
    dialog = page.get_by_role("dialog")
    models = dialog.get_by_label("Models", exact=True)
    await models.fill("gpt-4o")
    await models.press("Enter")
    await models.fill("claude-*")
    await dialog.get_by_label("Providers", exact=True).fill("openai")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()
    kept: dict[str, Any] = {"providers": ["openai"], "models": ["gpt-4o", "claude-*"]}
    kept |= dict.fromkeys(("endpoints", "mcp_servers", "mcp_tools"))
    assert await site.node.ask(place) == kept

    await page.get_by_role("button", name="What it may call: reacher").click()
    await expect(dialog.get_by_text("claude-*", exact=True)).to_be_visible()
    for _ in kept["models"]:
        await models.press("Backspace")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()
    assert await site.node.ask(place) == kept | {"models": None}


async def test_somebody_is_invited_joins_turns_on_a_second_factor_and_is_removed(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/members")
    await settled(page)
    await page.get_by_role("button", name="Invite").click()
    await page.get_by_role("dialog").get_by_label("E-mail").fill("grace@example.com")
    await page.get_by_role("dialog").get_by_role("button", name="Invite").click()
    link = await _secret(page)
    await expect(page.get_by_role("table", name="Invitations")).to_contain_text("grace@example.com")

    guest = await (await visit(signed_in=False)).page("/sign-in")
    await guest.goto(link.replace(link.split("/invitation")[0], site.url))
    await expect(guest.get_by_text("You are invited")).to_be_visible()
    await guest.get_by_label("Your name").fill("Grace")
    await guest.locator("input[name=password]").fill("12345678901234")
    await guest.get_by_role("button", name="Join").click()
    await expect(guest.locator("input[name=password]")).to_have_attribute("data-invalid", "true")
    await guest.locator("input[name=password]").fill(PASSWORD)
    await guest.get_by_role("button", name="Join").click()
    await guest.wait_for_url("**/sign-in*")
    await _sign_in(guest)
    await expect(guest.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(guest.get_by_role("link", name="Audit")).to_have_count(0)

    await guest.goto(f"{site.url}/account")
    await guest.get_by_role("button", name="Turn on").click()
    secret = await guest.locator("[data-secret] code").first.inner_text()
    await guest.get_by_label("Code from").fill(_totp(secret))
    await guest.get_by_role("button", name="Confirm").click()
    codes = (await guest.locator("[data-secret] pre").inner_text()).split()
    assert len(codes) == 10
    await guest.get_by_role("button", name="Your account").click()
    await guest.get_by_role("menuitem", name="Sign out").click()
    await guest.wait_for_url("**/sign-in*")
    await _sign_in(guest)
    await guest.locator("input[name=code]").fill("000000")
    await guest.keyboard.press("Enter")
    await expect(guest.get_by_role("alert")).to_be_visible()
    await guest.locator("input[name=code]").fill(codes[0])
    await guest.keyboard.press("Enter")
    await expect(guest.get_by_role("heading", name="Overview")).to_be_visible()

    await page.reload()
    await settled(page)
    row = page.get_by_role("row").filter(has_text="grace@example.com")
    await expect(row).to_contain_text("on")
    await row.get_by_role("combobox").select_option("viewer")
    await settled(page)
    await row.get_by_role("button", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("textbox").fill("grace@example.com")
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("row").filter(has_text="grace@example.com")).to_have_count(0)
    await page.goto(f"{site.url}/audit?range=1h&table_name=identity.memberships&action=delete")
    await settled(page)
    await expect(page.locator("tbody tr").first).to_contain_text(site.email)


async def _sign_in(page: Page) -> None:
    await page.get_by_label("E-mail").fill("grace@example.com")
    await page.locator("input[name=password]").fill(PASSWORD)
    await page.keyboard.press("Enter")


def _totp(secret: str) -> str:
    pyotp = pytest.importorskip("pyotp", reason="pyotp is not installed: `make setup`")
    return str(pyotp.TOTP(secret.replace(" ", "")).now())


async def test_a_price_of_ones_own_stands_in_the_book(visit: Any) -> None:
    page = await (await visit()).page("/prices?provider=mistral")
    await settled(page)

    await page.get_by_role("button", name="Add a price").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Model").fill("mistral-large-latest")
    await dialog.get_by_label("Amount").nth(0).fill("not money")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()
    await dialog.get_by_label("Amount").nth(0).fill("1.11")
    await dialog.get_by_label("Amount").nth(1).fill("2.22")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()

    await page.goto(page.url + "&model=mistral-large-latest")
    await settled(page)
    await expect(page.get_by_role("row").filter(has_text="yours")).to_contain_text("input 1.11/1M, output 2.22/1M")


async def test_settings_are_kept_and_the_servers_words_are_shown(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/settings")
    await settled(page)
    await expect(page.get_by_label("Name").first).not_to_have_value("")

    await page.get_by_label("Billing e-mail").fill("money@example.com")
    await page.get_by_role("button", name="Save").first.click()
    await expect(page.get_by_role("status")).to_have_text("Saved")
    attempts = page.get_by_label("auth.max_login_attempts", exact=True)
    await attempts.fill("-3")
    await page.get_by_role("row").filter(has=attempts).get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()

    await page.reload()
    await settled(page)
    await expect(page.get_by_label("Billing e-mail")).to_have_value("money@example.com")
    await expect(attempts).to_have_value("5")
