"""Everybody can read every page and what opens there: light and dark, wide and narrow, to the last row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Site
from tests.e2e.forms import FORMS, OPENED, PATHS, faults_of_opened, faults_of_page

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("path", PATHS)
async def test_everybody_can_read_every_page(visit: Any, site: Site, path: str) -> None:
    page = await (await visit(reduced_motion="reduce")).page("/sign-in")

    faults = await faults_of_page(page, site.url, path, FORMS)

    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("path", "button"), OPENED)
async def test_everybody_can_read_what_opens(visit: Any, site: Site, path: str, button: str) -> None:
    page = await (await visit(reduced_motion="reduce")).page("/sign-in")

    faults = await faults_of_opened(page, site.url, path, button, [form for form in FORMS if form[1]["width"] < 1000])

    assert not faults, "\n".join(faults)
