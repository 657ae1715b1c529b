"""The same places and programs as the tests of the command line."""

from tests.cli.conftest import cache, fresh

__all__ = ["cache", "fresh"]
