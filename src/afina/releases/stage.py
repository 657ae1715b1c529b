"""The release stage: card, evaluation without rows, and the manifest with every file's SHA-256."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from afina.errors import StorageError
from afina.inference.intact import require_intact
from afina.language import _
from afina.recipe import Recipe
from afina.releases.texts import TEXTS, write_texts
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run, recipe_hash
from afina.runs.stages import state_of
from afina.trust.code_version import code_version, package_versions
from afina.trust.manifest import sizes, write_manifest
from afina.trust.pickles import find_pickles

# What a release is made of: weights, settings, tokenizers, words. Rows come as Parquet, CSV, JSON lines.
SUFFIXES = (".safetensors", ".json", ".md", ".txt", ".jinja", ".model", "")
OUTPUTS = (*(f"release/{name}" for name in TEXTS), "release/manifest.json")


def release(run: Run, recipe: Recipe) -> None:
    """Completes release/: no training row is in it, and each file's hash is in the manifest."""
    folder = run.path("release")
    require_intact(folder, signed=False)
    write_json(folder / "evaluation.json", read_json(run.path("evaluation.json")))
    write_texts(run, recipe)
    _require_a_models_files(folder)
    write_manifest(
        folder,
        {
            "name": recipe.name,
            "run": run.title,
            "parents": {
                "base": read_json(folder / "inference.json")["base"],
                "data": _outputs(run, "data"),
                "recipe_sha256": recipe_hash(recipe),
            },
            "seed": recipe.seed,
            "code": code_version(),
            "packages": package_versions(),
        },
    )


def _require_a_models_files(folder: Path) -> None:
    """Refuses what is no part of a model: it would leave the machine with it.

    Raises:
        StorageError: for a file of a kind that may hold rows, and for pickle.
    """
    for name in sizes(folder):
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            raise StorageError(
                _("this is no file of a model: no release is made with it inside"),
                where=str(folder / name),
                fix=_("move it out of the folder"),
            )
    for name in find_pickles(folder):
        raise StorageError(
            _("this file holds pickle, which runs code when it is loaded: no release is made with it"),
            where=str(folder / name),
            fix=_("move it out of the folder"),
        )


def _outputs(run: Run, stage: str) -> dict[str, Any]:
    state = state_of(run, stage)
    return dict(state["outputs"]) if state else {}
