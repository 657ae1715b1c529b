"""A short rehearsal of the train stage: its real parts on a few of its real batches, timed.

Every part is the one that training itself calls; nothing is fitted to a machine or to this version's
speed. A part that is done once is done once; one that is done many times is done on a few batches of
different row lengths, and its time for each padded token is carried over to all batches of the plan, by
length in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from afina.data.batches import group_by_length
from afina.inference.pooled import PooledHead, features_of
from afina.models.base import FoundBase
from afina.models.load import checkpoint_activations, load_model
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.runs.folder import Run
from afina.training import tune
from afina.training.adapter_weight import WEIGHTS as SHARES
from afina.training.checkpoint import save_weights
from afina.training.heads import PROBE
from afina.training.loop import Trainer, TrainingRows, peak_memory
from afina.training.objective import PooledObjective
from afina.training.probe import STRENGTHS, fit_head, fit_probe
from afina.training.release import chooses_weight, release, validation_logits
from afina.training.sampler import Sampler
from afina.training.trainable import make_trainable
from afina.training.work import is_pooled, prepare

FEWEST, MOST = 3, 12  # batches that are timed for one part
MOST_FITTED = 2000  # rows that the probe is fitted to here; its time grows with the rows


@dataclass(frozen=True)
class TrainForecast:
    """What training will take.

    Attributes:
        seconds: by part, in the order in which they come.
        steps: of the optimizer, without early stopping; shortest: steps before early stopping can come.
        memory_bytes: highest memory of this process, which did what training does.
        tokens: padded tokens of all steps; timed_steps: how many were timed.
        precision, bits, checkpointed: what each auto became.
    """

    seconds: dict[str, float]
    steps: int
    shortest: int
    memory_bytes: int
    tokens: int
    timed_steps: int
    precision: str
    bits: int
    checkpointed: bool


@dataclass(frozen=True)
class Batch:
    """One batch of a plan: its rows, their padded tokens, and the padded tokens a row."""

    rows: list[int]
    tokens: int

    @property
    def length(self) -> float:
        """Padded tokens a row."""
        return self.tokens / len(self.rows)


def batches_of(lengths: Sequence[int], rows: Sequence[int], token_budget: int) -> list[Batch]:
    """The batches that are made of these rows."""
    groups = group_by_length(lengths, rows, token_budget)
    return [Batch(group, len(group) * max(lengths[row] for row in group)) for group in groups]


def carried_over(plan: Sequence[Batch], timed: Sequence[tuple[Batch, float]]) -> float:
    """Seconds of a whole plan, from a few of its batches.

    Seconds a padded token are taken as a function of the row length, linear between those timed.
    """
    if not plan or not timed:
        return 0.0
    by_length: dict[float, list[float]] = {}
    for batch, seconds in timed:
        by_length.setdefault(batch.length, []).append(seconds / batch.tokens)
    at = sorted(by_length)
    rates = [float(np.median(by_length[length])) for length in at]
    wanted = np.interp([batch.length for batch in plan], at, rates)
    return float(np.dot(wanted, [batch.tokens for batch in plan]))


def spread(plan: Sequence[Batch], count: int) -> list[Batch]:
    """Some batches of a plan from short to long: the longest, the middle by work, then between them."""
    ordered = sorted(plan, key=lambda batch: batch.length)
    work = np.cumsum([batch.tokens for batch in ordered]) / sum(batch.tokens for batch in ordered)
    shares = [1.0, 0.5, 0.05, 0.8, 0.25, 0.9, 0.65, 0.35, 0.15, 0.95, 0.72, 0.42][:count]
    chosen = [min(int(np.searchsorted(work, share)), len(ordered) - 1) for share in shares]
    return [ordered[index] for index in dict.fromkeys(chosen)]


def timed(
    plan: Sequence[Batch],
    work: Callable[[Batch], object],
    limit: float,
    part: Callable[[Batch], Batch] = lambda batch: batch,
) -> list[tuple[Batch, float]]:
    """Does a few batches of a plan, FEWEST or as many as fit in `limit` seconds, after one untimed.

    Args:
        part: the piece of a batch that is done for it.
    """
    if not plan:
        return []
    chosen = [part(batch) for batch in spread(plan, MOST)]
    work(chosen[len(chosen) // 2])
    found: list[tuple[Batch, float]] = []
    began = time.perf_counter()
    for batch in chosen:
        found.append((batch, took(lambda batch=batch: work(batch))))  # type: ignore[misc]
        spent = time.perf_counter() - began
        if len(found) >= FEWEST and spent * (len(found) + 1) / len(found) > limit:
            break
    return found


def took(work: Callable[[], object]) -> float:
    """Seconds of a piece of work, the GPU's queue included."""
    import torch

    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def rehearse(run: Run, recipe: Recipe, base: FoundBase, tokens: Tokens, limit: float) -> TrainForecast:
    """Times the parts of the train stage in a run that is thrown away; writes its untrained release/.

    Args:
        run: a scratch run whose data stage is done.
        limit: seconds for the optimizer steps; the other parts take about as much together.
    """
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    work = prepare(run, recipe, base, tokens)
    model = load_model(base.folder, work.precision, work.bits)
    seconds["loading"] = time.perf_counter() - began
    start = None
    if is_pooled(recipe):
        start, seconds["probe"] = _probe(work, model, limit / 4)
    began = time.perf_counter()
    tuned = make_trainable(model, recipe, base.id, tokens.pad)
    if work.checkpointed:
        checkpoint_activations(tuned)
    objective, checking = tune._objectives(work, start, str(tuned.device))
    trainer = Trainer(
        run,
        recipe,
        tuned,
        tokens.pad,
        work.encoded["train"],
        work.encoded["validation"],
        objective,
        checking,
    )
    seconds["loading"] += time.perf_counter() - began
    steps = trainer.plan()
    plan, lengths = _planned(steps, trainer, recipe)
    found = timed(plan, lambda batch: trainer.rehearse(batch.rows), limit, _piece(lengths, recipe))
    seconds["steps"] = carried_over(plan, found)
    validations = trainer.validations()
    once = _validation(work, trainer, limit / 4)
    seconds["validation"] = once * len(validations)
    saves = len({0, *validations, *range(0, trainer.total, recipe.train.checkpoint_steps)})
    trainer.progress.best_loss = 0.0  # none yet, which no checkpoint can hold
    saving = min(took(trainer._save) for _time in range(2))
    best = took(lambda: save_weights(run.path("checkpoints/best"), trainer.weights))
    seconds["checkpoints"] = saving * saves + best * len(validations)
    if recipe.task.kind != "classify" and recipe.train.samples:
        sampler = Sampler(run, tokens, work.rows["validation"][: recipe.train.samples])
        seconds["samples"] = took(lambda: sampler(tuned, 0)) * len(validations)
    memory = peak_memory()
    head = objective.head() if isinstance(objective, PooledObjective) else None
    seconds["release"] = _release(work, tuned, head)
    patience = recipe.train.patience
    shortest = validations[min(patience, len(validations) - 1)] if patience else trainer.total
    return TrainForecast(
        seconds=seconds,
        steps=trainer.total,
        shortest=shortest,
        memory_bytes=memory,
        tokens=sum(batch.tokens for batch in plan),
        timed_steps=len(found),
        precision=work.precision,
        bits=work.bits,
        checkpointed=work.checkpointed,
    )


