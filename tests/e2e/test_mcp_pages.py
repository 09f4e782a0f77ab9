"""MCP servers as a person sees them: nothing yet, then tools by calls and failures, one tool, one call, and what nobody calls."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from playwright.async_api import expect

from nexus.kit.ids import uuid7
from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.sight import faults_of_access, fits, settled
from tests.races.node import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
SLUG = "toolmakers"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def records(now: datetime) -> list[dict[str, Any]]:
    """Calls of two servers, one of which lists a tool that nobody calls."""
    made: list[dict[str, Any]] = []
    for number in range(12):
        at = now - timedelta(minutes=30 - number)
        fails = number % 4 == 3
        made.append(
            {
                "type": "tool_call", "id": str(uuid7(at)), "server": "files" if number % 3 else "web",
                "tool": "read" if number % 3 else "fetch", "outcome": "tool_error" if fails else "ok",
                "duration_ms": 10.0 * (number + 1), "parameters": {"path": f"/etc/{number % 2}", "password": "hunter2"},
                "response": {"text": "fine"}, "error_message": "no such file" if fails else None, "error_type": "OSError",
                "client_name": "desk", "client_version": "1.2", "user": "ann",
                "trace_id": TRACE if number in {10, 11} else None,
            }
        )  # fmt: skip
    listed = {"tools": [{"name": "read"}, {"name": "shred"}]}
    made.append(
        {"type": "mcp_request", "id": str(uuid7(now - timedelta(minutes=31))), "method": "tools/list", "outcome": "ok",
         "server": "files", "status_code": 200, "duration_ms": 3.0, "response_body": listed}
    )  # fmt: skip
    return made


async def test_tools_one_tool_and_one_call_from_nothing_to_the_parameters_that_fail(visit: Any, site: Site) -> None:
    made = await visit()
    page = await made.page("/")
    headers = {"origin": site.url}
    created = await page.request.post(
        f"{site.url}/api/identity/organizations", data={"name": "Toolmakers", "slug": SLUG}, headers=headers
    )
    assert created.ok, await created.text()
    minted = await page.request.post(
        f"{site.url}/api/identity/access-keys", data={"name": "tools", "scopes": ["events:write", "metrics:read"]},
        headers={**headers, "x-nexus-organization": SLUG},
    )  # fmt: skip
    key = (await minted.json())["key"]
    await page.goto(f"{site.url}/tools?organization={SLUG}")
    await settled(page)
    await expect(page.get_by_text("No tool calls yet in this range")).to_be_visible()
    assert await faults_of_access(page) == []

    async def is_stored() -> bool:
        async with (
            aiohttp.ClientSession() as client,
            client.post(
                f"{site.url}/v1/events", json=records(datetime.now(UTC)), headers={"authorization": f"Bearer {key}"}
            ) as answer,
        ):
            return answer.status == 200

    await until(is_stored, "the records are taken")
    await page.goto(f"{site.url}/tools?organization={SLUG}")
    await settled(page)
    tools = page.get_by_role("table", name="Tools", exact=True)
    await expect(tools.get_by_role("row", name=re.compile("read"))).to_contain_text("8")
    await expect(page.get_by_role("table", name="Listed, never called")).to_contain_text("shred")
    await expect(page.get_by_role("table", name="Clients")).to_contain_text("desk")
    for size in (WIDE, PHONE):
        assert await fits(page, size["width"], size["height"])
    assert await faults_of_access(page) == []

    await tools.get_by_role("row", name=re.compile("read")).press("Enter")
    await expect(page).to_have_url(re.compile("/tools/one"))
    await settled(page)
    await expect(page.get_by_role("table", name="Parameters that fail")).to_contain_text("no such file")
    await expect(page.get_by_role("table", name="Slowest calls").get_by_role("row")).to_have_count(9)
    await page.get_by_role("textbox", name="Search parameters").fill("[1]")
    await page.get_by_role("button", name="Search", exact=True).click()
    await expect(page.get_by_text("Give a JSON object")).to_be_visible()
    await page.get_by_role("textbox", name="Search parameters").fill('{"path": "/etc/1"}')
    await page.get_by_role("button", name="Search", exact=True).click()
    found = page.get_by_role("table", name="Tool calls", exact=True)
    await expect(found.get_by_role("row")).to_have_count(5)
    assert await faults_of_access(page) == []
    for size in (WIDE, PHONE):
        assert await fits(page, size["width"], size["height"])

    await found.get_by_role("row", name=re.compile("tool error")).first.press("Enter")
    await expect(page).to_have_url(re.compile("/tools/calls/"))
    await settled(page)
    await expect(page.get_by_role("alert")).to_contain_text("no such file")
    await expect(page.locator("pre").first).to_contain_text("[secret]")
    await expect(page.get_by_text("hunter2")).to_have_count(0)
    await expect(page.get_by_text("derived", exact=False).first).to_be_visible()
    await expect(page.get_by_role("table", name="Tool calls of this trace").get_by_role("row")).to_have_count(3)
    assert await faults_of_access(page) == []
    assert await fits(page, PHONE["width"], PHONE["height"])


async def test_a_server_is_added_tested_changed_and_removed_and_its_secret_is_never_shown(
    visit: Any, site: Site
) -> None:
    made = await visit()
    page = await made.page("/")
    created = await page.request.post(
        f"{site.url}/api/identity/organizations", data={"name": "Offerers", "slug": "offerers"},
        headers={"origin": site.url},
    )  # fmt: skip
    assert created.ok, await created.text()
    await page.goto(f"{site.url}/servers?organization=offerers")
    await settled(page)
    await expect(page.get_by_text("No MCP servers yet")).to_be_visible()

    await page.get_by_role("button", name="Add a server").click()
    form = page.get_by_role("dialog", name="Add a server")
    await form.get_by_role("textbox", name="Name", exact=True).fill("My Files")
    await form.get_by_role("textbox", name="Address").fill("http://10.0.0.7/mcp")
    await form.get_by_label("Secret", exact=False).last.fill("sk-never-shown-again")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_contain_text("give up to 40 of a-z")
    await form.get_by_role("textbox", name="Name", exact=True).fill("files")
    await form.get_by_role("textbox", name="Prices of single tools").fill("render")
    await form.get_by_role("button", name="Save").click()
    await expect(form).to_contain_text("Give NAME=value on each line.")
    await form.get_by_role("textbox", name="Prices of single tools").fill("render=0.05")
    assert await faults_of_access(page) == []
    await form.get_by_role("button", name="Save").click()
    row = page.locator("[data-server=files]")
    await expect(row).to_contain_text("sk-nev…")
    await expect(row).to_contain_text("1 tool of its own")

    await row.get_by_role("button", name="Test files").click()
    await expect(page.get_by_role("alert")).to_contain_text("NEXUS_GATEWAY_ALLOW")
    for size in (WIDE, PHONE):
        assert await fits(page, size["width"], size["height"])
    assert await faults_of_access(page) == []
    await row.get_by_role("button", name="Edit files").click()
    form = page.get_by_role("dialog", name="Edit files")
    await form.get_by_role("textbox", name="Price of a call").fill("0.001")
    await form.get_by_role("switch", name="Enabled").press("Space")
    await form.get_by_role("button", name="Save").click()
    await expect(row).to_contain_text("0.001")
    await expect(row).to_contain_text("off")
    assert "sk-never-shown-again" not in await page.content()

    await row.get_by_role("button", name="Remove files").click()
    dialog = page.get_by_role("dialog", name="Remove")
    await dialog.get_by_role("textbox").fill("files")
    await dialog.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("No MCP servers yet")).to_be_visible()
