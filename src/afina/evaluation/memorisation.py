"""Whether the model writes training rows from memory: greedy extraction, beside base and unseen rows.

Carlini et al. 2021, "Extracting Training Data from Large Language Models", and 2023, "Quantifying
Memorization Across Neural Language Models". Much text can be gone on with rightly without having been
seen (forms, greetings, signatures), so a row counts for nothing by itself: what is memorised is how much
more training rows are extracted than unseen ones, and more by the tuned model than by its base.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from afina.data.chat import Encoded
from afina.evaluation.answers import Answers, TestRows, read_column, set_of, write_table
from afina.evaluation.membership import membership_lines
from afina.evaluation.passages import GIVEN, WANTED, Passage, matches, passage_of
from afina.evaluation.score import number
from afina.evaluation.seen import train_and_unseen
from afina.inference.continuation import continue_greedily
from afina.inference.states import row_losses
from afina.language import _
from afina.metrics.statistics import Interval, bootstrap, group_count, one_group, wilson
from afina.metrics.two_samples import Sample, newcombe, two_sample_bootstrap

Array = np.ndarray[Any, np.dtype[Any]]
MODELS = ("base", "tuned")
FEWEST_ROWS = 2


@dataclass(frozen=True)
class Told:
    """What one model wrote about one set.

    Attributes:
        extracted: whether each row was written whole; [rows]. matching: share of its tokens; [rows].
        runs: longest common runs, in tokens; [rows]. losses: of a passage's tokens in the mean, of a
            classifier's texts; [rows].
    """

    extracted: Array
    matching: Array
    runs: Array
    losses: Array


def memorisation(answers: Answers, most: int) -> dict[str, Any]:
    """Asks base and tuned model to go on with training rows and with unseen ones.

    Args:
        most: rows of each kind.
    Returns:
        The part of evaluation.json about it; without any row.
    """
    compared = train_and_unseen(answers, most)
    sets, left_out = {}, {}
    for name, chosen in (("train", compared.train), ("unseen", compared.unseen)):
        passages = [passage_of(answers.engine.tokens, answers.recipe, row) for row in chosen.rows]
        kept = [number for number, passage in enumerate(passages) if passage is not None]
        left_out[name] = len(passages) - len(kept)
        part = set_of(
            answers.recipe, answers.labels, chosen.name, [chosen.rows[number] for number in kept]
        )
        sets[name] = part, [passage for passage in passages if passage is not None]
    found: dict[str, Any] = {
        "given_tokens": GIVEN if answers.recipe.task.kind != "generate" else None,
        "wanted_tokens": WANTED,
        "too_short": left_out,
        "extraction": [],
        "differences": [],
        "membership": [],
        "learned_by_heart": None,
    }
    if min(len(part.rows) for part, _passages in sets.values()) < FEWEST_ROWS:
        return found
    found_of = {
        model: {name: told(answers, model, *sets[name]) for name in ("train", "unseen")}
        for model in MODELS
    }
    tests = sets["train"][0], sets["unseen"][0]
    seed = answers.recipe.seed
    for model in MODELS:
        for name, (test, _passages) in sets.items():
            found["extraction"].append(_extraction(model, name, found_of[model][name], test, seed))
    for metric in ("extracted", "matching"):
        values = {
            model: tuple(getattr(found_of[model][name], metric).astype(float) for name in sets)
            for model in MODELS
        }
        found["differences"] += _differences(metric, values, tests, seed)
        answers.stop.check()
    if answers.recipe.task.kind == "classify":
        losses = {
            model: (found_of[model]["train"].losses, found_of[model]["unseen"].losses)
            for model in MODELS
        }
        found["membership"] = membership_lines("text", losses, (tests[0].groups, tests[1].groups), seed)
    found["learned_by_heart"] = _is_learned(found["differences"])
    return found


def told(answers: Answers, model: str, test: TestRows, passages: list[Passage]) -> Told:
    """What a model wrote, from its file where that is there."""
    path = answers.run.path(f"predictions/{test.name}/{model}.continued.parquet")
    if not path.exists():
        answers.run.say(
            _("{model} goes on with {count} rows: {set}").format(
                model=model, count=len(passages), set=test.name
            )
        )
        engine = answers.engine
        budget = 2 * answers.recipe.train.micro_batch_tokens
        with engine.base_only() if model == "base" else nullcontext():
            written = continue_greedily(
                engine.model,
                [passage.given for passage in passages],
                [len(passage.wanted) for passage in passages],
                engine.tokens.pad,
                budget,
                answers.stop.check,
            )
            losses = [0.0] * len(passages)
            if answers.recipe.task.kind == "classify":  # those of others are known from the gap's rows
                pieces = [_whole(passage) for passage in passages]
                pad, check = engine.tokens.pad, answers.stop.check
                sums, counts = row_losses(engine.model, pieces, pad, budget, check)
                losses = [total / count for total, count in zip(sums, counts, strict=True)]
        columns: dict[str, list[Any]] = {
            "id": [row.id for row in test.rows],
            "written": written,
            "loss": losses,
        }
        write_table(path, columns)
    written = read_column(path, "written")
    seen = [matches(ids, passage.wanted) for ids, passage in zip(written, passages, strict=True)]
    return Told(
        np.array([exact for exact, _share, _run in seen]),
        np.array([share for _exact, share, _run in seen]),
        np.array([run for _exact, _share, run in seen]),
        np.array(read_column(path, "loss")),
    )


def _whole(passage: Passage) -> Encoded:
    """A passage whose every token but the first is predicted."""
    ids = passage.given + passage.wanted
    return Encoded(ids, [False] + [True] * (len(ids) - 1))


def _extraction(model: str, name: str, one: Told, test: TestRows, seed: int) -> dict[str, Any]:
    """A model's figures on one set. Wilson's interval of a share of single rows."""
    count, hits = len(test.rows), int(one.extracted.sum())
    extracted = by_row = wilson(hits, count)
    if test.groups is not None:
        extracted = bootstrap(
            lambda rows: float(one.extracted[rows].mean()), count, test.groups, seed, by_row
        )
        if extracted.method == "none":
            extracted = one_group(by_row) if group_count(test.groups) == 1 else by_row
    matching = bootstrap(lambda rows: float(one.matching[rows].mean()), count, test.groups, seed)
    return {
        "model": model,
        "rows": name,
        "n": count,
        "groups": group_count(test.groups),
        "extracted_rows": hits,
        "extracted": hits / count,
        "extracted_ci95": [number(extracted.low), number(extracted.high)],
        "extracted_method": extracted.method,
        "matching": float(one.matching.mean()),
        "matching_ci95": [number(matching.low), number(matching.high)],
        "matching_method": matching.method,
        "longest_run_tokens": int(one.runs.max()),
        "mean_run_tokens": float(one.runs.mean()),
    }


def _differences(
    metric: str, values: dict[str, Any], tests: tuple[TestRows, TestRows], seed: int
) -> list[dict[str, Any]]:
    """Training rows minus unseen ones, of each model, and that of tuned minus that of base."""
    of_train, of_unseen = (Sample(len(test.rows), test.groups) for test in tests)
    grouped = any(test.groups is not None for test in tests)

    def difference(model: str, a: Array, b: Array) -> float:
        train, unseen = values[model]
        return float(train[a].mean() - unseen[b].mean())

    def of(name: str, a: Array, b: Array) -> float:
        if name in values:
            return difference(name, a, b)
        return difference("tuned", a, b) - difference("base", a, b)

    whole = np.arange(of_train.count), np.arange(of_unseen.count)
    lines = []
    for name in ("base", "tuned", "tuned_minus_base"):
        interval = two_sample_bootstrap(lambda a, b, n=name: of(n, a, b), of_train, of_unseen, seed)  # type: ignore[misc]
        if metric == "extracted" and name in values and (not grouped or interval.method == "none"):
            interval = _newcombe(values[name], tests)
        lines.append(
            {
                "model": name,
                "metric": metric,
                "difference": of(name, *whole),
                "ci95": [number(interval.low), number(interval.high)],
                "method": interval.method,
            }
        )
    return lines


def _newcombe(values: tuple[Array, Array], tests: tuple[TestRows, TestRows]) -> Interval:
    train, unseen = values
    interval = newcombe(int(train.sum()), len(train), int(unseen.sum()), len(unseen))
    single = any(group_count(test.groups) == 1 for test in tests)
    return one_group(interval) if single else interval


def _is_learned(lines: list[dict[str, Any]]) -> bool:
    """Whether training rows are known better than unseen ones, more so by the tuned model.

    Both whole intervals must be above 0, for the rows written whole or for the tokens.
    """
    above = {
        (line["metric"], line["model"]): line["ci95"][0] is not None and line["ci95"][0] > 0
        for line in lines
    }
    return any(
        above[metric, "tuned"] and above[metric, "tuned_minus_base"]
        for metric in ("extracted", "matching")
    )
