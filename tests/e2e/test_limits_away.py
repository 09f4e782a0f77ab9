"""While Redis stands still, every page says what holds meanwhile; when it goes on, the banner goes by itself."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import PHONE, Site
from tests.e2e.sight import faults_of_access, fits, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_banner_says_what_holds_while_redis_stands_still_and_goes_by_itself(visit: Any, site: Site) -> None:
    page = await (await visit()).page("/")
    await settled(page)
    banner = page.get_by_role("status").filter(has_text="Redis does not answer")
    await expect(banner).to_have_count(0)

    (redis,) = site.node.pids("redis")
    os.kill(redis, signal.SIGSTOP)
    try:
        await expect(banner).to_contain_text("no call is refused")
        assert await faults_of_access(page) == []
        assert await fits(page, **PHONE)
    finally:
        os.kill(redis, signal.SIGCONT)

    await expect(banner).to_have_count(0)
