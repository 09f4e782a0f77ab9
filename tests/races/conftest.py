"""Assertions in the shared module are shown with their values."""

import pytest

pytest.register_assert_rewrite("tests.races.node")
