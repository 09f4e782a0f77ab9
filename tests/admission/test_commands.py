"""`nexus quota`: publishing, rolling back and comparing on the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from nexus.admission import commands
from nexus.kit.errors import InvalidRequest, NotFound
from tests.conftest import TestOrganization
from tests.postgres import TestServer


async def test_an_operator_publishes_rolls_back_and_compares(
    postgres: TestServer, database_name: str, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    urls = postgres.urls(database_name)
    monkeypatch.setenv("NEXUS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NEXUS_DATABASE_URL", urls.service)
    monkeypatch.setenv("NEXUS_SYSTEM_URL", urls.system)
    monkeypatch.setenv("NEXUS_WRITER_URL", urls.writer)
    file = tmp_path / "limits.json"
    slug = organization.slug

    def work() -> None:
        file.write_text(json.dumps([{"name": "calls", "dimension": "requests", "rate": "5"}]))
        commands.publish_quota("shop", file, reason="first", scope="application", subject="shop", organization=slug)
        file.write_text(json.dumps([{"name": "calls", "dimension": "requests", "rate": "9"}]))
        commands.publish_quota("shop", file, reason="more", organization=slug)
        commands.roll_back_quota("shop", 1, reason="too much", organization=slug)
        capsys.readouterr()
        commands.compare_versions("shop", 2, 3, organization=slug)
        compared = json.loads(capsys.readouterr().out)
        commands.list_quotas(organization=slug, json=True)
        (listed,) = json.loads(capsys.readouterr().out)
        assert compared["changes"][0]["after"] == {"rate": "5"}
        assert listed["current"]["version"] == 3 and listed["current"]["author"].startswith("operator ")
        file.write_text('[{"name": "calls"}]')
        with pytest.raises(InvalidRequest):
            commands.publish_quota("shop", file, reason="bad", organization=slug)
        with pytest.raises(NotFound):
            commands.list_quotas(organization="nobody")

    # A command runs an event loop of its own.
    await asyncio.to_thread(work)
