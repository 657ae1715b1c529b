"""The train stage: from the rows in `data/` to `release/`: adapter or model, head, inference.json."""

from __future__ import annotations

import json
import shutil

from afina.inference.pooled import PooledHead
from afina.language import _
from afina.models.base import FoundBase
from afina.models.load import checkpoint_activations, count_parameters, leave_fast_way, load_model
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run
from afina.runs.hardware import hardware
from afina.training.distributed.engines import check_engine
from afina.training.distributed.ranks import Alone
from afina.training.distributed.together import Together
from afina.training.distributed.torchrun import refuse_torchrun
from afina.training.heads import fitted_heads
from afina.training.loop import Progress, Trainer, peak_memory
from afina.training.objective import Objective, PooledObjective, TokenObjective
from afina.training.release import release, weigh
from afina.training.robust import GroupWeights, group_codes, robust_strength
from afina.training.sampler import Sampler
from afina.training.trainable import make_trainable
from afina.training.work import Work, is_pooled, prepare

TRAIN_SCHEMA = "afina/train/1"


def train(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens) -> None:
    """Fine-tunes the base model on the run's data; goes on from a checkpoint when there is one.

    Several processes share the steps only: the probe before and the release after are this one's.
    """
    work = prepare(run, recipe, base, tokens)
    if recipe.train.distributed.engine == "none":
        refuse_torchrun()
        trainer = _trainer(work)
        _announce(work, trainer)
        done = trainer.fit()
    else:
        from afina.training.distributed.start import train_together

        check_engine(recipe, work.bits)
        if is_pooled(recipe):
            fitted_heads(work)
        train_together(run, recipe, base, tokens)
        trainer = _trainer(work)
        done = trainer.take_result()
    _finish(work, trainer, done)


def train_rank(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens, ranks: Together) -> None:
    """The part of one of several processes: the steps, up to the last checkpoint."""
    work = prepare(run, recipe, base, tokens)
    trainer = _trainer(work, ranks)
    _announce(work, trainer)
    ranks.warn_of_idle(run, trainer)
    trainer.fit()


def _trainer(work: Work, ranks: Alone | None = None) -> Trainer:
    """Base, adapter, head and rows, ready to be trained."""
    ranks, recipe = ranks or Alone(), work.recipe
    model = load_model(work.base.folder, work.precision, work.bits)
    start = fitted_heads(work, model)[0] if is_pooled(recipe) else None
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


def _announce(work: Work, trainer: Trainer) -> None:
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


def _finish(work: Work, trainer: Trainer, done: Progress) -> None:
    """Writes release/ and train.json; the checkpoints have served."""
    run, objective, strengths = work.run, trainer.objective, {}
    if done.best_step == 0:
        run.say(_("training never lowered the validation loss: what is released is untrained"))
    if is_pooled(work.recipe):
        strengths = fitted_heads(work)[1]
    head = objective.head() if isinstance(objective, PooledObjective) else None
    weighed = weigh(work, trainer.model, head)
    settings, choice = release(work, trainer.model, head, weighed.logits)
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
        "hardware": hardware(),
        "spent": run.meter.spent().as_json() if run.meter is not None else None,
        "trained_parameters": trainer.trained_parameters,
        "all_parameters": _all_parameters(work, trainer),
        "held_memory": trainer.held.against_full(trainer.trained_parameters, trainer.base_parameters),
        "adapter_weight": weighed.weight,
        "validation_accuracy_by_weight": weighed.accuracies,
        "temperature": settings.temperature,
        "threshold": settings.threshold,
        "threshold_choice": choice,
        "probe_strength": strengths.get("probe"),
        "start_strength": strengths.get("start"),
        "robust": None if objective.groups is None else objective.groups.as_json(),
        "samples": read_json(run.path("samples.json")) if run.path("samples.json").exists() else [],
    }
    write_json(run.path("train.json"), lines)
    shutil.rmtree(run.path("checkpoints"), ignore_errors=True)


def _all_parameters(work: Work, trainer: Trainer) -> int:
    """Parameters of base and adapter together."""
    beside = 0 if work.recipe.adapter.kind == "full" else trainer.trained_parameters
    return trainer.base_parameters + beside


def _peak_of_metrics(run: Run) -> int:
    """The highest memory that the lines of metrics.jsonl name, in bytes."""
    lines = run.path("metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return max((int(json.loads(line)["peak_memory_bytes"]) for line in lines), default=0)


def _objectives(work: Work, start: PooledHead | None, device: str) -> tuple[Objective, Objective]:
    if start is None:
        return TokenObjective(), TokenObjective()
    objective = PooledObjective(start, work.truth("train"), device)
    settings = work.recipe.train
    if settings.robust is not None and settings.robust_by is not None:
        codes, names = group_codes(work.rows["train"], settings.robust_by)
        objective.groups = GroupWeights(settings.robust, robust_strength(settings), codes, names)
    return objective, objective.with_truth(work.truth("validation"))
