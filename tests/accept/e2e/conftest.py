"""The node and the browser of the tests of pages."""

from tests.e2e.conftest import browser, node, sandbox, seats, site, visit

__all__ = ["browser", "node", "sandbox", "seats", "site", "visit"]
