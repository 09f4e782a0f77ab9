"""The rules of `broken_rules.toml`, and a pytest plugin that runs tests on scripts that break one of them.

`NEXUS_BROKEN_RULE="leases end" python -m pytest -p tests.accept.broken_rules tests/dataplane/decide/test_leases.py`
Nothing on disk is changed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import Phase, settings

from nexus.dataplane.decide import scripts


@dataclass(frozen=True)
class Rule:
    """One rule: where it stands, how it is broken, and which tests of `tests/dataplane/decide` are asked."""

    name: str
    script: str
    line: str
    """Stands there once."""
    instead: str
    tests: list[str]


def _read() -> Mapping[str, Rule]:
    told = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["rule"]
    return {item["name"]: Rule(**item) for item in told}


RULES = _read()


def break_rule(name: str) -> None:
    """Make the scripts of this process break a rule."""
    rule, read = RULES[name], scripts._lua

    def broken(script: str) -> str:
        text = read(script)
        return text.replace(rule.line, rule.instead) if script == rule.script else text

    scripts._lua = broken


def pytest_configure() -> None:
    """Break what the environment names; look for one failure, and not for the smallest."""
    settings.register_profile("broken", settings.get_profile("repeatable"), phases=[Phase.generate])
    settings.load_profile("broken")
    break_rule(os.environ["NEXUS_BROKEN_RULE"])