def _planned(
    steps: list[list[int]], trainer: Trainer, recipe: Recipe
) -> tuple[list[Batch], Sequence[int]]:
    """Each step with the padded tokens of its micro-batches."""
    lengths = [len(item.ids) for item in trainer.train.encoded]
    budget = recipe.train.micro_batch_tokens
    plan = [Batch(rows, sum(b.tokens for b in batches_of(lengths, rows, budget))) for rows in steps]
    return plan, lengths


def _piece(lengths: Sequence[int], recipe: Recipe) -> Callable[[Batch], Batch]:
    """The longest micro-batches of a step, up to two: whole where a step is short, a part where not."""

    def part(step: Batch) -> Batch:
        groups = batches_of(lengths, step.rows, recipe.train.micro_batch_tokens)
        if len(groups) <= 2:
            return step
        middle = len(groups) // 2
        pair = (
            [groups[middle], groups[-1]] if len(groups[-1].rows) > 1 else groups[middle - 1 : middle + 1]
        )
        return Batch([row for one in pair for row in one.rows], sum(one.tokens for one in pair))

    return part


def _probe(work: Any, model: Any, limit: float) -> tuple[PooledHead, float]:
    """Reading all rows with the frozen base and fitting the head; a head to go on with, and seconds."""
    budget = 2 * work.recipe.train.micro_batch_tokens
    total, features, truth = 0.0, [], []
    for split in ("train", "validation"):
        encoded, known = work.encoded[split].encoded, work.truth(split)
        plan = batches_of([len(item.ids) for item in encoded], range(len(encoded)), budget)

        def read(batch: Batch, encoded: Any = encoded, known: Any = known) -> None:
            chosen = [encoded[row] for row in batch.rows]
            features.append(features_of(model, chosen, work.tokens.pad, budget))
            truth.append(known[batch.rows])

        if split == "train" or not total:
            rates = timed(plan, read, limit)
        total += carried_over(plan, rates)
    labels = len(work.labels)
    found, codes = np.concatenate(features), np.concatenate(truth)
    # Rows as many as there will be, like those read: the time of fitting depends on their number.
    rows = len(work.encoded["train"].encoded)
    fitted = min(rows, MOST_FITTED)
    random = np.random.default_rng(work.recipe.seed)
    like = random.integers(0, len(found), fitted)
    noise = random.normal(0, 0.3, (fitted, found.shape[1])).astype(np.float32)
    many = found[like] + found.std(axis=0) * noise
    codes = codes[like]
    codes[:labels] = np.arange(labels)  # each label is there
    fitting = took(lambda: fit_probe(many, codes, labels, many[:50], codes[:50], work.recipe.seed))
    head = fit_head(many, codes, labels, STRENGTHS[2], work.recipe.seed)
    head.save(work.run.path(PROBE))
    return head, total + fitting * min(rows, 50_000) / fitted


