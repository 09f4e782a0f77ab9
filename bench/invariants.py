"""The invariants of admission over hundreds of thousands of steps: the property tests of `make test`, longer, on other examples.

Random decisions, settlements, leases, crashes, replays, lost answers and clock steps on the real scripts, each compared with the
model in rational numbers and with what really happened.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_TESTS = _ROOT / "tests" / "dataplane" / "decide"
_STEPS_AN_EXAMPLE = 40
_LIVES = 6
"""Runs of `test_purses`."""


def measure(*, steps: int) -> str:
    """Run about so many steps; returns the section of the report. `RuntimeError` where an invariant broke.

    What runs and what broke is told on standard error as it happens: the run takes long, and may be ended by somebody.
    """
    examples = max(1, steps // (3 * _STEPS_AN_EXAMPLE))
    lives = max(1200, steps // (3 * _LIVES))
    environment = {
        **os.environ,
        "NEXUS_DECIDE_EXAMPLES": str(examples),
        "NEXUS_DECIDE_STEPS": str(lives),
        "HYPOTHESIS_PROFILE": "random",
    }
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-v", "-n", "0", "-x", "--no-header",
            f"{_TESTS}/test_scripts.py::test_any_sequence_equals_the_model",
            f"{_TESTS}/test_leases.py::test_any_sequence_of_leases_equals_the_model",
            f"{_TESTS}/test_purses.py",
        ],
        env=environment, cwd=_ROOT, stdout=sys.stderr, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"an invariant of admission does not hold, or could not be tried (pytest ended with {done.returncode})"
        )
    ran = 2 * examples * _STEPS_AN_EXAMPLE + _LIVES * lives
    took = time.perf_counter() - began
    return (
        "## Invariants of admission\n\n"
        f"At most {ran:,} steps of state machines on the real scripts in {took:,.0f} s, with crashes, replays, lost answers and "
        "clock steps: every state equals the model's, and every counter what really happened."
    )
