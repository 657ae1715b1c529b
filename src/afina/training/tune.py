"""The train stage: from the rows in `data/` to `release/`: adapter or model, head, inference.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from afina.data.chat import Encoded, question_of
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.data.token_cache import encode_rows
from afina.errors import DataError
from afina.inference.generate import generation_settings
from afina.inference.label_likelihood import label_logits
from afina.inference.pooled import PooledHead, features_of, load_head
from afina.inference.settings import InferenceSettings, write_settings
from afina.language import _
from afina.metrics.calibration import fit_temperature
from afina.models.base import FoundBase
from afina.models.full import save_model
from afina.models.load import checkpoint_activations, count_parameters, leave_fast_way, load_model
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.files import atomic_folder, read_json, sha256_of, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.runs.spending import over_budget
from afina.training.adapter_weight import FEWEST_ROWS, keep_weight, least_good_weight, try_weights
from afina.training.distributed.engines import check_engine
from afina.training.distributed.ranks import Alone
from afina.training.distributed.together import Together
from afina.training.distributed.torchrun import refuse_torchrun
from afina.training.loop import Progress, Trainer, TrainingRows, not_finite, peak_memory
from afina.training.objective import Objective, PooledObjective, TokenObjective
from afina.training.probe import fit_head, fit_probe
from afina.training.resources import resolve_auto
from afina.training.sampler import Sampler
from afina.training.trainable import make_trainable

TRAIN_SCHEMA = "afina/train/1"
WEIGHTS = "model"  # in release/, after full fine-tuning
PROBE = "probe/head.safetensors"
START = "probe/start.safetensors"


@dataclass
class _Work:
    """What the steps of this stage hand on."""

    run: Run
    recipe: Recipe
    base: FoundBase
    tokens: Tokens
    labels: list[str]
    rows: dict[str, list[Row]]
    encoded: dict[str, TrainingRows]
    precision: str
    bits: int
    checkpointed: bool

    def truth(self, split: str) -> np.ndarray[Any, np.dtype[Any]]:
        """Label codes of a split; [rows]."""
        codes = {label: code for code, label in enumerate(self.labels)}
        return np.array([codes[str(row.label)] for row in self.rows[split]])


def train(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens) -> None:
    """Fine-tunes the base model on the run's data; goes on from a checkpoint when there is one.

    Several processes share the steps only: the probe before and the release after are this one's.
    """
    work = _prepare(run, recipe, base, tokens)
    if recipe.train.distributed.engine == "none":
        refuse_torchrun()
        trainer = _trainer(work)
        _announce(work, trainer)
        done = trainer.fit()
    else:
        from afina.training.distributed.start import train_together

        check_engine(recipe, work.bits)
        if _is_pooled(recipe):
            _fitted_heads(work)
        train_together(run, recipe, base, tokens)
        trainer = _trainer(work)
        done = trainer.take_result()
    _finish(work, trainer, done)


def train_rank(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens, ranks: Together) -> None:
    """The part of one of several processes: the steps, up to the last checkpoint."""
    work = _prepare(run, recipe, base, tokens)
    trainer = _trainer(work, ranks)
    _announce(work, trainer)
    ranks.warn_of_idle(run, trainer)
    trainer.fit()


def _trainer(work: _Work, ranks: Alone | None = None) -> Trainer:
    """Base, adapter, head and rows, ready to be trained."""
    ranks, recipe = ranks or Alone(), work.recipe
    model = load_model(work.base.folder, work.precision, work.bits)
    start = _fitted_heads(work, model)[0] if _is_pooled(recipe) else None
    of_base = count_parameters(model)
    tuned = make_trainable(model, recipe, work.base.id, work.tokens.pad)
    if ranks.divides_base:
        leave_fast_way(tuned)
    if work.checkpointed:
        checkpoint_activations(tuned)
    objective, checking = _objectives(work, start, str(tuned.device))
    sampler = None
    if recipe.task.kind != "classify" and recipe.train.samples and ranks.divides_base:
        # Each process would have to write as many tokens as the others.
        work.run.say(_("no answers are sampled while the base is divided among processes"))
    elif recipe.task.kind != "classify" and recipe.train.samples and ranks.first:
        sampler = Sampler(work.run, work.tokens, work.rows["validation"][: recipe.train.samples])
    trainer = Trainer(
        work.run,
        recipe,
        tuned,
        work.tokens.pad,
        work.encoded["train"],
        work.encoded["validation"],
        objective,
        checking,
        sampler,
        ranks,
    )
    trainer.base_parameters = of_base
    return trainer


def _announce(work: _Work, trainer: Trainer) -> None:
    work.run.say(
        _(
            "training {trained:,} of {all:,} parameters, {rows:,} rows, {steps:,} steps, {precision}"
        ).format(
            trained=trainer.trained_parameters,
            all=_all_parameters(work, trainer),
            rows=len(work.rows["train"]),
            steps=trainer.total,
            precision=work.precision,
        )
    )


def _finish(work: _Work, trainer: Trainer, done: Progress) -> None:
    """Writes release/ and train.json; the checkpoints have served."""
    run, objective, strengths = work.run, trainer.objective, {}
    if _is_pooled(work.recipe):
        strengths = _fitted_heads(work)[1]
    head = objective.head() if isinstance(objective, PooledObjective) else None
    weight, accuracies = _weigh(work, trainer.model, head)
    temperature = _release(work, trainer.model, head)
    lines = {
        "schema": TRAIN_SCHEMA,
        "rows": len(work.rows["train"]),
        "validation_rows": len(work.rows["validation"]),
        "steps": done.step,
        "best_step": done.best_step,
        "best_loss": done.best_loss,
        "stopped_early": done.ended and done.step < trainer.total,
        "seconds": round(done.seconds, 3),
        "tokens": done.tokens,
        "tokens_per_second": round(done.tokens / max(done.seconds, 1e-9), 1),
        "peak_memory_bytes": max(peak_memory(), _peak_of_metrics(run)),
        "spent": run.meter.spent().as_json() if run.meter is not None else None,
        "trained_parameters": trainer.trained_parameters,
        "all_parameters": _all_parameters(work, trainer),
        "held_memory": trainer.held.against_full(trainer.trained_parameters, trainer.base_parameters),
        "adapter_weight": weight,
        "validation_accuracy_by_weight": accuracies,
        "temperature": temperature,
        "threshold": 0.5,
        "probe_strength": strengths.get("probe"),
        "start_strength": strengths.get("start"),
        "samples": read_json(run.path("samples.json")) if run.path("samples.json").exists() else [],
    }
    write_json(run.path("train.json"), lines)
    shutil.rmtree(run.path("checkpoints"), ignore_errors=True)


def _all_parameters(work: _Work, trainer: Trainer) -> int:
    """Parameters of base and adapter together."""
    beside = 0 if work.recipe.adapter.kind == "full" else trainer.trained_parameters
    return trainer.base_parameters + beside


def _peak_of_metrics(run: Run) -> int:
    """The highest memory that the lines of metrics.jsonl name, in bytes."""
    lines = run.path("metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return max((int(json.loads(line)["peak_memory_bytes"]) for line in lines), default=0)


def _is_pooled(recipe: Recipe) -> bool:
    return recipe.task.kind == "classify" and recipe.task.head == "pooled"


def _prepare(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens) -> _Work:
    precision, bits, checkpointed = resolve_auto(run, recipe, base)
    labels = list(read_json(run.path("data/audit.json"))["labels"])
    rows, encoded = {}, {}
    for split in ("train", "validation"):
        path = run.path(f"data/{split}.parquet")
        rows[split] = read_rows(path)
        pieces, owners = encode_rows(
            tokens, recipe, labels, rows[split], partial(sha256_of, path), run.say, run.progress
        )
        own = [rows[split][number] for number in owners]
        encoded[split] = TrainingRows(pieces, [row.id for row in own], [row.weight for row in own])
    _require_every_label(labels, rows["train"])
    return _Work(run, recipe, base, tokens, labels, rows, encoded, precision, bits, checkpointed)


def _require_every_label(labels: list[str], rows: list[Row]) -> None:
    """Refuses a label that no training row has: nothing could be learnt about it."""
    seen = {row.label for row in rows}
    missing = [label for label in labels if label not in seen]
    if missing:
        raise DataError(
            _("no training row has the label {labels}").format(labels=", ".join(map(repr, missing))),
            fix=_("add rows with it, raise data.limit, or take it out of task.labels"),
        )


def _fitted_heads(work: _Work, model: Any = None) -> tuple[PooledHead, dict[str, float]]:
    """The head that training starts from, and the inverse strengths of its penalty and the probe's.

    Both are fitted alone on the frozen base, which is loaded when it is not given; taken from the run
    when they were fitted already.
    """
    note = work.run.path("probe/probe.json")
    if work.run.path(START).exists() and note.exists():
        return load_head(work.run.path(START)), dict(read_json(note)["strengths"])
    model = model or load_model(work.base.folder, work.precision, work.bits)
    work.run.say(_("fitting the probe: a linear head on the frozen base"))
    with StopSignal(over_budget(work.run)) as stop:
        features = {
            split: features_of(
                model,
                work.encoded[split].encoded,
                work.tokens.pad,
                2 * work.recipe.train.micro_batch_tokens,
                _reading(work.run, work.encoded[split].encoded, stop),
            )
            for split in ("train", "validation")
        }
    for split, found in features.items():
        wrong = np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist()
        if wrong:
            raise not_finite(_("the base model's states are not finite"), work.encoded[split], wrong)
    rows = (features["train"], work.truth("train"), len(work.labels))
    seed = work.recipe.seed
    probe, best = fit_probe(*rows, features["validation"], work.truth("validation"), seed)
    wanted = work.recipe.train.head_strength
    start = probe if wanted == "auto" else fit_head(*rows, wanted, seed)
    probe.save(work.run.path(PROBE))
    start.save(work.run.path(START))
    strengths = {"probe": best, "start": best if wanted == "auto" else wanted}
    write_json(note, {"schema": "afina/probe/1", "strengths": strengths})
    return start, strengths


def _reading(run: Run, encoded: Sequence[Encoded], stop: StopSignal) -> Any:
    """Shows how far the reading of rows is, and obeys a signal between batches."""
    total = sum(len(item.ids) for item in encoded)
    done = 0

    def check(tokens: int) -> None:
        nonlocal done
        stop.check()
        done += tokens
        run.progress(_("reading {done:,} of {total:,} tokens").format(done=done, total=total))

    return check


def _objectives(work: _Work, start: PooledHead | None, device: str) -> tuple[Objective, Objective]:
    if start is None:
        return TokenObjective(), TokenObjective()
    objective = PooledObjective(start, work.truth("train"), device)
    return objective, objective.with_truth(work.truth("validation"))


def _weigh(work: _Work, tuned: Any, head: PooledHead | None) -> tuple[float, dict[str, float] | None]:
    """Makes the adapter the share of it that is released. Returns that, and what the choice rests on."""
    adapter, rows = work.recipe.adapter, len(work.rows["validation"])
    if adapter.weight != "auto":
        keep_weight(tuned, adapter.weight)
        return adapter.weight, None
    if head is None or adapter.kind not in ("lora", "rslora") or rows < FEWEST_ROWS:
        return 1.0, None
    work.run.say(_("choosing how much of the adapter is released"))
    budget, encoded = 2 * work.recipe.train.micro_batch_tokens, work.encoded["validation"].encoded
    with StopSignal() as stop:
        logits = try_weights(
            tuned,
            lambda: head.logits(
                features_of(tuned, encoded, work.tokens.pad, budget, lambda _tokens: stop.check())
            ),
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
    return weight, accuracies


def _release(work: _Work, tuned: Any, head: PooledHead | None) -> float:
    """Writes release/: adapter or model, tokenizer, head, inference.json. Returns the temperature."""
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
    settings = _settings_of(work)
    if recipe.task.kind == "classify":
        settings = replace(settings, temperature=_temperature(work, tuned, head))
    if head is not None:
        head.save(run.path("release/head.safetensors"))
    write_settings(run.path("release/inference.json"), settings)
    return settings.temperature


def _settings_of(work: _Work) -> InferenceSettings:
    recipe, task = work.recipe, work.recipe.task
    positive = task.positive or (work.labels[-1] if len(work.labels) == 2 else None)
    if _is_pooled(recipe):
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
    )


def _temperature(work: _Work, tuned: Any, head: PooledHead | None) -> float:
    """The temperature that fits the validation rows; 1 for a handful of rows, which fit anything."""
    rows = work.rows["validation"]
    if len(rows) < 20:
        return 1.0
    budget = 2 * work.recipe.train.micro_batch_tokens
    if head is not None:
        logits = head.logits(
            features_of(tuned, work.encoded["validation"].encoded, work.tokens.pad, budget)
        )
    else:
        question = question_of(work.recipe, work.labels)
        texts = [row.text for row in rows]
        logits = label_logits(tuned, work.tokens, question, texts, work.recipe.data.max_length, budget)
    return fit_temperature(logits, work.truth("validation"))
