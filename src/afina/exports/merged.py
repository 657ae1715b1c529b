"""An export of kind merged: the adapter in the base's weights, compared with the run's own model."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from afina.errors import AfinaError
from afina.exports.agreement import Agreement, compare, states_of
from afina.exports.asked import ENOUGH, prompts_of
from afina.exports.merge import merged_model
from afina.exports.own import widen
from afina.inference.engine import Engine
from afina.inference.masking_note import masking_note
from afina.inference.pooled import load_head
from afina.inference.settings import InferenceSettings, write_settings
from afina.language import _
from afina.metrics.statistics import wilson
from afina.models.full import save_model
from afina.models.load import load_model
from afina.runs.files import atomic_folder, write_json, write_text
from afina.runs.folder import Run

MERGE_SCHEMA = "afina/merge/1"
# Largest logit difference, as a share of the largest logit, that is put down to rounding. fp32 rounds to
# 6e-8 and sums in another order: 2e-7 was seen on the tiny model, and many layers add to it. bf16 rounds
# each weight and activation by up to 0.4 %, which adds up over the layers: derived, not fitted. An
# adapter that moves the logits by less cannot be told from rounding: merge.json has its effect.
# A run that computes in bf16 is compared in fp32, by the same weights: over 128 real prompts the largest
# difference between bf16 and fp32 was larger than the largest logit, at a single place. Where the merged
# numbers are bf16, its likeliest tokens may differ as often as the run's own do by computing in bf16.
TOLERANCES = {"fp32": 1e-4, "bf16": 0.05}


def merged(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Merges, loads what was written, compares. Returns merge.json's value.

    Raises:
        AfinaError: when the merged model differs from the run's own by more than rounding does.
    """
    recipe, release = run.recipe(), run.path("release")
    say(_("asking the run's own model, to compare with"))
    engine = Engine(release, say)
    settings, tokens = engine.settings, engine.tokens
    bits = bits or (32 if settings.precision == "fp32" else 16)
    prompts = prompts_of(run, recipe, engine)
    own = states_of(engine.model, prompts, tokens.pad)
    rounding = None
    rounded = own
    if settings.precision == "bf16":  # widening changes the model's own output head in place
        rounded = replace(own, head=deepcopy(own.head))
    if widened := widen(engine):
        own = states_of(engine.model, prompts, tokens.pad)
        rounding = compare(rounded, own, recipe.seed)
    del rounded
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
        again = states_of(load_model(temporary, "fp32" if widened else precision), prompts, tokens.pad)
        found = compare(own, again, recipe.seed)
        exact = precision == "fp32" and (widened or settings.precision == "fp32")
        kind = "fp32" if exact else "bf16"
        if exact or rounding is None or found.agreeing < rounding.agreeing:
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
            "computed_in": "fp32" if widened else settings.precision,
            "own_rounding": None if rounding is None else rounding.agreeing / rounding.places,
            "adapter_effect": effect,
            "top1": {
                "agreeing": found.agreeing,
                "share": found.agreeing / found.places,
                "ci95": list(found.ci95),
                "method": found.method,
            },
            "labels": _labels(release, settings, own, again),
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
