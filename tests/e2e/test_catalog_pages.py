"""Providers with their credentials, price lists that are taken in, and the audit that tells who did it."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.async_api import FilePayload, expect

from tests.e2e.conftest import Site
from tests.e2e.sight import count, percent, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")
SECRET = "sk-very-secret-0123456789"


async def test_providers_show_how_their_calls_go_and_lead_to_them(visit: Any, site: Site) -> None:
    page = await (await visit()).page(f"/providers?{urlencode(site.span)}")
    await settled(page)

    answer = await site.node.ask("/api/metering/summary", **site.span, group_by="provider")
    for group in answer["groups"]:
        row = page.get_by_role("row").filter(has=page.get_by_text(re.compile(rf"^{group['provider']}\b"))).first
        await expect(row.get_by_role("cell").nth(2)).to_have_text(count(group["requests"]))
        await expect(row.get_by_role("cell").nth(3)).to_have_text(percent(group["error_rate"]))

    await page.get_by_role("textbox", name="Search providers").fill("anthropic")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.locator("tbody tr").get_by_role("link").first.click()
    await expect(page.get_by_role("heading", name="Calls")).to_be_visible()
    assert parse_qs(urlsplit(page.url).query)["provider"] == ["anthropic"]


async def test_a_provider_credential_is_added_rotated_and_removed_and_never_shown(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/providers?q=openai")
    await settled(page)
    panel = page.get_by_role("dialog")
    answers: list[str] = []

    async def note(response: Any) -> None:
        if "provider-credentials" in response.url and response.status < 300 and response.request.method != "DELETE":
            answers.append(await response.text())

    page.on("response", note)
    await panel.get_by_role("button", name="Add credential").click()
    form = page.get_by_role("dialog", name="Add credential")
    await form.get_by_label("Name").fill("production")
    await form.locator("input[type=password]").fill(SECRET)
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_be_hidden()
    row = panel.get_by_role("row").filter(has_text="production")
    await expect(row).to_contain_text("sha256")
    before = await row.inner_text()

    await row.get_by_role("button", name="Rotate production").click()
    form = page.get_by_role("dialog", name="Rotate production")
    await form.locator("input[type=password]").fill("another-secret-9876543210")
    await form.get_by_role("button", name="Rotate").click()
    await expect(form).to_be_hidden()
    await expect(row).not_to_have_text(before)

    await row.get_by_role("button", name="Remove production").click()
    form = page.get_by_role("dialog", name="Remove")
    await form.get_by_role("textbox").fill("production")
    await form.get_by_role("button", name="Remove").click()
    await expect(panel.get_by_text("None. The gateway needs one")).to_be_visible()
    assert answers and not any(SECRET in text or "another-secret-9876543210" in text for text in answers)
    assert SECRET not in await page.content()


async def test_a_price_list_is_taken_in_and_the_audit_tells_who_did_it(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/prices?tab=imports")
    await settled(page)
    models = {
        "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1},
        "walked-in": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.5},
    }
    file: FilePayload = {
        "name": "model_prices.json",
        "mimeType": "application/json",
        "buffer": json.dumps(models).encode(),
    }

    await page.get_by_role("button", name="Import a price list").click()
    dialog = page.get_by_role("dialog")
    await dialog.locator("input[type=file]").set_input_files({**file, "buffer": b"[1, 2]"})
    await dialog.get_by_role("button", name="Import", exact=True).click()
    await expect(dialog.get_by_text("it is no map of models")).to_be_visible()
    await dialog.locator("input[type=file]").set_input_files(file)
    await dialog.get_by_label("Only tell what it would do").check()
    await dialog.get_by_role("button", name="Try").click()
    await expect(dialog.get_by_role("status")).to_contain_text("prices added 1, new conflicts 1")
    await dialog.get_by_label("Only tell what it would do").uncheck()
    await dialog.get_by_role("button", name="Import", exact=True).click()
    await expect(dialog.get_by_role("status")).to_contain_text("prices added 1")
    await dialog.get_by_role("link", name="Conflicts").click()
    await expect(page.get_by_role("row").filter(has_text="gpt-4o").filter(has_text="litellm")).to_be_visible()

    await page.goto(f"{site.url}/members")
    await settled(page)
    await page.get_by_role("link", name=f"Audit: {site.email}").click()
    await expect(page.get_by_role("heading", name="Audit")).to_be_visible()
    await settled(page)
    await expect(page.get_by_role("combobox", name="Who")).to_have_value(site.email)
    await page.get_by_label("Change").select_option("price_list_import")
    await page.wait_for_url("**action=price_list_import**")
    await settled(page)
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text(site.email)

    await page.get_by_label("Change").select_option("")
    await page.get_by_role("combobox", name="Who").fill("nobody at all")
    await page.get_by_role("button", name="Apply").click()
    await page.wait_for_url("**who=nobody**")
    await expect(page.get_by_role("heading", name="Nothing changed in this range")).to_be_visible()
