"""`afina export`: what is made of a finished run, compared with the run's own model first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, StorageError
from afina.exports.adapter import adapter
from afina.exports.endpoint import endpoint
from afina.exports.gguf import gguf
from afina.exports.manifest import has_manifest, write_export_manifest
from afina.exports.merged import merged
from afina.exports.onnx import DEFAULT_BITS, onnx
from afina.exports.ray import ray
from afina.exports.torchserve import torchserve
from afina.exports.vllm import vllm
from afina.language import _
from afina.runs.folder import Run


@dataclass(frozen=True)
class Kind:
    """A kind of export.

    Attributes:
        make: writes the folder (its last step, by `atomic_folder`) and returns the figures of the
            comparison with the run's own model.
        bits: those that --bits takes; empty: the kind has no choice of bits.
        default: the bits without --bits, where each choice has a folder of its own.
    """

    make: Callable[[Run, Path, int | None, Callable[[str], None]], dict[str, Any]]
    bits: tuple[int, ...] = ()
    default: int | None = None


KINDS = {
    "merged": Kind(merged, (16, 32)),
    "adapter": Kind(adapter),
    "gguf": Kind(gguf, (16, 8, 4)),
    "endpoint": Kind(endpoint, (16, 32)),
    "torchserve": Kind(torchserve, (16, 32)),
    "vllm": Kind(vllm, (16, 32)),
    "ray": Kind(ray, (16, 32)),
    "onnx": Kind(onnx, (4, 8, 32), DEFAULT_BITS),
}


@dataclass(frozen=True)
class ExportResult:
    """What was made.

    Attributes:
        kind: one of KINDS. folder: where it is. bytes: its size.
        figures: the value of merge.json, agreement.json or the like: how near it is to the run's own
            model; empty for an adapter, which is copied.
    """

    kind: str
    folder: Path
    bytes: int
    figures: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "folder": str(self.folder)}


def export(
    run: Run, to: str, out: Path | None, bits: int | None, overwrite: bool, say: Callable[[str], None]
) -> ExportResult:
    """Makes one export of a run.

    Args:
        to: one of KINDS. out: its folder; None takes `exports/TO` in the run, or `exports/TO-BITS`.
        bits: of the model's numbers; None takes what the base computed in, or the kind's own choice.
        overwrite: replace an export that is there.
    Raises:
        AfinaError: for a kind that is not built, a run without a model, a merge that differs from the
            run's own model by more than rounding does.
        StorageError: when the folder is there already.
    """
    _require_kind(to, bits)
    release = run.path("release")
    if not (release / "inference.json").exists():
        raise AfinaError(
            _("this run has no trained model yet"),
            where=str(release),
            fix=_("finish it with `afina run`"),
        )
    default = KINDS[to].default
    place = to if default is None else f"{to}-{bits or default}"
    folder = run.path(f"exports/{place}") if out is None else out
    _require_free(folder, release, overwrite)
    figures = KINDS[to].make(run, folder, bits, say)
    if not has_manifest(folder):
        write_export_manifest(run, folder, to, bits)
    if out is None:
        run.publish()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return ExportResult(to, folder, size, figures)


def _require_kind(to: str, bits: int | None) -> None:
    if to not in KINDS:
        raise AfinaError(
            _("{kind!r} is no kind of export").format(kind=to),
            fix=_("use one of {known}").format(known=", ".join(KINDS)),
        )
    known = KINDS[to].bits
    if bits is not None and not known:
        raise AfinaError(
            _("an export to {kind} has no choice of bits").format(kind=to), fix=_("leave out --bits")
        )
    if bits is not None and bits not in known:
        raise AfinaError(
            _("an export to {kind} has no {bits} bits").format(kind=to, bits=bits),
            fix=_("use one of {known}").format(known=", ".join(map(str, known))),
        )


def _require_free(folder: Path, release: Path, overwrite: bool) -> None:
    """Refuses a folder with other things in it; an export in it is replaced when that is said."""
    if release.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise StorageError(
            _("a release is not changed once it is made"),
            where=str(folder),
            fix=_("choose another folder with --out"),
        )
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder.is_dir() and (folder / "inference.json").exists()):
        raise StorageError(
            _("there is something else in this folder"),
            where=str(folder),
            fix=_("choose another folder with --out"),
        )
    if not overwrite:
        raise StorageError(
            _("there is an export in this folder already"),
            where=str(folder),
            fix=_("choose another folder with --out, or replace it with --overwrite"),
        )
