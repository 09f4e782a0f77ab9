"""What somebody wrote to run in a browser is text in every page that shows it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from nexus.kit.ids import uuid7
from tests.e2e.conftest import Site
from tests.e2e.sight import settled
from tests.e2e.test_overview import _empty_organization
from tests.e2e.traffic import HOSTILE, send

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAGES = ("/", "/calls", "/costs", "/providers", "/keys", "/members", "/audit", "/settings", "/account")


async def plant(site: Site, page: Any, slug: str) -> None:
    """Write it wherever a page shows what people or programs wrote, in an organization of its own."""
    key = await _empty_organization(page, site, slug)
    headers = {"origin": site.url, "x-nexus-organization": slug}
    for path, body in [
        ("/api/identity/access-keys", {"name": HOSTILE, "scopes": ["events:write"]}),
        ("/api/admission/applications", {"name": HOSTILE}),
    ]:
        made = await page.context.request.post(f"{site.url}{path}", data=body, headers=headers)
        assert made.status == 201, await made.text()
    await send(site.url, key, [
        {
            "type": "api_call", "id": str(uuid7()), "provider": "openai", "model": HOSTILE[:100], "endpoint": "/v1/<b>x</b>",
            "status_code": 500, "user": HOSTILE, "application": HOSTILE, "tags": {"team": HOSTILE}, "error_message": HOSTILE,
            "error_type": HOSTILE[:90],
        }
    ])  # fmt: skip


async def test_scripts_in_names_tags_and_messages_are_shown_and_never_run(visit: Any, site: Site) -> None:
    visitor = await visit()
    first = await visitor.page("/sign-in")
    await plant(site, first, "hostile")

    shown = []
    for path in PAGES:
        page = await visitor.page(f"{path}?organization=hostile")
        await settled(page)
        if "<script>" in await page.inner_text("body"):
            shown.append(path)
        assert await page.title() != "stolen", path
        assert await page.locator("body img[src=x], body b, main script").count() == 0, f"{path} made elements of it"
        await page.close()

    assert {"/calls", "/keys"} <= set(shown), "the pages show what was written"


async def test_the_panel_of_a_call_shows_tags_and_messages_as_they_are(visit: Any, site: Site) -> None:
    visitor = await visit()
    await plant(site, await visitor.page("/sign-in"), "hostile-call")
    page = await visitor.page("/calls?organization=hostile-call")
    await settled(page)

    await page.locator("tbody tr").first.click()
    panel = page.get_by_role("dialog")
    await expect(panel).to_contain_text("<script>")

    assert await panel.locator("img, script").count() == 0
    assert await page.title() != "stolen"
