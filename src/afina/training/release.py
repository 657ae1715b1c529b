"""What a training releases: how much of its adapter, its head, and the settings of inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from afina.data.chat import question_of
from afina.inference.generate import generation_settings
from afina.inference.label_likelihood import label_logits
from afina.inference.pooled import PooledHead, features_of
from afina.inference.settings import InferenceSettings, write_settings
from afina.language import _
from afina.metrics.calibration import fit_temperature
from afina.models.full import save_model
from afina.runs.files import atomic_folder
from afina.runs.signals import StopSignal
from afina.training.adapter_weight import (
    FEWEST_ROWS,
    is_untrained,
    keep_weight,
    least_good_weight,
    try_weights,
)
from afina.training.heads import probe_choice
from afina.training.threshold import choose
from afina.training.work import Work, is_pooled

Array = np.ndarray[Any, np.dtype[Any]]
WEIGHTS = "model"  # in release/, after full fine-tuning


@dataclass(frozen=True)
class Weighed:
    """The share of the adapter that is released, and what the choice rests on, if there was one.

    Attributes:
        weight: 1 is all of the adapter. accuracies: on the validation rows, by weight.
        logits: of the validation rows with the released share; [rows, labels].
    """

    weight: float
    accuracies: dict[str, float] | None = None
    logits: Array | None = None


def chooses_weight(work: Work) -> bool:
    """Whether shares of the adapter are tried: for an adapter that adds, under a pooled head."""
    adapter = work.recipe.adapter
    tried = adapter.weight == "auto" and adapter.kind in ("lora", "rslora") and is_pooled(work.recipe)
    return tried and len(work.rows["validation"]) >= FEWEST_ROWS


def weigh(work: Work, tuned: Any, head: PooledHead | None) -> Weighed:
    """Makes the adapter the share of it that is released."""
    if head is None or not chooses_weight(work) or is_untrained(tuned):
        wanted = work.recipe.adapter.weight
        weight = 1.0 if wanted == "auto" else wanted
        keep_weight(tuned, weight)
        return Weighed(weight)
    work.run.say(_("choosing how much of the adapter is released"))
    with StopSignal() as stop:
        logits = try_weights(
            tuned, lambda: validation_logits(work, tuned, head, lambda _tokens: stop.check())
        )
    truth = work.truth("validation")
    weight = least_good_weight(logits, truth)
    keep_weight(tuned, weight)
    accuracies = {
        f"{one:g}": round(float((given.argmax(axis=1) == truth).mean()), 4)
        for one, given in logits.items()
    }
    shown = ", ".join(f"{one}: {value:.3f}" for one, value in accuracies.items())
    work.run.say(
        _("released weight of the adapter: {weight:g} (validation accuracy by weight: {shown})").format(
            weight=weight, shown=shown
        )
    )
    return Weighed(weight, accuracies, logits[weight])


def validation_logits(
    work: Work, tuned: Any, head: PooledHead | None, check: Callable[[int], None] = lambda _tokens: None
) -> Array:
    """Label logits of the validation rows; [rows, labels]. `check` is called before each batch."""
    budget = 2 * work.recipe.train.micro_batch_tokens
    if head is not None:
        encoded = work.encoded["validation"].encoded
        return head.logits(features_of(tuned, encoded, work.tokens.pad, budget, check))
    question = question_of(work.recipe, work.labels)
    texts = [row.text for row in work.rows["validation"]]
    return label_logits(tuned, work.tokens, question, texts, work.recipe.data.max_length, budget)


def release(
    work: Work, tuned: Any, head: PooledHead | None, logits: Array | None = None
) -> tuple[InferenceSettings, dict[str, Any] | None]:
    """Writes release/: adapter or model, tokenizer, head, inference.json.

    Args:
        logits: of the validation rows, where they are known already; [rows, labels].
    Returns:
        The settings, and what chose the threshold, for train.json; None where it is 0.5.
    """
    run, recipe = work.run, work.recipe
    if recipe.adapter.kind == "full":
        with atomic_folder(run.path(f"release/{WEIGHTS}")) as folder:
            save_model(tuned, work.tokens, folder)
    else:
        with atomic_folder(run.path("release/adapter")) as folder:
            # Embeddings are not trained; asked to decide by itself, peft looks for the base on the Hub.
            tuned.save_pretrained(str(folder), save_embedding_layers=False)
            work.tokens.tokenizer.save_pretrained(str(folder))
            (folder / "README.md").unlink(missing_ok=True)  # peft's empty card; the release has its own
    settings, chosen = _settings_of(work), None
    if recipe.task.kind == "classify":
        settings, chosen = _decided(work, settings, tuned, head, logits)
    if head is not None:
        head.save(run.path("release/head.safetensors"))
    write_settings(run.path("release/inference.json"), settings)
    return settings, chosen


def _settings_of(work: Work) -> InferenceSettings:
    recipe, task = work.recipe, work.recipe.task
    positive = task.positive or (work.labels[-1] if len(work.labels) == 2 else None)
    if is_pooled(recipe):
        head: dict[str, Any] | None = {"kind": "pooled", "path": "head.safetensors"}
    else:
        head = {"kind": "tokens"} if task.kind == "classify" else None
    instruction = (
        question_of(recipe, work.labels).instruction if task.kind == "classify" else task.instruction
    )
    return InferenceSettings(
        base={
            "model": recipe.base.model,
            "id": work.base.id,
            "revision": work.base.revision,
            "sha256": work.base.sha256,
        },
        adapters=[] if recipe.adapter.kind == "full" else [{"path": "adapter", "weight": 1.0}],
        kind=task.kind,
        head=head,
        template=work.tokens.template,
        date=work.tokens.date,
        labels=work.labels,
        positive=positive,
        instruction=instruction,
        threshold=0.5,
        temperature=1.0,
        max_length=recipe.data.max_length,
        precision=work.precision,
        bits=work.bits,
        generation=generation_settings(work.tokens),
        weights=WEIGHTS if recipe.adapter.kind == "full" else None,
        personal=recipe.data.personal,
        names=recipe.data.names,
    )


def _decided(
    work: Work, settings: InferenceSettings, tuned: Any, head: PooledHead | None, logits: Array | None
) -> tuple[InferenceSettings, dict[str, Any] | None]:
    """The settings with the temperature that fits the validation rows (1 for a handful of rows, which
    fit anything) and with the threshold that the recipe asks for."""
    few = len(work.rows["validation"]) < FEWEST_ROWS
    wanted = work.recipe.train.threshold_from
    if not few and logits is None:
        logits = validation_logits(work, tuned, head)
    truth = work.truth("validation")
    temperature = 1.0 if few or logits is None else fit_temperature(logits, truth)
    if wanted == "left_out":
        note = probe_choice(work.run)
        if note is None:  # a rehearsal, which fits no probe
            return replace(settings, temperature=temperature), None
        # The probe says how much less sure one must be of sources never seen: by the ratio of its two
        # temperatures. The tuned model cannot be asked without being trained once for each fold.
        softer = note["temperature"] / note["validation_temperature"]
        temperature = float(np.clip(temperature * softer, 0.2, 20))
        settings = replace(settings, temperature=temperature, threshold=note["threshold"])
        return settings, note["choice"]
    if wanted == "validation":
        if few or logits is None or len(np.unique(truth)) < 2:
            work.run.say(
                _("the threshold stays 0.5: {rows} validation rows are too few to choose one").format(
                    rows=len(truth)
                )
            )
            return replace(settings, temperature=temperature), None
        positive = work.labels.index(settings.positive or work.labels[-1])
        most = work.recipe.train.max_false_positive_rate
        choice = choose(logits, truth, positive, most, temperature)
        return replace(settings, temperature=temperature, threshold=choice.threshold), choice.as_json()
    return replace(settings, temperature=temperature), None
