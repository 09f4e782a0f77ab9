"""What a person sees: figures in the pages' spelling, and faults that keep somebody from seeing."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Page, expect

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
THIN = "\u202f"
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


def count(value: int) -> str:
    """A count as the pages write it."""
    return f"{value:,}".replace(",", THIN)


def percent(value: float) -> str:
    """A fraction as the pages write it."""
    shown = value * 100
    if shown == 0:
        return f"0{THIN}%"
    return f"<0.01{THIN}%" if shown < 0.01 else f"{shown:.2f}{THIN}%" if shown < 10 else f"{shown:.1f}{THIN}%"


def money(amount: str) -> str:
    """An amount of a dollar or more as the pages write it."""
    value = Decimal(amount)
    assert value >= 1
    return "$" + f"{value.quantize(Decimal('0.01'), ROUND_HALF_UP):,}".replace(",", THIN)


def duration(ms: float) -> str:
    """A duration below a minute as the pages write it."""
    if ms < 1:
        return f"{ms:#.2g}{THIN}ms"
    if ms < 1000:
        return f"{ms:.1f}{THIN}ms" if ms < 10 else f"{Decimal(str(ms)).quantize(Decimal(1), ROUND_HALF_UP)}{THIN}ms"
    return f"{ms / 1000:.2f}{THIN}s" if ms < 10_000 else f"{ms / 1000:.1f}{THIN}s"


def compact(value: int) -> str:
    """A large count in three digits, as the pages write it."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{float(f'{int(value) / size:.3g}'):g}{THIN}{unit}"
    return count(value)


async def settled(page: Page) -> None:
    """Wait until nothing on the page is being loaded any more, nor shows what was asked for before."""
    await page.wait_for_selector("h1")
    await expect(page.locator(".mantine-Skeleton-root, [data-loading=true], [aria-busy=true]")).to_have_count(
        0, timeout=60_000
    )


_RUN_AXE = """
(rows) => axe.run({
  include: document, exclude: rows === null ? [] : [`tbody tr:nth-child(n + ${rows + 1})`],
}, {
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'],
}).then((found) => found.violations)
"""
"""All rules are run; what passed is not described, which takes longer than to find it."""


_AT_REST = """
new Promise((rest) => requestAnimationFrame(() => requestAnimationFrame(() => Promise.allSettled(
  document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished),
).then(() => rest()))))
"""
"""What has just changed is drawn, and no colour is still on its way to another."""


@cache
def _axe_source() -> str:
    return AXE.read_text()


async def faults_of_access(page: Page, *, rows: int | None = None) -> list[str]:
    """What axe finds by the rules of WCAG 2.2 A and AA, and of good practice; in the first rows of each table, or in all."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: `make web` (or npm ci in web/) brings it")
    if await page.evaluate("typeof axe === 'undefined'"):
        await page.evaluate(_axe_source())
    await page.evaluate(_AT_REST)
    found: list[dict[str, Any]] = await page.evaluate(_RUN_AXE, rows)
    return [
        f"{item['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for item in found
        for node in item["nodes"][:3]
    ]


async def faults_in_both_themes(page: Page) -> list[str]:
    """What axe finds on a page in light and in dark, which it is left in."""
    faults: list[str] = []
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        await settled(page)
        faults += [f"{scheme}: {fault}" for fault in await faults_of_access(page)]
    return faults


async def fits(page: Page, width: int, height: int) -> bool:
    """Whether the page, once laid out anew, is no wider than a window of this size."""
    await page.set_viewport_size({"width": width, "height": height})
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    # Charts follow the window with the next frames.
    for _ in range(200):
        if await page.evaluate(wider) <= 0:
            return True
        await page.wait_for_timeout(50)
    return False
