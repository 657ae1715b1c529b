"""`afina export`: what is made of a finished run, compared with the run's own model first."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from afina.errors import AfinaError, StorageError
from afina.exports.agreement import ENOUGH, Agreement, compare, prompts_of, states_of
from afina.exports.merge import merged_model
from afina.inference.engine import Engine
from afina.inference.intact import require_intact
from afina.inference.masking_note import masking_note
from afina.inference.pooled import load_head
from afina.inference.settings import InferenceSettings, read_settings, write_settings
from afina.language import _
from afina.metrics.statistics import wilson
from afina.models.full import save_model
from afina.models.load import load_model
from afina.runs.files import atomic_folder, read_json, sha256_of, write_json, write_text
from afina.runs.folder import Run

MERGE_SCHEMA = "afina/merge/1"
KINDS = ("merged", "adapter")
NOT_BUILT = ("onnx", "gguf", "torchserve", "endpoint")
# Largest logit difference, as a share of the largest logit, that is put down to rounding. fp32 rounds to
# 6e-8 and sums in another order: 2e-7 was seen on the tiny model, and many layers add to it. bf16 rounds
# each weight and activation by up to 0.4 %, which adds up over the layers: derived, not fitted. An
# adapter that moves the logits by less cannot be told from rounding: merge.json has its effect.
TOLERANCES = {"fp32": 1e-4, "bf16": 0.05}


@dataclass(frozen=True)
class ExportResult:
    """What was made.

    Attributes:
        kind: merged or adapter. folder: where it is. bytes: its size.
        figures: the value of merge.json; empty for an adapter, which is copied.
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
        to: one of KINDS. out: its folder; None takes `exports/TO` in the run.
        bits: of a merged model's numbers, 16 (bf16) or 32; None takes what the base computed in.
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
    folder = run.path(f"exports/{to}") if out is None else out
    _require_free(folder, release, overwrite)
    if to == "adapter":
        figures: dict[str, Any] = {}
        _copy_adapter(release, folder)
    else:
        figures = _merge(run, release, folder, bits, say)
    if out is None:
        run.publish()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return ExportResult(to, folder, size, figures)


def _require_kind(to: str, bits: int | None) -> None:
    if to in NOT_BUILT:
        raise AfinaError(
            _("an export to {kind} is not built yet").format(kind=to),
            fix=_("use one of {known}").format(known=", ".join(KINDS)),
        )
    if to not in KINDS:
        raise AfinaError(
            _("{kind!r} is no kind of export").format(kind=to),
            fix=_("use one of {known}").format(known=", ".join(KINDS)),
        )
    if bits is not None and (to != "merged" or bits not in (16, 32)):
        raise AfinaError(_("bits are of a merged model: 16 or 32"))


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


def _copy_adapter(release: Path, folder: Path) -> None:
    require_intact(release)
    if not read_settings(release / "inference.json").adapters:
        raise AfinaError(
            _("all weights of this run were trained: it has no adapter"),
            where=str(release),
            fix=_("use --to merged"),
        )
    with atomic_folder(folder) as temporary:
        shutil.copytree(release, temporary, dirs_exist_ok=True)


def _merge(
    run: Run, release: Path, folder: Path, bits: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Merges, loads what was written, compares. Returns merge.json's value."""
    recipe = run.recipe()
    say(_("asking the run's own model, to compare with"))
    engine = Engine(release, say)
    settings, tokens = engine.settings, engine.tokens
    bits = bits or (32 if settings.precision == "fp32" else 16)
    prompts = prompts_of(run, recipe, engine)
    own = states_of(engine.model, prompts, tokens.pad)
    with engine.base_only():
        effect = compare(own, states_of(engine.model, prompts, tokens.pad), recipe.seed).relative
    say(_("merging in fp32"))
    merged = merged_model(engine.model, settings.precision, bits)
    precision = "fp32" if bits == 32 else "bf16"
    plain = replace(settings, adapters=[], weights=".", precision=precision, bits=16)
    del engine
    with atomic_folder(folder) as temporary:
        save_model(merged, tokens, temporary)
        del merged
        gc.collect()
        if (release / "head.safetensors").exists():
            shutil.copy(release / "head.safetensors", temporary / "head.safetensors")
        write_settings(temporary / "inference.json", plain)
        write_text(temporary / "README.md", _card(run, settings))
        say(_("loading the merged model again and asking it the same"))
        again = states_of(load_model(temporary, precision), prompts, tokens.pad)
        found = compare(own, again, recipe.seed)
        kind = "fp32" if {precision, settings.precision} == {"fp32"} else "bf16"
        _require_equal(found, TOLERANCES[kind], bits)
        figures = {
            "schema": MERGE_SCHEMA,
            "run": run.title,
            "base": settings.base,
            "adapter": recipe.adapter.kind,
            "base_bits": settings.bits,
            "bits": bits,
            "prompts": found.prompts,
            "enough_prompts": found.prompts >= ENOUGH,
            "places": found.places,
            "largest_logit": found.largest_logit,
            "largest_difference": found.largest_difference,
            "relative_difference": found.relative,
            "tolerance": TOLERANCES[kind],
            "adapter_effect": effect,
            "top1": {
                "agreeing": found.agreeing,
                "share": found.agreeing / found.places,
                "ci95": list(found.ci95),
                "method": found.method,
            },
            "labels": _labels(release, settings, own, again),
            "files": {
                str(path.relative_to(temporary)): sha256_of(path)
                for path in sorted(temporary.rglob("*"))
                if path.is_file()
            },
        }
        write_json(temporary / "merge.json", figures)
    return figures


def _require_equal(found: Agreement, tolerance: float, bits: int) -> None:
    if found.relative <= tolerance:
        return
    raise AfinaError(
        _(
            "the merged model differs from the run's own by {found:.2%} of the largest logit; rounding "
            "explains {tolerance:.2%}: nothing was kept"
        ).format(found=found.relative, tolerance=tolerance),
        fix=_("keep fp32 numbers with --bits 32") if bits == 16 else _("use the adapter as it is"),
    )


def _labels(release: Path, settings: InferenceSettings, own: Any, again: Any) -> dict[str, Any] | None:
    """For a pooled head: how often both models say the same label, and the largest logit difference."""
    if settings.head is None or settings.head["kind"] != "pooled":
        return None
    head = load_head(release / settings.head["path"])
    one, other = head.logits(own.means()), head.logits(again.means())
    same = int((one.argmax(axis=1) == other.argmax(axis=1)).sum())
    interval = wilson(same, len(one))
    return {
        "largest_difference": float(abs(one - other).max()),
        "agreeing": same,
        "ci95": [interval.low, interval.high],
    }


def _card(run: Run, settings: InferenceSettings) -> str:
    """A short model card in the Hub's form."""
    kind = "text-classification" if settings.kind == "classify" else "text-generation"
    head = {
        "base_model": settings.base["id"],
        "library_name": "transformers",
        "pipeline_tag": kind,
        "tags": ["afina"],
    }
    text = _(
        "The adapter of run `{run}`, merged into `{base}` by Afina; `merge.json` says how near it is."
    )
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).strip(),
            "---",
            "",
            f"# {run.name}",
            "",
            text.format(run=run.title, base=settings.base["id"]),
            "",
            *masking_note(settings.personal, settings.names),
        ]
    )


def read_merge(folder: Path) -> dict[str, Any]:
    """The value of a merged model's merge.json."""
    return dict(read_json(folder / "merge.json"))
