"""What the tests of the report share: the Spanish catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import afina.reports

PACKAGE = Path(afina.reports.__file__).parent


@pytest.fixture
def spanish() -> dict[str, str]:
    """The catalogue."""
    return dict(json.loads((PACKAGE.parent / "language" / "es.json").read_text(encoding="utf-8")))
