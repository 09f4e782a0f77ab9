"""Quotas: made, published, compared, rolled back; operations: what they cost, and for whom. As a person does it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, WIDE, Site
from tests.e2e.limited import SLUG, Limited
from tests.e2e.sight import faults_in_both_themes, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")
HERE = f"organization={SLUG}"


async def test_a_quota_is_made_while_the_server_says_what_is_wrong(visit: Any, site: Site, limited: Limited) -> None:
    page = await (await visit()).page(f"/quotas?{HERE}")
    await settled(page)
    await expect(page.locator("[data-quota=shop]")).to_contain_text("120 operations a second, bursts of 150 for 60")

    await page.get_by_role("button", name="New quota").click()
    form = page.get_by_role("dialog", name="New quota")
    await form.get_by_role("textbox", name="Name", exact=True).first.fill("per-model")
    await form.get_by_role("combobox", name="Scope").click()
    await page.get_by_role("option", name="Model", exact=True).click()
    one = form.locator("[data-limit='1']")
    await one.get_by_role("textbox", name="Name").fill("requests")
    await one.get_by_role("textbox", name="Rate", exact=True).fill("10")
    await one.get_by_role("textbox", name="Burst", exact=True).fill("5")
    await expect(one).to_contain_text("a burst is at least the rate")
    await one.get_by_role("textbox", name="Burst", exact=True).fill("20")
    change = form.get_by_role("region", name="What will change")
    await expect(change).to_contain_text("10 requests a second, bursts of 20 for 60")
    await expect(one).not_to_contain_text("a burst is at least the rate")
    await form.get_by_role("button", name="Create").click()
    await expect(form.get_by_text(re.compile("length >= 1"))).to_be_visible()
    await form.get_by_role("textbox", name="Why").fill("no model for one alone")
    await form.get_by_role("button", name="Create").click()

    await expect(page.get_by_role("heading", name="per-model")).to_be_visible()
    await expect(page.locator("[data-version='1']")).to_contain_text("no model for one alone")


async def test_versions_are_published_for_later_compared_and_rolled_back(
    visit: Any, site: Site, limited: Limited
) -> None:
    page = await (await visit(zone="Europe/Berlin")).page(f"/quotas/{limited.quota}?{HERE}")
    await settled(page)
    compared = page.get_by_role("group", name="Version 1 against version 2")
    await expect(compared.locator("[data-change=iops]")).to_contain_text("rate100120")
    await expect(compared.locator("[data-change=flight]")).to_contain_text("8 calls at once")

    await page.get_by_role("button", name="New version").click()
    form = page.get_by_role("dialog", name="New version of shop")
    rate = form.locator("[data-limit='1']").get_by_role("textbox", name="Rate", exact=True)
    await expect(rate).to_have_value("120")
    await rate.fill("50")
    await form.locator("[data-limit='1']").get_by_role("switch").press("Space")
    await form.get_by_label(re.compile("^From")).fill("2031-01-01T08:00")
    changes = form.get_by_role("region", name="What will change").locator("[data-change=iops]")
    await expect(changes).to_contain_text(["rate12050", "only watch"])
    await form.get_by_role("textbox", name="Why").fill("when it is over")
    await form.get_by_role("button", name="Publish").click()
    await expect(form).to_be_hidden()
    row = page.locator("[data-version='3']")
    await expect(row).to_contain_text("scheduled")
    await expect(row).to_contain_text("01 Jan 2031, 08:00:00")
    await expect(page.locator("[data-version='2']")).to_contain_text("until 01 Jan 2031, 08:00:00")

    await page.get_by_role("button", name="Roll back to version 1").click()
    form = page.get_by_role("dialog", name="Roll back to version 1")
    await form.get_by_role("textbox", name="Why").fill("too much")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-version='4']")).to_contain_text("in force")
    await expect(page.locator("[data-version='4']")).to_contain_text("as version 1")
    await expect(page.locator("[data-version='3']")).to_contain_text("never came into force")
    now = await limited.api("GET", f"admission/quotas/{limited.quota}")
    assert (now["current"]["version"], now["current"]["rolled_back_to"]) == (4, 1)

    await page.goto(f"{site.url}/quotas/{limited.quota}?{HERE}&first=2&second=4")
    await expect(page.get_by_role("group", name="Version 2 against version 4")).to_contain_text("removed")


async def test_the_calculator_charges_as_the_limiter_does(visit: Any, site: Site, limited: Limited) -> None:
    page = await (await visit()).page(f"/operations?{HERE}")
    await settled(page)
    charge = page.locator("[data-charge]")
    await expect(page.locator("[data-operation]")).to_have_count(9)
    await expect(charge).to_contain_text("1 + 8\u202f192 ÷ 4\u202f096 × 0.0001 = 1.0002 operations")

    await page.get_by_role("combobox", name="Application").fill("shop")
    await expect(charge).to_contain_text("0.5 + 8\u202f192 ÷ 4\u202f096 × 0.0001 = 0.5002 operations")
    await page.get_by_label("Size in bytes").fill("much")
    await expect(charge).to_contain_text(re.compile("size_bytes|int"))
    _, admitted = await limited.admit(operation="read_small", size_bytes=8192, application="shop")
    assert [item["charged"] for item in admitted["limits"] if item["name"] == "iops"] == ["0.5002"]

    await page.get_by_role("tab", name="Applications").click()
    await page.get_by_role("button", name="Add an application").click()
    form = page.get_by_role("dialog", name="Add an application")
    await form.get_by_role("textbox", name="Name").fill("search")
    await form.get_by_role("combobox", name="Cluster").click()
    await page.get_by_role("option", name="ceph-1").click()
    await form.get_by_role("button", name="Create").click()
    await expect(page.locator("[data-application=search]")).to_contain_text("ceph-1")
    await page.get_by_role("button", name="Edit search").click()
    await page.get_by_role("dialog").get_by_role("switch", name="Active").press("Space")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("[data-application=search]")).to_contain_text("inactive")


async def test_without_quotas_the_snippets_make_one_and_ask(visit: Any, site: Site) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here: `apt-get install curl`")
    found = await visit()
    origin = {"origin": site.url}
    fresh = {"name": "Unlimited", "slug": "unlimited"}
    await found.context.request.post(f"{site.url}/api/identity/organizations", data=fresh, headers=origin)
    key = {"name": "begin", "scopes": ["calls:admit", "quota:create", "quota:read"]}
    made = await found.context.request.post(
        f"{site.url}/api/identity/access-keys", data=key, headers=origin | {"x-nexus-organization": "unlimited"}
    )
    secret = (await made.json())["key"]
    page = await found.page("/quotas?organization=unlimited")
    await expect(page.get_by_role("heading", name="No quotas yet")).to_be_visible()

    answers = []
    for snippet in await page.locator("pre").all_inner_texts():
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", snippet], env={**os.environ, "NEXUS_ACCESS_KEY": secret},
            capture_output=True, text=True,
        )  # fmt: skip
        answers.append(done.stdout)

    assert json.loads(answers[0])["current"]["version"] == 1, answers
    assert "200 OK" in answers[1] and '"admitted":true' in answers[1].replace(" ", ""), answers
    await page.reload()
    await expect(page.locator("[data-quota=per-key]")).to_contain_text("60 requests a minute")


async def test_everybody_can_read_a_quota_and_change_it(visit: Any, site: Site, limited: Limited) -> None:
    page = await (await visit(reduced_motion="reduce")).page(f"/quotas/{limited.quota}?{HERE}")
    await settled(page)
    faults = [f"wider than {size['width']}" for size in (WIDE, PHONE) if not await fits(page, **size)]
    faults += await faults_in_both_themes(page)
    await page.get_by_role("button", name="New version").click()
    await page.get_by_role("dialog").get_by_role("region", name="What will change").wait_for()
    faults += [] if await fits(page, **PHONE) else ["the form is wider than a phone"]
    faults += await faults_in_both_themes(page)

    assert not faults, "\n".join(faults)
