"""Every page and everything that opens, and the forms in which people see them: light or dark, wide or narrow."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

from playwright.async_api import Page, ViewportSize

from tests.e2e.conftest import PHONE, WIDE
from tests.e2e.sight import SCHEMES, faults_of_access, fits, settled

Form = tuple[Literal["light", "dark"], ViewportSize]
FORMS: list[Form] = list(product(SCHEMES, (WIDE, PHONE)))
PATHS = [
    "/sign-in", "/?range=7d", "/?range=15m&provider=nobody", "/calls?range=7d", "/calls?range=7d&errors=true",
    "/calls?range=7d&sort=-cost&columns=time,tags,error,cost", "/costs?range=7d&by=tag:team",
    "/providers?range=7d", "/providers?q=openai", "/prices?provider=openai", "/prices?tab=conflicts", "/prices?tab=imports",
    "/limits", "/tools?range=7d", "/tools/one?range=7d&tool=nothing", "/servers", "/storage?range=7d", "/explore",
    "/errors?range=7d", "/routes", "/quotas", "/loans", "/budgets", "/operations", "/operations?tab=clusters",
    "/calls/019f0000-0000-7000-8000-000000000000", "/keys",
    "/members", "/audit?range=7d", "/audit?range=7d&q=nobody", "/settings", "/account", "/?organization=fresh-void",
    "/reset-password", "/invitation", "/nowhere",
]  # fmt: skip
OPENED = [
    ("/routes", "button:has-text('Add a route')"), ("/quotas", "button:has-text('New quota')"),
    ("/operations", "button:has-text('Add a type')"), ("/operations?tab=applications", "button:has-text('Add an application')"),
    ("/operations?tab=clusters", "button:has-text('Add a cluster')"),
    ("/calls?range=7d", "tbody tr"), ("/calls?range=7d", "button:has-text('Columns')"), ("/calls", "button[aria-label^=Range]"),
    ("/calls", "button:has-text('Add filter')"), ("/keys", "button:has-text('Create key')"),
    ("/members", "button:has-text('Invite')"), ("/prices", "button:has-text('Add a price')"),
    ("/prices?tab=imports", "button:has-text('Import a price list')"), ("/audit?range=7d", "tbody tr"),
    ("/settings", "button:has-text('New organization')"), ("/", "button[aria-label='Go to…']"),
]  # fmt: skip
"""A page, and what is clicked there to open a dialogue."""


async def faults_as_seen(page: Page, forms: list[Form], **options: Any) -> list[str]:
    """Find what keeps somebody from reading what the page shows, in each of some forms."""
    faults = []
    for scheme, size in forms:
        await page.emulate_media(color_scheme=scheme)
        is_narrow_enough = await fits(page, **size)
        await settled(page)
        where = f"{scheme}, {size['width']} wide"
        faults += [] if is_narrow_enough else [f"{where}: the page is wider"]
        faults += [f"{where}: {fault}" for fault in await faults_of_access(page, **options)]
    return faults


async def _set_up(page: Page, form: Form) -> None:
    # Before a page is opened: it need not be drawn in another form first.
    scheme, size = form
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size(size)


async def faults_of_page(page: Page, url: str, path: str, forms: list[Form], **options: Any) -> list[str]:
    """Open a page and look at it in some forms."""
    await _set_up(page, forms[0])
    await page.goto(url + path)
    await settled(page)
    return [f"{path}, {fault}" for fault in await faults_as_seen(page, forms, **options)]


async def faults_of_opened(
    page: Page, url: str, path: str, button: str, forms: list[Form], **options: Any
) -> list[str]:
    """Open a page and what it opens, and look at it in some forms."""
    await _set_up(page, forms[0])
    await page.goto(url + path)
    await settled(page)
    await page.locator(button).first.click()
    await page.get_by_role("dialog").first.wait_for()
    await settled(page)
    return [f"{path}, {button}, {fault}" for fault in await faults_as_seen(page, forms, **options)]
