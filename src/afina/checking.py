"""`afina recipe check`: what a recipe would do, found out without training anything."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from afina.data.batches import epoch_order
from afina.data.chat import Encoded, encode_row
from afina.data.prepare import prepare
from afina.data.table import read_rows
from afina.errors import AfinaError
from afina.evaluation.others import require_bits, require_same_task
from afina.evaluation.prompt_asking import require_room
from afina.language import _
from afina.models.base import FoundBase, find_base
from afina.models.memory import GIB, MemoryEstimate, estimate_memory, free_bytes, parameter_count
from afina.models.precision import choose_precision, matmul_gflops
from afina.models.tokenizer import Tokens, load_tokens
from afina.recipe import Recipe
from afina.recipe_file import dump_recipe
from afina.runs.files import read_json
from afina.runs.folder import find_run
from afina.runs.prices import price_of
from afina.training.resources import choose_memory

# Share of the measured matmul rate that whole training steps reach on a CPU: attention, dropout and
# norms take the rest. Assumed from one machine with other work beside it: rough, as the time shown is;
# `afina recipe estimate` measures.
EFFICIENCY = {"fp32": 0.7, "bf16": 0.5}


@dataclass(frozen=True)
class RecipeCheck:
    """What would happen.

    Attributes:
        settings: the recipe as YAML, every default and every `auto` resolved.
        base: id and SHA-256 of the base model.
        audit: the value that data/audit.json would have.
        trained_share: of the tokens of the training split; None for a pooled head, which trains on rows.
        example: one training row as the model reads it, the trained part between ⟦ and ⟧.
        rows_per_step, steps: of the optimizer.
        memory: peak, in bytes, by what holds it; free_bytes: what there is now.
        seconds: of training alone, a rough estimate from this machine's measured matmul rate; None on
            a GPU, which is not measured here.
    """

    settings: str
    base: dict[str, Any]
    audit: dict[str, Any]
    trained_share: float | None
    example: str
    rows_per_step: int
    steps: int
    memory: MemoryEstimate
    free_bytes: int
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"schema": "afina/check/1", **asdict(self), "memory_bytes": self.memory.total}

    def lines(self) -> list[str]:
        """For people."""
        lines = [self.settings, _("base: {id}").format(id=self.base["id"])]
        for source, roles in self.audit["roles"].items():
            shown = ", ".join(f"{role} ← {column}" for role, column in roles.items())
            lines.append(_("{source}: {roles}").format(source=source, roles=shown))
        lines.append(
            _(
                "rows read {read:,}; equal rows removed {equal:,}; rows with contradicting "
                "labels removed {conflict:,}"
            ).format(
                read=self.audit["rows_read"],
                equal=self.audit["equal_rows_removed"],
                conflict=self.audit["conflicting_rows_removed"],
            )
        )
        for name, part in {**self.audit["splits"], **self.audit["test_sets"]}.items():
            lines.append(_part_line(name, part))
        if self.trained_share is None:
            lines.append(_("the loss is taken on one label a row (pooled head)"))
        else:
            lines.append(
                _("trained tokens: {share:.1%} of the training tokens").format(share=self.trained_share)
            )
        lines.append(_("one training row as the model reads it, the trained part between ⟦ and ⟧:"))
        lines += ["    " + line for line in self.example.splitlines()]
        lines.append(
            _("{rows} rows a step, {steps:,} steps").format(rows=self.rows_per_step, steps=self.steps)
        )
        lines.append(
            _("memory: about {total:.1f} GiB of {free:.1f} GiB free").format(
                total=self.memory.total / GIB, free=self.free_bytes / GIB
            )
        )
        if self.seconds is not None:
            lines.append(_time_line(self.seconds))
        if self.memory.total > self.free_bytes:
            lines.append(
                _(
                    "this will probably not fit: try base.bits: 4, a smaller base or "
                    "train.micro_batch_tokens"
                )
            )
        return lines


def _time_line(seconds: float) -> str:
    if seconds <= 60:
        return _("training: less than a minute on this machine")
    return _("training: roughly {minutes:.0f} minutes on this machine").format(
        minutes=math.ceil(seconds / 60)
    )


def _part_line(name: str, part: dict[str, Any]) -> str:
    line = _("{split}: {rows:,} rows, {tokens:,} tokens (median {median}, longest {longest})").format(
        split=name,
        rows=part["rows"],
        tokens=part["tokens"],
        median=part["length_tokens"]["median"],
        longest=part["length_tokens"]["max"],
    )
    if part["cut_rows"]:
        line += _("; {rows:,} rows cut, {tokens:,} tokens lost").format(
            rows=part["cut_rows"], tokens=part["lost_tokens"]
        )
    for why, count in part["dropped_rows"].items():
        line += _("; {rows:,} rows dropped ({why})").format(rows=count, why=why)
    return line


def check_recipe(recipe: Recipe, say: Callable[[str], None]) -> RecipeCheck:
    """Reads and splits the data in a temporary folder, and computes the rest. Raises AfinaError."""
    price_of(recipe.train.budget)  # a machine that no table has is told now, not in the run
    require_bits(recipe)
    base = find_base(recipe.base.model, recipe.base.revision, say)
    tokens = load_tokens(base.folder)
    precision = choose_precision(recipe.train.precision)
    free = free_bytes()
    bits, checkpointed = choose_memory(recipe, base, precision, free)
    with tempfile.TemporaryDirectory() as folder:
        audit = prepare(recipe, tokens, Path(folder), say)
        rows = read_rows(Path(folder) / "train.parquet")
    require_room(recipe, audit["labels"], tokens)
    _look_at_compared(recipe, audit["labels"], say)
    encoded: list[Encoded] = []
    weights: list[float] = []
    for row in rows:
        pieces = encode_row(tokens, recipe, audit["labels"], row)
        encoded += pieces
        weights += [row.weight] * len(pieces)
    lengths = [len(item.ids) for item in encoded]
    in_epoch = len(epoch_order(lengths, weights, recipe.train.batch_rows, recipe.seed, 0))
    steps = max(1, round(in_epoch * recipe.train.epochs))
    read = float(sum(length * weight for length, weight in zip(lengths, weights, strict=True)))
    pooled = recipe.task.kind == "classify" and recipe.task.head == "pooled"
    trained = None if pooled else sum(sum(item.trained) for item in encoded) / max(1, sum(lengths))
    return RecipeCheck(
        settings=dump_recipe(_resolved(recipe, precision, bits, checkpointed, audit["labels"])),
        base={"id": base.id, "revision": base.revision, "sha256": base.sha256},
        audit=audit,
        trained_share=trained,
        example=_example(tokens, encoded[0], None if not pooled else str(rows[0].label)),
        rows_per_step=recipe.train.batch_rows,
        steps=steps,
        memory=estimate_memory(base.folder, recipe, precision, bits, checkpointed),
        free_bytes=free,
        seconds=_seconds(base, precision, read * recipe.train.epochs, recipe.adapter.kind == "full"),
    )


def _look_at_compared(recipe: Recipe, labels: list[str], say: Callable[[str], None]) -> None:
    """Refuses a run that cannot be compared; one that is not in `runs` is looked for when it counts."""
    for entry in recipe.evaluate.compare:
        try:
            other = find_run(entry, "runs")
        except AfinaError:
            say(
                _(
                    "evaluate.compare: there is no run {entry} in runs/; it must be there in training"
                ).format(entry=entry)
            )
            continue
        require_same_task(recipe, labels, other, entry)


def _resolved(
    recipe: Recipe, precision: str, bits: int, checkpointed: bool, labels: list[str]
) -> Recipe:
    value = recipe.model_dump()
    value["train"].update(precision=precision, checkpoint_activations=checkpointed)
    value["base"]["bits"] = bits
    if recipe.task.kind == "classify":
        value["task"]["labels"] = list(labels)
        value["task"]["positive"] = recipe.task.positive or (labels[-1] if len(labels) == 2 else None)
    return Recipe.model_validate(value)


def _example(tokens: Tokens, encoded: Encoded, label: str | None) -> str:
    """A row's text with the trained part marked; long ones with their middle left out."""
    parts: list[str] = []
    start = 0
    for position in range(1, len(encoded.ids) + 1):
        if position == len(encoded.ids) or encoded.trained[position] != encoded.trained[start]:
            text = tokens.tokenizer.decode(encoded.ids[start:position])
            text = text if len(text) <= 600 else f"{text[:300]} […] {text[-300:]}"
            parts.append(f"⟦{text}⟧" if encoded.trained[start] else text)
            start = position
    shown = "".join(parts)
    return shown if label is None else f"{shown}\n→ ⟦{label}⟧"


def _seconds(base: FoundBase, precision: str, tokens: float, full: bool) -> float | None:
    """Time of training on a CPU: 4 FLOPs a parameter and token (forward, and the gradient through the
    frozen base; 6 with the gradient of all weights), at the share of the measured matmul rate that
    training reaches."""
    import torch

    if torch.cuda.is_available():
        return None
    layers, _embeddings = parameter_count(read_json(base.folder / "config.json"))
    rate = matmul_gflops(precision) * 1e9 * EFFICIENCY[precision]
    return (6 if full else 4) * layers * tokens / rate
