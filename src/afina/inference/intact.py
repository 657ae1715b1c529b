"""Whether a release's files are those that were written, and signed by somebody who is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from afina.runs.files import read_json, sha256_of
from afina.trust.manifest import MANIFEST, damaged, read_manifest, require_files
from afina.trust.signatures import require_trusted
from afina.trust.trust_store import TrustStore

__all__ = ["current_manifest", "damaged", "require_intact"]


def require_intact(release: Path, signed: bool = True) -> None:
    """Compares a release with its manifest, and its signatures with those that are trusted.

    Hashes are always compared: of every file in the manifest, and there must be no other. A run whose
    release is not made yet has its model's hashes from the train stage. Signatures count once the
    trust store knows a signer.

    Args:
        signed: False for the stages of a run on its own model, or on those it is compared with: nothing
            can be signed before it is measured. Its hashes are compared all the same.
    Raises:
        StorageError: when a file is not there, is not the one that was written, or is too many.
        SignatureError: when it is not signed, wrongly, or by somebody who is not trusted.
    """
    if signed:
        store = TrustStore()
        if store.asks:
            run = release.parent if (release.parent / "run.json").exists() else None
            require_trusted(release, store, None if run is None else str(run))
            require_files(release, read_manifest(release))
            return
    trained = _trained(release)
    manifest = current_manifest(release)
    if manifest is not None:
        require_files(release, manifest)
    elif trained is not None:
        for name, digest in trained.items():
            path = release / name
            if not path.is_file() or sha256_of(path) != digest:
                raise damaged(path, release)


def current_manifest(release: Path) -> dict[str, Any] | None:
    """The manifest of what is in a release now; None in a run whose release is still to be made.

    After a model was trained again, the manifest of the one before may still lie there.

    Raises:
        StorageError: outside of a run, when there is no manifest; when it is not the one that was made.
    """
    trained = _trained(release)
    if trained is None:
        return read_manifest(release)
    made = _outputs(release, "release")
    if made is None:
        return None
    path = release / MANIFEST
    if not path.is_file() or sha256_of(path) != made.get(MANIFEST):
        raise damaged(path, release)
    manifest = read_manifest(release)
    listed = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    same = all(listed.get(name) == digest for name, digest in trained.items())
    return manifest if same else None


def _trained(release: Path) -> dict[str, str] | None:
    """SHA-256 of each of the model's files as training wrote it; None outside of a run."""
    return _outputs(release, "train")


def _outputs(release: Path, stage: str) -> dict[str, str] | None:
    """SHA-256 of what a stage of the release's own run wrote into it, by name in the release; None when
    the release lies in no run, or the stage is not done."""
    path = release.parent / "stages" / f"{stage}.json"
    if not path.exists():
        return None
    try:
        state = read_json(path)
        if state["state"] != "done":
            return None
        return {
            name.removeprefix("release/"): str(digest)
            for name, digest in state["outputs"].items()
            if name.startswith("release/")
        }
    except (KeyError, TypeError, AttributeError):
        raise damaged(path, release) from None
