"""An export of kind endpoint: a folder for Hugging Face Inference Endpoints, with its own handler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.exports.handlers import write_served
from afina.runs.files import atomic_folder
from afina.runs.folder import Run


def endpoint(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes the merged model with handler.py and requirements.txt. Returns handler.json's value.

    Raises:
        AfinaError: when the merge or the handler differs from the run's own model.
    """
    with atomic_folder(folder) as temporary:
        return write_served(run, temporary, "endpoint", bits, say, ("handler.py",))
