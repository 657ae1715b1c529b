"""An export of kind adapter: a copy of the release, which plain PEFT loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.inference.intact import current_manifest, require_intact
from afina.inference.settings import read_settings
from afina.language import _
from afina.runs.files import atomic_folder
from afina.runs.folder import Run
from afina.trust.manifest import MANIFEST


def adapter(run: Run, folder: Path, _bits: int | None, _say: Callable[[str], None]) -> dict[str, Any]:
    """Copies the release. There are no figures of a copy.

    Raises:
        AfinaError: when all weights were trained, so that there is no adapter.
    """
    release = run.path("release")
    require_intact(release)
    manifest = current_manifest(release)
    if not read_settings(release / "inference.json").adapters:
        raise AfinaError(
            _("all weights of this run were trained: it has no adapter"),
            where=str(release),
            fix=_("use --to merged"),
        )
    with atomic_folder(folder) as temporary:
        shutil.copytree(release, temporary, dirs_exist_ok=True)
        if manifest is None:  # of an earlier model, if there is one
            (temporary / MANIFEST).unlink(missing_ok=True)
    return {}
