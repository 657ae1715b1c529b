"""What the tests of the report share: the Spanish catalogue with the report's own entries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import afina.language
import afina.reports

PACKAGE = Path(afina.reports.__file__).parent


@pytest.fixture
def spanish(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The catalogue, also before the entries of the report are merged into it."""
    known = json.loads((PACKAGE.parent / "language" / "es.json").read_text(encoding="utf-8"))
    entries = PACKAGE / "es_entries.json"
    if entries.exists():
        known |= json.loads(entries.read_text(encoding="utf-8"))
    monkeypatch.setattr(afina.language, "_catalogue", lambda: known)
    return known
