"""The control plane over HTTP, as the tests of identity have it."""

from tests.identity.conftest import app, client, clock, first, settings

__all__ = ["app", "client", "clock", "first", "settings"]
