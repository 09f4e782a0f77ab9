"""Whoever is quicker than the machine loses nothing: no letter, no tick, and nothing is made twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.e2e.conftest import Site
from tests.e2e.sight import settled
from tests.e2e.visits import slowed

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_of_two_changes_in_one_breath_both_hold(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d")
    await settled(page)

    await page.evaluate("document.querySelectorAll('input[type=checkbox]').forEach((box) => box.click())")

    await expect(page.get_by_role("checkbox", name="Only errors")).to_be_checked()
    await expect(page.get_by_role("checkbox", name="Only unpriced")).to_be_checked()
    await page.wait_for_url(lambda url: "errors=true" in url and "unpriced=true" in url and "range=7d" in url)


async def test_a_box_shows_its_tick_before_the_answer_is_there(visit: Any) -> None:
    page = await (await visit()).page("/calls?range=7d")
    await settled(page)
    answer = asyncio.Event()

    async def hold(route: Route) -> None:
        await answer.wait()
        await route.continue_()

    await page.route("**/api/metering/calls*errors=true*", hold)
    ticked = await page.evaluate(
        "() => { const box = document.querySelector('input[type=checkbox]'); box.click();"
        " return new Promise((done) => setTimeout(() => done(box.checked), 0)); }"
    )

    assert ticked
    await expect(page.get_by_role("table", name="Calls")).to_have_attribute("aria-busy", "true")
    answer.set()
    await settled(page)


async def test_letters_typed_right_after_opening_a_dialogue_are_its_own(visit: Any) -> None:
    page = await (await visit()).page("/keys")
    await settled(page)

    async with slowed(page, 8):
        await page.get_by_role("button", name="Create key").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.type("mailer")

    await expect(page.get_by_role("dialog").get_by_label("Name")).to_have_value("mailer")


async def test_pressing_twice_makes_one_key(visit: Any) -> None:
    page = await (await visit()).page("/keys")
    await settled(page)
    answer = asyncio.Event()
    asked: list[str] = []

    async def hold(route: Route) -> None:
        if route.request.method == "POST":
            asked.append(route.request.post_data or "")
            await answer.wait()
        await route.continue_()

    await page.route("**/api/identity/access-keys", hold)
    await page.get_by_role("button", name="Create key").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("pressed twice")
    await page.evaluate(
        "const form = document.querySelector('[role=dialog] form'); form.requestSubmit(); form.requestSubmit()"
    )
    await expect(page.get_by_role("dialog").get_by_role("button", name="Create", exact=True)).to_be_disabled()
    answer.set()

    await expect(page.locator("[data-secret] code")).to_be_visible()
    assert len(asked) == 1


async def test_what_is_typed_while_settings_are_saved_stays(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/settings")
    await settled(page)
    answer = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "GET":
            await answer.wait()
        await route.continue_()

    await page.route("**/api/identity/organization", hold)
    field = page.get_by_label("Billing e-mail")
    await field.fill("one@example.com")
    await page.get_by_role("button", name="Save").first.click()
    await expect(page.get_by_role("status")).to_have_text("Saved")
    await field.fill("two@example.com")
    async with page.expect_response("**/api/identity/organization"):
        answer.set()
    # What the answer changes is drawn with the next frame.
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    await expect(field).to_have_value("two@example.com")
