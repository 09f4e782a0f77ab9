"""Whatever single rule of the scripts is broken, a test of the invariants fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.dataplane.decide import scripts
from tests.accept import broken_rules
from tests.accept.broken_rules import RULES

ROOT = Path(__file__).parents[2]
FAILED = 1
"""What pytest says when tests failed, and not when there were none or it could not run."""


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_is_noticed(name: str) -> None:
    rule = RULES[name]
    assert scripts._lua(rule.script).count(rule.line) == 1, "the rule stands elsewhere by now"
    folder = ROOT / "tests" / "dataplane" / "decide"
    tests = [str(folder / f"{file}.py") for file in rule.tests]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "--no-header", "-p", broken_rules.__name__, *tests],
        cwd=ROOT, env={**os.environ, "NEXUS_BROKEN_RULE": name, "NEXUS_DECIDE_EXAMPLES": "200"}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == FAILED, done.stdout[-3000:] + done.stderr[-1000:]
