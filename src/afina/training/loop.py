"""The training loop: steps, validations, checkpoints, early stopping. Reads from top to bottom."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from afina.data.batches import epoch_order, group_by_length, make_batch
from afina.data.chat import Encoded
from afina.errors import AfinaError
from afina.language import _
from afina.models.full import follow, trained_weights
from afina.recipe import Recipe
from afina.runs.files import read_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.runs.spending import over_budget
from afina.training.checkpoint import (
    drop_older,
    load_weights,
    newest_checkpoint,
    put_random_state,
    random_state,
)
from afina.training.distributed.ranks import Alone
from afina.training.held_memory import HeldMemory
from afina.training.objective import Objective
from afina.training.optimizer import make_optimizer
from afina.training.schedule import learning_rate_at


@dataclass(frozen=True)
class TrainingRows:
    """Encoded rows of one split with their ids (for messages) and weights."""

    encoded: Sequence[Encoded]
    ids: list[str]
    weights: list[float]


@dataclass
class Progress:
    """Where training is; all of it is kept in a checkpoint."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    worse: int = 0
    tokens: int = 0
    seconds: float = 0.0
    ended: bool = False
    validated: int = -1
    groups: dict[str, list[float | None]] = field(default_factory=dict)


class Trainer:
    """Trains the adapter (or all weights), and the head if there is one, of one run."""

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        model: Any,
        pad: int,
        train: TrainingRows,
        validation: TrainingRows,
        objective: Objective,
        validation_objective: Objective,
        sample: Any = None,
        ranks: Alone | None = None,
    ) -> None:

        self.ranks = ranks or Alone()
        model = self.ranks.place(model)
        self.run, self.recipe, self.model, self.pad = run, recipe, model, pad
        self.train, self.validation = train, validation
        self.objective, self.validation_objective = objective, validation_objective
        self.sample = sample
        self.progress = Progress()
        self._stop: StopSignal | None = None
        self._random: dict[str, Any] = {}
        self._lengths = [len(item.ids) for item in train.encoded]
        self._known_order: tuple[int, list[list[int]]] | None = None
        first = self._order(0)
        if not first:
            raise AfinaError(
                _("the weights of the sources leave no row for the first epoch"),
                fix=_("raise the weights in data.train, or give more rows"),
            )
        self.steps_per_epoch = len(first)
        self.total = max(1, round(self.steps_per_epoch * recipe.train.epochs))
        self.weights = trained_weights(model)
        # Clipped apart: the head's gradient is the larger one and would shrink the adapter's.
        self._adapter, self._head = list(self.weights.values()), list(objective.parameters().values())
        self.weights |= objective.parameters()
        self.trained_parameters = sum(tensor.numel() for tensor in self.weights.values())
        optimizer, self._names = make_optimizer(self.weights, set(objective.parameters()), recipe)
        self.optimizer = self.ranks.optimizer(model, optimizer, self._head)
        optimizer.register_step_post_hook(lambda *_given: follow(model))
        self.held = HeldMemory(optimizer)
        self.base_parameters = 0  # told by whoever loaded the base

    def fit(self) -> Progress:
        """Trains to the end, or from the newest checkpoint on; leaves the best weights in the model.

        One of several processes leaves them in the checkpoints, see `take_result`.

        Raises:
            Interrupted, Stopped: after a signal, a notice or the end of the budget, with a checkpoint.
            AfinaError: when the loss is not finite; names the rows.
        """
        import torch

        newest = self.ranks.newest(self.run.path("checkpoints"))
        if newest is not None:
            self._take_progress(self.ranks.load(newest, self.weights, self.optimizer, self._names))
            follow(self.model)
            self._forget_lines_after(self.progress.step)
            self.run.say(
                _("going on after step {step} of {total}").format(
                    step=self.progress.step, total=self.total
                )
            )
        else:
            torch.manual_seed(self.recipe.seed + self.ranks.rank)
            self._forget_lines_after(-1)
        with StopSignal(over_budget(self.run)) as stop:
            # Several processes stop between steps, where all of them are at the same place.
            self._stop = stop if self.ranks.world == 1 else None
            if self._is_validation_due():  # the first one, or one that a stop cut short
                self._validate(stop)
                self._save()
            self.model.train()
            while not self._ended():
                self._step(stop)
                if self.ranks.world > 1:
                    self.ranks.agree(stop)
                    stop.check(self._save)
            self._stop = None
        return self._take_best() if self.ranks.world == 1 else self.progress

    def take_result(self) -> Progress:
        """What other processes have trained to the end: the best weights, from the checkpoints."""
        newest = newest_checkpoint(self.run.path("checkpoints"))
        assert newest is not None
        self._take_progress(read_json(newest / "state.json"))
        return self._take_best()

    def _take_progress(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**{n: state[n] for n in vars(self.progress) if n in state})
        if self.objective.groups is not None:
            self.objective.groups.put(self.progress.groups)

    def _take_best(self) -> Progress:
        best = self.run.path("checkpoints/best")
        if best.exists():
            load_weights(best, self.weights)
            follow(self.model)
        self.model.eval()
        return self.progress

    def plan(self) -> list[list[int]]:
        """The rows of every step, when nothing stops training early."""
        steps: list[list[int]] = []
        epoch = 0
        while len(steps) < self.total:
            steps, epoch = steps + self._order(epoch), epoch + 1
        return steps[: self.total]

    def validations(self) -> list[int]:
        """The steps after which there is a validation; 0 is the one before training."""
        due = max(1, self.steps_per_epoch // self.recipe.train.evaluations_per_epoch)
        return sorted({*range(0, self.total + 1, due), self.total})

    def rehearse(self, rows: list[int]) -> None:
        """One optimizer step on these rows at a learning rate of zero, for estimates."""
        self.model.train()
        self._update(rows, 0.0)

    def rehearse_validation(self, rows: list[int]) -> None:
        """What a validation does with one of its batches, for estimates."""
        with self.ranks.measuring(self.model):
            batch = make_batch(self.validation.encoded, rows, self.pad, str(self.model.device))
            float(self.validation_objective.loss(self.model, batch))

    def _is_validation_due(self) -> bool:
        now = self.progress
        due = max(1, self.steps_per_epoch // self.recipe.train.evaluations_per_epoch)
        return now.validated != now.step and (now.step % due == 0 or now.step == self.total)

    def _ended(self) -> bool:
        return self.progress.ended or self.progress.step >= self.total

    def _order(self, epoch: int) -> list[list[int]]:
        """The steps of an epoch; the last one asked for is kept, since each of its steps asks again."""
        if self._known_order is None or self._known_order[0] != epoch:
            batch_rows = self.recipe.train.batch_rows
            order = epoch_order(self._lengths, self.train.weights, batch_rows, self.recipe.seed, epoch)
            self._known_order = (epoch, order)
        return self._known_order[1]

    def _step(self, stop: StopSignal) -> None:
        """One optimizer step, and what is due after it."""
        now, settings = self.progress, self.recipe.train
        order = self._order(now.epoch)
        while now.position >= len(order):  # weights below 1 may leave an epoch without rows
            now.epoch, now.position = now.epoch + 1, 0
            order = self._order(now.epoch)
        rows = order[now.position]
        self._random = random_state()
        started = time.monotonic()
        rate = learning_rate_at(
            now.step, self.total, settings.learning_rate, settings.schedule, settings.warmup_ratio
        )
        loss, tokens = self._update(rows, rate)
        now.step, now.position, now.tokens = now.step + 1, now.position + 1, now.tokens + tokens
        seconds = time.monotonic() - started
        now.seconds += seconds
        self._write_line("train", loss, rate, tokens / seconds)
        if self._is_validation_due():
            self._validate(stop)
            self._save()
        elif now.step % settings.checkpoint_steps == 0:
            self._save()

    def _update(self, rows: list[int], rate: float) -> tuple[float, int]:
        """Gradient of the mean loss over the step's trained tokens (or rows), then AdamW.

        The sum is divided by the step's whole count, so that the number of micro-batches does not
        change the result.
        """
        units = self.objective.units(self.train.encoded, rows)
        if self.objective.groups is not None:
            self.objective.groups.begin()
        total, tokens = 0.0, 0
        groups = group_by_length(self._lengths, rows, self.recipe.train.micro_batch_tokens)
        for part in self.ranks.share(groups):
            self._may_stop()
            self.model.dropout_masks.at(self.progress.step, part.number)
            batch = make_batch(self.train.encoded, part.rows, self.pad, str(self.model.device))
            loss = self.ranks.loss(self.objective, self.model, batch) * part.weight / units
            value = float(loss.detach())
            if not math.isfinite(value):
                what = _("the loss is not finite at step {step}")
                raise not_finite(what.format(step=self.progress.step + 1), self.train, part.rows)
            self.ranks.backward(loss)
            total, tokens = total + value, tokens + part.weight * batch.tokens
        total, all_tokens = self.ranks.add_up(total, tokens)
        norms = self.ranks.step(
            self.optimizer, (self._adapter, self._head), rate, self.recipe.train.max_grad_norm
        )
        if not all(map(math.isfinite, norms)):
            what = _("the gradient is not finite at step {step}")
            raise not_finite(what.format(step=self.progress.step + 1), self.train, rows)
        if self.objective.groups is not None:
            self.objective.groups.end()
            self.progress.groups = self.objective.groups.state()
        return total, round(all_tokens)

    def _may_stop(self) -> None:
        """Between micro-batches: a stop leaves the step as if it had not begun; one can take minutes."""
        if self._stop is not None:
            self._stop.check(self._save_before_step)

    def _save_before_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        put_random_state(self._random)
        self._save()

    def _validate(self, stop: StopSignal) -> None:
        """Measures the validation loss, keeps the best weights, decides on early stopping."""
        now = self.progress
        total, budget = 0.0, 2 * self.recipe.train.micro_batch_tokens
        everything = list(range(len(self.validation.encoded)))
        lengths = [len(item.ids) for item in self.validation.encoded]
        with self.ranks.measuring(self.model):
            for part in self.ranks.share(group_by_length(lengths, everything, budget)):
                # Stopping here loses only this validation: the next start begins with it.
                self.ranks.agree(stop)
                stop.check(self._save if now.validated >= 0 else lambda: None)
                batch = make_batch(self.validation.encoded, part.rows, self.pad, str(self.model.device))
                loss = float(self.ranks.loss(self.validation_objective, self.model, batch))
                if not math.isfinite(loss):
                    what = _("the validation loss is not finite after step {step}")
                    raise not_finite(what.format(step=now.step), self.validation, batch.rows)
                total += part.weight * loss
        (total,) = self.ranks.add_up(total)
        loss = total / self.validation_objective.units(self.validation.encoded, everything)
        now.validated = now.step
        self._write_line("validation", loss, None, None)
        if loss < now.best_loss:
            now.best_loss, now.best_step, now.worse = loss, now.step, 0
            self.ranks.keep_best(self.run.path("checkpoints/best"), self.weights)
        else:
            now.worse += 1
        patience = self.recipe.train.patience
        now.ended = patience is not None and now.worse >= patience
        if now.ended:
            self.run.say(
                _("stopping early: {count} validations without a better loss").format(count=now.worse)
            )
        if self.sample is not None:
            self.sample(self.model, now.step)

    def _save(self) -> None:
        folder = self.run.path("checkpoints")
        self.ranks.save(
            folder / f"step-{self.progress.step}",
            self.weights,
            self.optimizer,
            self._names,
            vars(self.progress),
        )
        if self.ranks.first:
            drop_older(folder)
            self.run.publish()

    def _write_line(self, split: str, loss: float, rate: float | None, speed: float | None) -> None:
        """One line of metrics.jsonl, and the progress line."""
        if not self.ranks.first:
            return
        now = self.progress
        line = {
            "step": now.step,
            "epoch": round(now.step / self.steps_per_epoch, 4),
            "split": split,
            "loss": loss,
            "perplexity": math.exp(min(loss, 700)) if self.objective.has_perplexity else None,
            "learning_rate": rate,
            "tokens_per_second": None if speed is None else round(speed, 1),
            "peak_memory_bytes": peak_memory(),
        }
        with self.run.path("metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = _("step {step}/{total} loss {loss:.3f}").format(
            step=now.step, total=self.total, loss=loss
        )
        if self.objective.has_perplexity:
            shown += _(" perplexity {value:.2f}").format(value=line["perplexity"])
        if split == "validation":
            self.run.say(_("  validation: {line}").format(line=shown))
        elif now.step:
            left = now.seconds / now.step * (self.total - now.step)
            shown += _(" · {speed:.0f} tokens/s · {minutes:.0f} min left").format(
                speed=now.tokens / max(now.seconds, 1e-9), minutes=math.ceil(left / 60)
            )
            self.run.progress(shown)

    def _forget_lines_after(self, step: int) -> None:
        """Takes back the lines of metrics.jsonl after the checkpoint that training goes on from."""
        path = self.run.path("metrics.jsonl")
        if not self.ranks.first:
            return
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def not_finite(what: str, rows: TrainingRows, numbers: list[int]) -> AfinaError:
    """The error for an overflow or a NaN: names the rows by id, each once, twenty at most."""
    ids = list(dict.fromkeys(rows.ids[row] for row in numbers))
    return AfinaError(
        what,
        where=_("rows {ids}").format(ids=", ".join(ids[:20]) + (", …" if len(ids) > 20 else "")),
        fix=_("lower train.learning_rate, set train.precision: fp32, or look at these rows"),
    )


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError):
        return math.inf


def peak_memory() -> int:
    """Highest memory of this process so far, in bytes; of the GPU where there is one."""
    import resource
    import sys

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
