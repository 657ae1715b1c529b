"""Tables of the page that need more than a row of a file: confusion, data, settings, samples."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from afina.recipe import Recipe
from afina.reports.figures import Confusion, Evaluation
from afina.reports.masking import mask

WIDEST_MATRIX = 12
MOST_CONFUSED = 15


@dataclass(frozen=True)
class Cell:
    """A count, its share of its row, and whether it stands on the diagonal."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True)
class Pair:
    """A confusion of two labels."""

    label: str
    said: str
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """One model's confusion: the whole matrix, or its largest confusions when there are many labels."""

    model: str
    labels: list[str]
    rows: list[list[Cell]]
    pairs: list[Pair]


def matrices(evaluation: Evaluation, test_set: str) -> list[Matrix]:
    """The confusion of every model on a set, best model first."""
    by_model = {found.model: found for found in evaluation.confusion if found.set == test_set}
    order = [model for model in evaluation.models(test_set) if model in by_model]
    order += [model for model in by_model if model not in order]
    return [_matrix(by_model[model], evaluation.labels) for model in order]


def _matrix(found: Confusion, labels: list[str]) -> Matrix:
    rows = [
        [Cell(count, count / max(1, sum(line)), row == column) for column, count in enumerate(line)]
        for row, line in enumerate(found.counts)
    ]
    if len(labels) <= WIDEST_MATRIX:
        return Matrix(found.model, labels, rows, [])
    pairs = [
        Pair(labels[row], labels[column], cell.count, cell.share)
        for row, line in enumerate(rows)
        for column, cell in enumerate(line)
        if not cell.right and cell.count
    ]
    pairs.sort(key=lambda pair: -pair.count)
    return Matrix(found.model, labels, [], pairs[:MOST_CONFUSED])


def split_facts(audit: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The facts of every split and further test set, by name."""
    return {**(audit.get("splits") or {}), **(audit.get("test_sets") or {})}


def label_names(audit: dict[str, Any]) -> list[str]:
    """The labels, in the order of the recipe."""
    named = list(audit.get("labels") or [])
    found = {label for facts in split_facts(audit).values() for label in facts.get("labels") or {}}
    return named + sorted(found - set(named))


def samples_by_prompt(
    samples: list[dict[str, Any]], language: str, reveal: bool
) -> list[tuple[str, list[tuple[int, str]]]]:
    """The sampled answers of each prompt, by step; masked unless asked."""
    found: dict[str, list[tuple[int, str]]] = {}
    for sample in samples:
        answers = found.setdefault(str(sample.get("prompt") or ""), [])
        answers.append((int(sample.get("step") or 0), str(sample.get("answer") or "")))
    if reveal:
        return list(found.items())
    return [
        (mask(prompt, language), [(step, mask(answer, language)) for step, answer in answers])
        for prompt, answers in found.items()
    ]


def settings(recipe: Recipe, resolved: dict[str, Any]) -> dict[str, list[tuple[str, str, str | None]]]:
    """The recipe by section: (name, what was given, what it became on the machine of the run)."""
    sections: dict[str, list[tuple[str, str, str | None]]] = {}
    for key, value in _flat(recipe.model_dump(mode="json")):
        section, _dot, name = key.partition(".")
        became = resolved.get(key)
        changed = None if became is None or became == value else _shown(became)
        sections.setdefault(section if name else "", []).append(
            (name or section, _shown(value), changed)
        )
    return sections


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            found += _flat(inner, f"{prefix}{key}.")
        elif isinstance(inner, list) and inner and all(isinstance(item, dict) for item in inner):
            for number, item in enumerate(inner, start=1):
                text = {name: part for name, part in item.items() if part is not None}
                found.append(
                    (f"{prefix}{key}.{number}" if prefix == "" else f"{prefix}{key} {number}", text)
                )
        else:
            found.append((prefix + key, inner))
    return found


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or "[]"
    return value if isinstance(value, str) else json.dumps(value)


def versions() -> list[tuple[str, str]]:
    """Versions of what matters, where this report is written."""
    found = []
    for name in ("afina", "torch", "transformers", "peft"):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "–"))
    return [*found, ("Python", platform.python_version()), ("OS", platform.system())]


def threads() -> int:
    """Processor threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
