"""The whole way of one person, from signing in with two factors to finding all of it in the audit; and the same by keyboard."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import subprocess
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Site
from tests.e2e.sight import settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
WALKER, PASSWORD = "walker@example.com", "seven maps for an owl"
HOME, OTHER = "walk-home", "walk-other"


async def _post(page: Page, site: Site, path: str, data: dict[str, Any], organization: str) -> dict[str, Any]:
    headers = {"origin": site.url, **({"x-nexus-organization": organization} if organization else {})}
    answer = await page.context.request.post(f"{site.url}{path}", data=data, headers=headers)
    assert answer.ok, await answer.text()
    return dict(await answer.json())


async def _status(site: Site, key: str) -> int:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{site.url}/v1/events", data=b"[]", headers={"authorization": f"Bearer {key}"}) as answer,
    ):
        return answer.status


async def _walker(visit: Any, site: Site) -> str:
    """Make somebody with two organizations and a second factor; returns the factor's secret."""
    pyotp = pytest.importorskip("pyotp", reason="pyotp is not installed: `make setup`")
    admin = await (await visit()).page("/sign-in")
    for slug in (HOME, OTHER):
        made = {"name": slug.replace("-", " ").title(), "slug": slug}
        await _post(admin, site, "/api/identity/organizations", made, "")
    invited = await _post(admin, site, "/api/identity/invitations", {"email": WALKER, "role": "owner"}, HOME)
    await _post(admin, site, "/api/identity/invitations/accept",
                {"token": invited["token"], "name": "Walker", "password": PASSWORD}, HOME)  # fmt: skip
    again = await _post(admin, site, "/api/identity/invitations", {"email": WALKER, "role": "owner"}, OTHER)
    own = await (await visit(signed_in=False)).page("/sign-in")
    await _post(own, site, "/api/identity/sign-in", {"email": WALKER, "password": PASSWORD}, HOME)
    await _post(own, site, "/api/identity/invitations/accept", {"token": again["token"]}, HOME)
    secret = (await _post(own, site, "/api/identity/me/second-factor", {}, HOME))["secret"]
    code = pyotp.TOTP(secret).now()
    await _post(own, site, "/api/identity/me/second-factor/confirm", {"code": code}, HOME)
    return str(secret)


def _next_code(secret: str) -> str:
    """The code after the one that was used to confirm: each works once, and clocks may differ by one step."""
    import pyotp

    return str(pyotp.TOTP(secret).at(int(time.time()), counter_offset=1))


async def _once(page: Page) -> str:
    dialog = page.get_by_role("dialog").filter(has=page.locator("[data-secret]"))
    found = await dialog.locator("[data-secret] code").inner_text()
    await dialog.get_by_role("button", name="Done").click()
    await expect(dialog).to_be_hidden()
    return found


