"""Whether a release's files are those that training wrote: their hashes are compared before loading."""

from __future__ import annotations

from pathlib import Path

from afina.errors import StorageError
from afina.language import _
from afina.runs.files import read_json, sha256_of

_NOT_THE_MODEL = ("README.md", "evaluation.json")


def require_intact(release: Path) -> None:
    """Compares each file of the model with the hash that was kept of it.

    Where the release lies in its run, the train stage kept the hashes (a manifest there may be of an
    earlier model); elsewhere the manifest has them. Without either there is nothing to compare.

    Raises:
        StorageError: when a file is not there or is not the one that was written; names it.
    """
    for name, digest in _recorded(release).items():
        path = release / name
        if not path.is_file() or sha256_of(path) != digest:
            raise damaged(path, release)


def damaged(path: Path, release: Path) -> StorageError:
    """What a person should read of a release's file that is not as it was written."""
    run = release.parent
    if (run / "run.json").exists():
        fix = _("run `afina run {run}`: it notices, and makes the model again").format(run=run)
    else:
        fix = _("copy the release again from where it was made")
    what = (
        _("this file of the release is not the one that was written: it was changed or damaged")
        if path.exists()
        else _("this file of the release is missing")
    )
    return StorageError(what, where=str(path), fix=fix)


def _recorded(release: Path) -> dict[str, str]:
    """SHA-256 of each of the model's files by its name in the release, as it was written."""
    stage, manifest = release.parent / "stages" / "train.json", release / "manifest.json"
    source = manifest
    try:
        if stage.exists():
            source = stage
            state = read_json(stage)
            if state["state"] == "done":
                return {
                    name.removeprefix("release/"): str(digest)
                    for name, digest in state["outputs"].items()
                    if name.startswith("release/")
                }
        if manifest.exists():
            source = manifest
            files = read_json(manifest)["files"]
            return {
                name: str(entry["sha256"]) for name, entry in files.items() if name not in _NOT_THE_MODEL
            }
    except (KeyError, TypeError, AttributeError):
        raise damaged(source, release) from None
    return {}
