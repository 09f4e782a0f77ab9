"""The two organizations of the tests of isolation."""

from tests.isolation.conftest import application, built, database_name, world
from tests.isolation.test_http import neighbour, person, program

__all__ = ["application", "built", "database_name", "neighbour", "person", "program", "world"]