async def test_the_whole_way(visit: Any, site: Site) -> None:
    secret = await _walker(visit, site)
    page = await (await visit(signed_in=False)).page(f"/?organization={HOME}&range=24h")

    # In, with both factors, to where one wanted.
    await page.get_by_label("E-mail").fill(WALKER)
    await page.locator("input[name=password]").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.locator("input[name=code]").fill(_next_code(secret))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query)["organization"] == [HOME]

    # A key with one scope.
    await page.get_by_role("link", name="Keys", exact=True).first.click()
    await page.get_by_role("button", name="Create key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("importer")
    await dialog.get_by_role("button", name="Create", exact=True).click()
    key = await _once(page)
    await expect(page.get_by_role("row").filter(has_text="importer")).to_contain_text("events:write")

    async def is_known() -> bool:
        return await _status(site, key) != 401

    await until(is_known, "the new key is known")

    # The snippet as it stands there, pasted, and its call without a reload.
    await page.get_by_role("link", name="Overview", exact=True).click()
    await page.get_by_role("tab", name="Python").click()
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await page.evaluate("window.stays = true")
    await page.get_by_role("tabpanel").get_by_role("button", name="Copy").click()
    snippet = await page.evaluate("navigator.clipboard.readText()")
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", snippet], env={**os.environ, "NEXUS_ACCESS_KEY": key},
        capture_output=True, text=True,
    )  # fmt: skip
    assert '"accepted":1' in done.stdout.replace(" ", ""), (done.stdout, done.stderr)
    figure = page.get_by_role("group", name="Requests", exact=True).locator("[data-figure]")
    await expect(figure).to_have_text("1")
    assert await page.evaluate("window.stays")

    # Filter, zoom, follow the figure to its calls, export them.
    await settled(page)
    await page.get_by_role("button", name="Add filter").click()
    await page.get_by_label("Value", exact=True).first.click()
    await page.get_by_role("option", name="openai").click()
    await page.wait_for_url("**provider=openai**")
    await settled(page)
    box = await page.get_by_role("img", name="Requests").locator("canvas").first.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] - 9, box["y"] + 70, steps=6)
    await page.mouse.up()
    await page.wait_for_url("**from=**")
    await expect(figure).to_have_text("1")
    await figure.click()
    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()
    await settled(page)
    await expect(page.locator("tbody tr")).to_have_count(1)
    export = await page.get_by_role("link", name="CSV").get_attribute("href")
    answer = await page.context.request.get(site.url + (export or ""))
    lines = list(csv.DictReader(io.StringIO(await answer.text())))
    assert [line["provider"] for line in lines] == ["openai"]

    # Rotate without an overlap, then revoke the successor: refused.
    await page.goto(f"{site.url}/keys?organization={HOME}")
    await page.get_by_role("button", name="Rotate importer").click()
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    successor = await _once(page)

    async def is_taken() -> bool:
        return await _status(site, successor) != 401

    await until(is_taken, "the successor is known")
    row = page.get_by_role("row").filter(has_text=successor[:11])
    await row.get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog")
    name = (await dialog.get_by_text("Type").inner_text()).removeprefix("Type ").removesuffix(" to confirm")
    await dialog.get_by_role("textbox").fill(name)
    await dialog.get_by_role("button", name="Revoke").click()
    await expect(dialog).to_be_hidden()

    async def is_refused() -> bool:
        return await _status(site, successor) == 401

    await until(is_refused, "the revoked key is refused")

    # Invite somebody, and think better of the administrator.
    await page.get_by_role("link", name="Members", exact=True).click()
    await page.get_by_role("button", name="Invite").click()
    await page.get_by_role("dialog").get_by_label("E-mail").fill("friend@example.com")
    await page.get_by_role("dialog").get_by_role("button", name="Invite").click()
    assert "/invitation#token=" in await _once(page)
    await expect(page.get_by_role("table", name="Invitations")).to_contain_text("friend@example.com")
    await page.get_by_role("button", name=f"Remove {site.email}").click()
    await page.get_by_role("dialog").get_by_role("textbox").fill(site.email)
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("table", name="Members").get_by_text(site.email)).to_have_count(0)

    # The other organization knows nothing of this.
    await page.get_by_role("link", name="Overview", exact=True).click()
    await expect(figure).to_have_text("1")
    await page.get_by_role("combobox", name="Organization").click()
    await page.get_by_role("option", name="Walk Other").click()
    await page.wait_for_url(f"**organization={OTHER}**")
    await expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
    await page.get_by_role("link", name="Keys", exact=True).first.click()
    await expect(page.get_by_role("heading", name="No access keys yet")).to_be_visible()
    await page.get_by_role("combobox", name="Organization").click()
    await page.get_by_role("option", name="Walk Home").click()
    await expect(page.get_by_role("row").filter(has_text="importer").first).to_be_visible()

    # All of it stands in the audit.
    for table, action, what in [
        ("identity.access_keys", "insert", "importer"), ("identity.access_keys", "update", "revoked_at"),
        ("identity.invitations", "insert", "friend@example.com"), ("identity.memberships", "delete", "owner"),
    ]:  # fmt: skip
        await page.goto(
            f"{site.url}/audit?organization={HOME}&range=1h&who={WALKER}&table_name={table}&action={action}"
        )
        await settled(page)
        await expect(page.locator("tbody tr").first).to_contain_text(WALKER)
        await page.locator("tbody tr").first.click()
        await expect(page.get_by_role("dialog")).to_contain_text(what)


async def test_by_keyboard_alone(visit: Any, site: Site) -> None:
    page = await (await visit(signed_in=False)).page("/keys")
    keyboard = page.keyboard

    async def tab_to(role: Any, name: str) -> None:
        wanted = page.get_by_role(role, name=name, exact=True).first
        await expect(wanted).to_be_visible()
        for _ in range(120):
            if await wanted.evaluate("element => element === document.activeElement"):
                return
            await keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {name}")

    await expect(page.get_by_label("E-mail")).to_be_focused()
    await keyboard.type(site.email)
    await keyboard.press("Tab")
    await keyboard.type(site.password)
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    await settled(page)

    await tab_to("button", "Create key")
    await keyboard.press("Enter")
    await keyboard.type("by keyboard")
    await keyboard.press("Enter")
    await expect(page.locator("[data-secret] code")).to_be_visible()
    await tab_to("button", "Done")
    await keyboard.press("Enter")
    await expect(page.get_by_role("row").filter(has_text="by keyboard")).to_be_visible()
    await tab_to("button", "Revoke by keyboard")
    await keyboard.press("Enter")
    await keyboard.type("by keyboard")
    await keyboard.press("Enter")
    await expect(page.get_by_role("row").filter(has_text="by keyboard")).to_have_count(0)

    await keyboard.press("Control+k")
    await keyboard.type("overview")
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await keyboard.press("Control+k")
    await keyboard.type("last 30 days")
    await keyboard.press("Enter")
    await page.wait_for_url("**range=30d**")
    await settled(page)
    await tab_to("link", "anthropic")
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()
    await settled(page)
    await tab_to("button", "Cost")
    await keyboard.press("Enter")
    await page.wait_for_url("**sort=-cost**")
    await tab_to("checkbox", "Only errors")
    await keyboard.press("Space")
    await page.wait_for_url("**errors=true**")
    await settled(page)
    await page.locator("tbody tr").first.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
