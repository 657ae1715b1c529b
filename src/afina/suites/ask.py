"""Asks one model one task, and keeps what it answered to each row in `suites/TASK/MODEL.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.models.tokenizer import Tokens
from afina.recipe_suites import Suites
from afina.suites.quiet import quiet
from afina.suites.scores import by_group, same_by_group
from afina.suites.tasks import SuiteTask, task_manager

SCHEMA = "afina/suite-answers/1"


@dataclass(frozen=True)
class Asked:
    """What a model answered to a task's rows.

    Attributes:
        rows: their numbers in the task. groups: codes of what belongs together, or None.
        kinds: the kind of each metric; empty for one that is no function of its rows known here.
        answers: one or two numbers a row, by metric; [rows, 1 or 2].
        reported: the harness' own value of each metric. lower: the metrics of which less is better.
        cut: how many contexts lost their beginning.
    """

    rows: list[int]
    groups: list[int] | None
    kinds: dict[str, str]
    answers: dict[str, list[list[float]]]
    reported: dict[str, float]
    lower: list[str]
    cut: int


def ask(
    task: SuiteTask,
    rows: list[int],
    model: Any,
    tokens: Tokens,
    settings: Suites,
    seed: int,
    check: Callable[[], None],
) -> Asked:
    """Asks the rows of a task, through the harness: its prompts, its examples, its metrics."""
    from lm_eval import simple_evaluate

    from afina.suites.harness_model import HarnessModel  # needs lm_eval itself

    asker = HarnessModel(model, tokens, check)
    name = task.task.task_name
    with quiet():
        found = simple_evaluate(
            model=asker,
            tasks=[task.task],
            task_manager=task_manager(),
            num_fewshot=settings.shots,
            samples={name: rows},
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=settings.chat_template,
            fewshot_as_multiturn=settings.chat_template,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    first = samples[0]["filter"]
    samples = [sample for sample in samples if sample["filter"] == first]
    reported = {
        metric.split(",")[0]: float(value)
        for metric, value in found["results"][name].items()
        if metric.endswith(f",{first}") and "_stderr" not in metric and _is_number(value)
    }
    kinds = task.metrics or {metric: _kind(task.task, metric) for metric in reported}
    better = task.task.higher_is_better()
    return Asked(
        rows=[int(sample["doc_id"]) for sample in samples],
        groups=_codes([task.group(sample["doc"]) for sample in samples]) if task.group else None,
        kinds=kinds,
        answers={
            metric: _as_numbers(metric, [sample[metric] for sample in samples])
            for metric, kind in kinds.items()
            if kind
        },
        reported=reported,
        lower=[metric for metric in kinds if better.get(metric) is False],
        cut=asker.cut,
    )


def _kind(task: Any, metric: str) -> str:
    """The kind of a metric of the harness, by how it aggregates rows; empty when it is not known."""
    from lm_eval.api import metrics

    known = {metrics.mean: "mean", metrics.matthews_corrcoef: "matthews", metrics.f1_score: "f1"}
    return known.get(task.aggregation().get(metric), "")


def _as_numbers(metric: str, items: list[Any]) -> list[list[float]]:
    """Answers to rows as lists of numbers; shares of whole groups are made of their rows here."""
    if metric in ("em", "parity") and isinstance(items[0], tuple | list):
        make: Any = by_group if metric == "em" else same_by_group
        items = make([item[0] for item in items], [item[1] for item in items])
    return [
        [float(part) for part in item] if isinstance(item, tuple | list) else [float(item)]
        for item in items
    ]


def _codes(keys: list[Any]) -> list[int]:
    places: dict[Any, int] = {}
    return [places.setdefault(key, len(places)) for key in keys]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
