"""Settings are read in one place and every faulty one is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus.platform.settings import SETTINGS, InvalidSettings, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environment({})

    assert (settings.port, settings.host, settings.embeds_postgres, settings.embeds_redis) == (
        8420,
        "127.0.0.1",
        True,
        True,
    )
    assert settings.url == "http://127.0.0.1:8420"


def test_every_faulty_setting_is_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.from_environment(
            {
                "NEXUS_PORT": "eighty",
                "NEXUS_WORKERS": "0",
                "NEXUS_DATABASE_URL": "mysql://x",
                "NEXUS_BOOTSTRAP_KEY": "short",
                "NEXUS_LOG_LEVEL": "loud",
            }
        )

    assert {fault.field for fault in refused.value.faults} == {
        "NEXUS_PORT",
        "NEXUS_WORKERS",
        "NEXUS_DATABASE_URL",
        "NEXUS_BOOTSTRAP_KEY",
        "NEXUS_LOG_LEVEL",
    }


def test_a_given_folder_is_used(tmp_path: Path) -> None:
    assert Settings.from_environment({"NEXUS_DATA_DIR": str(tmp_path)}).data_dir == tmp_path


def test_names_are_unique_and_what_holds_a_secret_is_marked() -> None:
    names = [entry.env for entry in SETTINGS]

    assert len(names) == len(set(names))
    # OpenTelemetry's own settings keep the names that its specification gives them.
    assert all(name.startswith(("NEXUS_", "OTEL_EXPORTER_OTLP_")) for name in names)
    marked = {entry.env for entry in SETTINGS if entry.is_secret}
    assert {
        name for name in names if name.endswith(("_PASSWORD", "_SECRET_KEY", "_TOKEN", "_HEADERS", "DATABASE_URL"))
    } <= marked
