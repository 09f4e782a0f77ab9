"""The demo's figures stay when everything is started again, and when the demo is killed then."""

from __future__ import annotations

from pathlib import Path

from tests.demo.test_demo import assert_story, assert_unchanged_when_killed, running
from tests.races.node import free_port


def test_figures_stay_when_everything_starts_again(tmp_path: Path) -> None:
    folder, port = tmp_path / "demo", free_port()
    with running(folder, port) as api:
        told = assert_story(api)

    with running(folder, port) as api:
        assert_unchanged_when_killed(api, folder, told)
