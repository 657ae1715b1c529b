"""The release stage: card, evaluation without rows, and the manifest with every file's SHA-256."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from afina.inference.intact import require_intact
from afina.recipe import Recipe
from afina.releases.texts import TEXTS, write_texts
from afina.runs.files import read_json, sha256_of, write_json
from afina.runs.folder import Run, recipe_hash
from afina.runs.stages import state_of

MANIFEST_SCHEMA = "afina/manifest/1"
OUTPUTS = (*(f"release/{name}" for name in TEXTS), "release/manifest.json")
PACKAGES = (
    "afina",
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "scikit-learn",
)


def release(run: Run, recipe: Recipe) -> None:
    """Completes release/: no training row is in it, and each file's hash is in the manifest."""
    folder = run.path("release")
    require_intact(folder)
    write_json(folder / "evaluation.json", read_json(run.path("evaluation.json")))
    write_texts(run, recipe)
    files = {
        str(path.relative_to(folder)): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    write_json(
        folder / "manifest.json",
        {
            "schema": MANIFEST_SCHEMA,
            "name": recipe.name,
            "run": run.title,
            "files": files,
            "parents": {
                "base": read_json(folder / "inference.json")["base"],
                "data": _outputs(run, "data"),
                "recipe_sha256": recipe_hash(recipe),
            },
            "seed": recipe.seed,
            "packages": {name: version(name) for name in PACKAGES},
        },
    )


def _outputs(run: Run, stage: str) -> dict[str, Any]:
    state = state_of(run, stage)
    return dict(state["outputs"]) if state else {}
