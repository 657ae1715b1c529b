"""The manifest of an export: what it was made of, and every file's hash; so it can be signed too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from afina.inference.intact import current_manifest
from afina.inference.settings import read_settings
from afina.runs.folder import Run, recipe_hash
from afina.trust.code_version import code_version, package_versions
from afina.trust.manifest import MANIFEST, manifest_sha256, write_manifest


def write_export_manifest(run: Run, folder: Path, to: str, bits: int | None) -> None:
    """Writes manifest.json over all that is in an export now, in place of one that is there.

    `export` calls it last of all; a kind whose own code compares the hashes when it loads calls it
    before that code is tried, and again where files came later.

    Raises:
        StorageError: for a link in the folder, or anything else that is no plain file.
    """
    release, recipe = run.path("release"), run.recipe()
    parents: dict[str, Any] = {
        "release_manifest_sha256": manifest_sha256(release) if current_manifest(release) else None,
        "base": read_settings(release / "inference.json").base,
        "recipe_sha256": recipe_hash(recipe),
    }
    write_manifest(
        folder,
        {
            "name": recipe.name,
            "run": run.title,
            "export": {"to": to, "bits": bits},
            "parents": parents,
            "seed": recipe.seed,
            "code": code_version(),
            "packages": package_versions(),
        },
    )


def has_manifest(folder: Path) -> bool:
    """Whether an export has its manifest already: a copy of a release has the release's."""
    return (folder / MANIFEST).exists()
