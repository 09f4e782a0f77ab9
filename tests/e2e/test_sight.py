"""Everybody can read every page and what opens there. Each is looked at in one form here, in all by `make accept`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Site
from tests.e2e.forms import FORMS, OPENED, PATHS, faults_of_opened, faults_of_page

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = Path(__file__).parents[2]
ROWS = 5
"""Of each table: the next ones are made of the same parts."""


async def test_no_page_is_forgotten() -> None:
    declared = (ROOT / "web" / "src" / "main.tsx").read_text()
    # One thing's own page is looked at by the tests of it.
    pages = {path for path in re.findall(r'^  page\("([^"]*)"', declared, re.MULTILINE) if "$" not in path}

    assert pages > {"/", "/calls"}
    assert pages <= {path.split("?")[0] for path in PATHS}


async def test_everybody_can_read_every_page(visit: Any, site: Site) -> None:
    page = await (await visit(reduced_motion="reduce")).page("/sign-in")
    faults = []
    for place, path in enumerate(PATHS):
        faults += await faults_of_page(page, site.url, path, [FORMS[place % len(FORMS)]], rows=ROWS)

    assert not faults, "\n".join(faults)


async def test_everybody_can_read_what_opens(visit: Any, site: Site) -> None:
    page = await (await visit(reduced_motion="reduce")).page("/sign-in")
    faults = []
    for place, (path, button) in enumerate(OPENED):
        # The narrow ones, of which each second is dark.
        faults += await faults_of_opened(page, site.url, path, button, [FORMS[place % 2 * 2 + 1]], rows=ROWS)

    assert not faults, "\n".join(faults)
