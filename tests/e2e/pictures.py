"""Takes the tour's pictures of a node with a week of calls: `.venv/bin/python -m tests.e2e.pictures [FOLDER]`.

Starts a node of its own in a temporary folder and ends it; writes `<page>.png` (light, 1280), `<page>-dark.png` and
`<page>-phone.png` (dark and 390 pixels, for those that show it) to docs/pictures.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.e2e.conftest import CHROMIUM, FLAGS, PHONE, WIDE
from tests.e2e.sight import settled
from tests.e2e.traffic import send_week
from tests.races.node import Node

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
PAGES = {
    "overview": "/?range=7d", "calls": "/calls?range=7d", "costs": "/costs?range=7d&by=tag:team",
    "prices": "/prices?provider=openai", "keys": "/keys", "members": "/members", "audit": "/audit?range=7d",
    "settings": "/settings", "account": "/account",
}  # fmt: skip


async def _take(browser: Browser, node: Node, folder: Path) -> None:
    first = node.first_start()
    for scheme, size, suffix in (("light", WIDE, ""), ("dark", WIDE, "-dark"), ("light", PHONE, "-phone")):
        context = await browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        await context.request.post(
            f"{node.url}/api/identity/sign-in",
            data={"email": first["admin_email"], "password": first["admin_password"]},
            headers={"origin": node.url},
        )
        page = await context.new_page()
        for name, path in PAGES.items():
            if suffix and name not in {"overview", "calls"}:
                continue
            await page.goto(node.url + path)
            await settled(page)
            await page.wait_for_timeout(300)
            await page.screenshot(path=folder / f"{name}{suffix}.png")
            if name == "calls" and not suffix:
                await page.locator("tbody tr").first.click()
                await page.get_by_role("dialog").locator("[data-total]").wait_for()
                await page.wait_for_timeout(300)
                await page.screenshot(path=folder / "call.png")
        await context.close()


async def main(folder: Path) -> None:
    """Take all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        node = Node(Path(place) / "node", environment={"NEXUS_WORKERS": "1", "NEXUS_ADMIN_EMAIL": "admin@example.com"})
        node.start()
        try:
            await node.wait_ready()
            await send_week(node.url, node.first_start()["access_key"])
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
                await _take(browser, node, folder)
                await browser.close()
        finally:
            await node.kill_everything()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
