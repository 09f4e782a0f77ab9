"""Takes the tour's pictures of a node with a week of calls: `.venv/bin/python -m tests.e2e.pictures [FOLDER]`.

Starts a node of its own in a temporary folder and ends it; writes `<page>.png` (light, 1280), `<page>-dark.png` and
`<page>-phone.png` (dark and 390 pixels, for those that show it), and `empty/<page>.png` of an organization with nothing in
it, to docs/pictures. With `--all` every page is taken in every form, for whoever looks them over.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.e2e.conftest import CHROMIUM, FLAGS, PHONE, WIDE
from tests.e2e.forwarded import ALIAS, SLUG, Forwarded, forward, sandbox_process
from tests.e2e.limited import SLUG as LIMITED
from tests.e2e.limited import Limited, limit
from tests.e2e.sight import settled
from tests.e2e.traffic import send_week
from tests.races.node import Node

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
PAGES = {
    "overview": "/?range=7d", "calls": "/calls?range=7d", "costs": "/costs?range=7d&by=tag:team",
    "providers": "/providers?range=7d", "prices": "/prices?provider=openai", "keys": "/keys", "members": "/members",
    "routes": "/routes", "quotas": "/quotas", "operations": "/operations",
    "audit": "/audit?range=7d", "settings": "/settings", "account": "/account",
}  # fmt: skip
EMPTY = ["overview", "calls", "costs", "quotas", "providers", "routes", "keys"]
MORE = {
    "conflicts": "/prices?tab=conflicts", "imports": "/prices?tab=imports", "provider": "/providers?range=7d&q=openai",
    "nothing": "/calls?range=7d&provider=nobody", "no-page": "/nowhere", "no-figures": "/?range=15m&provider=nobody",
}  # fmt: skip
FORWARDED = {
    "routes": f"/routes?organization={SLUG}&q={ALIAS}",
    "provider-health": f"/providers?organization={SLUG}&q=groq",
}
"""Of the organization whose calls go through the gateway."""
LIMITED_PAGES = {
    "limits": f"/limits?organization={LIMITED}",
    "quotas": f"/quotas?organization={LIMITED}", "quota": f"/quotas/{{quota}}?organization={LIMITED}",
    "operations": f"/operations?organization={LIMITED}",
}  # fmt: skip
"""Of the organization whose calls are limited."""
FORMS: list[tuple[str, Any, str]] = [("light", WIDE, ""), ("dark", WIDE, "-dark"), ("light", PHONE, "-phone")]


async def _enter(browser: Browser, node: Node, scheme: Any, size: Any) -> BrowserContext:
    first = node.first_start()
    context = await browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    for path, data in [
        ("sign-in", {"email": first["admin_email"], "password": first["admin_password"]}),
        ("organizations", {"name": "Fresh", "slug": "fresh"}),
    ]:
        await context.request.post(f"{node.url}/api/identity/{path}", data=data, headers={"origin": node.url})
    return context


async def _take(browser: Browser, node: Node, sandbox: str, folder: Path, *, is_all: bool) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    forwarded: Forwarded | None = None
    limited: Limited | None = None
    for scheme, size, suffix in FORMS:
        context = await _enter(browser, node, scheme, size)
        page = await context.new_page()
        forwarded = forwarded or await forward(node.url, sandbox, context.request)
        if limited is None:
            limited = await limit(node.url, context.request)
            await limited.use()

        async def picture(name: str, path: str, place: Any = page, suffix: str = suffix) -> None:
            await place.goto(node.url + path)
            await settled(place)
            # Charts are drawn with the next frames.
            await place.wait_for_timeout(300)
            await place.screenshot(path=folder / f"{name}{suffix}.png")

        wanted = (
            PAGES | MORE if is_all else {name: PAGES[name] for name in (["overview", "calls"] if suffix else PAGES)}
        )
        for name, path in wanted.items():
            await picture(name, path)
            if name == "calls" and (is_all or not suffix):
                await page.locator("tbody tr").first.click()
                await page.get_by_role("dialog").locator("[data-total]").wait_for()
                await page.wait_for_timeout(300)
                await page.screenshot(path=folder / f"call{suffix}.png")
        call = {"call-page": f"/calls/{forwarded.retried[2]['id']}?organization={SLUG}"}
        own = {name: path.format(quota=limited.quota) for name, path in LIMITED_PAGES.items()}
        for name, path in (FORWARDED | call | own).items() if is_all or not suffix else ():
            await picture(name, path)
        for name in PAGES if is_all else EMPTY if not suffix else []:
            joined = "&" if "?" in PAGES[name] else "?"
            await picture(f"empty/{name}", f"{PAGES[name]}{joined}organization=fresh")
        await context.close()


async def main(folder: Path, *, is_all: bool) -> None:
    """Take all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(sandbox_process())
        environment = {"NEXUS_WORKERS": "1", "NEXUS_ADMIN_EMAIL": "admin@example.com", "NEXUS_GATEWAY_ALLOW": sandbox}
        node = Node(Path(place) / "node", environment=environment)
        node.start()
        try:
            await node.wait_ready()
            await send_week(node.url, node.first_start()["access_key"], weeks=2)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
                await _take(browser, node, sandbox, folder, is_all=is_all)
                await browser.close()
        finally:
            await node.kill_everything()


if __name__ == "__main__":
    folders = [item for item in sys.argv[1:] if not item.startswith("-")]
    asyncio.run(main(Path(folders[0]) if folders else FOLDER, is_all="--all" in sys.argv))