def _validation(work: Any, trainer: Trainer, limit: float) -> float:
    """Seconds of one validation."""
    lengths = [len(item.ids) for item in trainer.validation.encoded]
    budget = 2 * work.recipe.train.micro_batch_tokens
    plan = batches_of(lengths, range(len(lengths)), budget)
    return carried_over(plan, timed(plan, lambda batch: trainer.rehearse_validation(batch.rows), limit))


def _release(work: Any, tuned: Any, head: PooledHead | None) -> float:
    """Writing release/: all of it on a few validation rows, then as many as there are."""
    encoded = work.encoded["validation"].encoded
    by_length = sorted(range(len(encoded)), key=lambda row: len(encoded[row].ids))
    rows = len(work.rows["validation"])
    if rows != len(encoded) or rows <= 24:
        return took(lambda: release(work, tuned, head))
    chosen = [by_length[int(place)] for place in np.linspace(0, rows - 1, 24)]
    few = replace(
        work,
        rows={**work.rows, "validation": [work.rows["validation"][row] for row in chosen]},
        encoded={
            **work.encoded,
            "validation": TrainingRows(
                [encoded[row] for row in chosen],
                [work.encoded["validation"].ids[row] for row in chosen],
                [1.0] * len(chosen),
            ),
        },
    )
    if work.recipe.task.kind != "classify":
        return took(lambda: release(few, tuned, head))
    reading = took(lambda: validation_logits(few, tuned, head))
    writing = took(lambda: release(few, tuned, head, np.zeros((len(chosen), len(work.labels)))))
    share = sum(len(item.ids) for item in encoded) / sum(len(encoded[row].ids) for row in chosen)
    return writing + reading * share * (len(SHARES) if chooses_weight(work) else 1)
