"""A release that somebody signed is not changed any more, nor what was measured of it."""

from __future__ import annotations

from afina.errors import StorageError
from afina.language import _
from afina.runs.folder import Run

# The stages whose outputs a release holds or rests on.
KEPT = ("data", "train", "evaluate", "gate", "release")


def require_unsigned(run: Run, stage: str) -> None:
    """Refuses to do a stage again that a signed release rests on.

    Raises:
        StorageError: says how to make a new model, and how to make this one again.
    """
    signatures = run.path("release/signatures")
    if stage not in KEPT or not signatures.exists():
        return
    raise StorageError(
        _(
            "the release of {run} is signed, and would be made again: its files, its data or Afina's "
            "code changed since (stage {stage})"
        ).format(run=run.title, stage=_(stage)),
        where=str(run.root),
        fix=_(
            "give the recipe another name to make a new model; or remove {signatures} to make this one "
            "again, and sign it again"
        ).format(signatures=signatures),
    )
