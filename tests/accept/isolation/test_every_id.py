"""No route reads or changes another organization's things, whichever of all their ids it is given."""

from __future__ import annotations

import pytest

from tests.isolation.test_http import (
    test_changing_by_id_changes_one_s_own_things_only,
    test_reading_by_id_finds_one_s_own_things_only,
)

__all__ = ["test_changing_by_id_changes_one_s_own_things_only", "test_reading_by_id_finds_one_s_own_things_only"]


@pytest.fixture
def others() -> None:
    """All of them."""
