"""The models that are made without some values of a column: probe, TF-IDF, a tuned one."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from afina.data.folds import folds_within, value_of
from afina.data.roles import Row
from afina.data.table import RowWriter
from afina.errors import DataError
from afina.evaluation.answers import Answers, TestRows
from afina.evaluation.baseline import TfidfBaseline
from afina.language import _
from afina.metrics.calibration import fit_temperature, softmax
from afina.models.base import find_base
from afina.models.tokenizer import load_tokens
from afina.recipe import Recipe
from afina.runs.children import child
from afina.runs.files import atomic, read_json, write_json
from afina.runs.signals import StopSignal
from afina.runs.stages import state_of
from afina.training.adapter_weight import FEWEST_ROWS
from afina.training.heads import STATES, weights_of
from afina.training.probe import MOST_ROWS, fit_probe
from afina.training.threshold import HALF, choose, choose_left_out, held_rows
from afina.training.tune import train
from afina.trust.manifest import MANIFEST, write_manifest

if TYPE_CHECKING:
    from afina.evaluation.left_out import LeftOutRows

Array = np.ndarray[Any, np.dtype[Any]]
KEPT_STATES = "predictions/left_out/states.safetensors"


@dataclass(frozen=True)
class FoldAnswers:
    """What a model says of the test rows of a fold.

    Attributes:
        probabilities: of the labels; [rows, labels]. threshold: of an alarm. temperature: of the logits.
        chosen_on: the rows that chose these two: none, validation or left_out.
        rows: training rows that the model was made of.
    """

    probabilities: Array
    threshold: float
    temperature: float
    chosen_on: str
    rows: int

    def about(self) -> dict[str, Any]:
        """All but the answers."""
        return {name: value for name, value in vars(self).items() if name != "probabilities"}

    @classmethod
    def of(cls, probabilities: Array, about: dict[str, Any]) -> FoldAnswers:
        """From what was kept."""
        return cls(probabilities, **about)


def answer_fold(
    answers: Answers,
    model: str,
    rows: LeftOutRows,
    fold: tuple[str, ...],
    number: int,
    stop: StopSignal,
) -> FoldAnswers:
    """Makes a model without the values of a fold, and asks it about the test rows that have them."""
    train, validation = rows.outside("train", fold), rows.outside("validation", fold)
    if not len(validation):
        raise DataError(
            _("without {values} no validation row is left").format(values=", ".join(fold)),
            where="evaluate.leave_out",
            fix=_("raise data.split.validation, or leave out another column"),
        )
    if model == "probe":
        return _probe(answers, rows, fold, train, validation, stop)
    kept = [rows.train[row] for row in train], [rows.validation[row] for row in validation]
    asked = [rows.test.rows[row] for row in rows.inside("test", fold)]
    if model == "tuned":
        return _tuned(answers, kept, asked, rows, fold, number, stop)
    baseline = TfidfBaseline(*kept, answers.labels)
    found = baseline.probabilities([row.text for row in asked])
    return FoldAnswers(found, HALF, 1.0, "none", len(train))


def _probe(
    answers: Answers,
    rows: LeftOutRows,
    fold: tuple[str, ...],
    train: Array,
    validation: Array,
    stop: StopSignal,
) -> FoldAnswers:
    """The probe; its temperature and threshold are chosen without the fold too."""
    recipe, labels = answers.recipe, answers.labels
    states = _states(answers, rows)
    train = np.intersect1d(train, states["train_rows"])
    place = np.searchsorted(states["train_rows"], train)
    codes = {label: code for code, label in enumerate(labels)}
    truth = np.array([codes[str(rows.train[row].label)] for row in train])
    goal = np.array([codes[str(rows.validation[row].label)] for row in validation])
    features, checked = states["train"][place], states["validation"][validation]
    weights = weights_of([rows.train[row] for row in train])
    head, strength = fit_probe(features, truth, len(labels), checked, goal, recipe.seed, weights)
    temperature, threshold, chosen_on = 1.0, HALF, "none"
    wanted, most = recipe.train.threshold_from, recipe.train.max_false_positive_rate
    positive = answers.engine.settings.positive
    if wanted is not None and positive is not None:
        code = labels.index(positive)
        column = recipe.train.threshold_by
        if wanted == "left_out" and column is not None:
            both = [rows.train[row] for row in train] + [rows.validation[row] for row in validation]
            states_of_both = np.concatenate([features, checked])
            goals = np.concatenate([truth, goal])
            held = held_rows(both, states_of_both, goals, column, recipe.data.split.group_by)
            try:
                choice = choose_left_out(
                    held, labels, code, strength, most, recipe.seed, column, stop.check
                )
                temperature, threshold, chosen_on = choice.temperature, choice.threshold, "left_out"
            except DataError:
                answers.run.say(
                    _(
                        "  too few values are left to choose a threshold on left-out ones: the "
                        "validation rows choose it"
                    )
                )
        if chosen_on == "none" and len(goal) >= FEWEST_ROWS and len(np.unique(goal)) == 2:
            logits = head.logits(checked)
            choice = choose(logits, goal, code, most, fit_temperature(logits, goal))
            temperature, threshold, chosen_on = choice.temperature, choice.threshold, "validation"
    own = states["test"][rows.inside("test", fold)]
    return FoldAnswers(
        softmax(head.logits(own), temperature), threshold, temperature, chosen_on, len(train)
    )


def _states(answers: Answers, rows: LeftOutRows) -> dict[str, Array]:
    """Mean states on the frozen base of all rows, computed once and kept: train, validation, test, and
    `train_rows`, the numbers of the training rows that they are of (all, or MOST_ROWS drawn by seed)."""
    from safetensors.numpy import load_file, save_file

    path = answers.run.path(KEPT_STATES)
    if path.exists():
        return dict(load_file(str(path)))
    numbers = np.arange(len(rows.train))
    if len(numbers) > MOST_ROWS:
        random = np.random.default_rng(answers.recipe.seed)
        numbers = np.sort(random.choice(len(numbers), MOST_ROWS, replace=False))
        answers.run.say(
            _("the probes without a value are fitted on {rows:,} of {all:,} training rows").format(
                rows=len(numbers), all=len(rows.train)
            )
        )
    states: dict[str, Array] = {"train_rows": numbers}
    earlier = answers.run.path(STATES)
    if earlier.exists():
        known = dict(load_file(str(earlier)))
        if (len(known["train"]), len(known["validation"])) == (len(numbers), len(rows.validation)):
            states |= known
    wanted = {
        "train": [rows.train[row] for row in numbers],
        "validation": rows.validation,
        "test": rows.test.rows,
    }
    answers.run.say(_("reading the states of all rows on the frozen base"))
    with answers.engine.base_only():
        for name, chosen in wanted.items():
            if name not in states:
                texts = [row.text for row in chosen]
                states[name] = answers.engine.features(texts, lambda _tokens: answers.stop.check())
    with atomic(path) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in states.items()}, temporary)
    return states


def _tuned(
    answers: Answers,
    kept: tuple[list[Row], list[Row]],
    asked: list[Row],
    rows: LeftOutRows,
    fold: tuple[str, ...],
    number: int,
    stop: StopSignal,
) -> FoldAnswers:
    """An adapter trained in `children/left_out/N` as the run's own was; it goes on after a stop."""
    run, labels = answers.run, answers.labels
    recipe, chosen_on = _recipe_without(answers.recipe, kept, labels)
    state = state_of(run, "train")
    ids = [[row.id for row in part] for part in (*kept, asked)]
    made_of = {"train": state["key"] if state else None, "values": list(fold), "rows": ids}
    audit = read_json(run.path("data/audit.json"))
    with child(run, "left_out", number, recipe, made_of) as target:
        for name, part in zip(("train", "validation", "test"), (*kept, asked), strict=True):
            path = target.path(f"data/{name}.parquet")
            if not path.exists():
                with atomic(path) as temporary, RowWriter(temporary) as writer:
                    for row in part:
                        writer.write(row)
        write_json(
            target.path("data/audit.json"),
            {"schema": audit["schema"], "labels": labels, "left_out": {rows.column: list(fold)}},
        )
        release = target.path("release")
        if not target.path("train.json").exists():
            (release / MANIFEST).unlink(missing_ok=True)
            # Two models at a time may be too many for the machine: the run's own is read again later.
            answers.let_go()
            base = find_base(recipe.base.model, recipe.base.revision, run.say)
            train(target, recipe, base, load_tokens(base.folder))
            gc.collect()
        if not (release / MANIFEST).exists():  # no release stage of its own writes it
            write_manifest(release, {"name": recipe.name, "run": target.title})
        own = Answers(target, recipe, labels, stop)
        truth = np.array([labels.index(str(row.label)) for row in asked])
        found = own.probabilities("tuned", TestRows("left_out", asked, truth, None))
        settings = own.settings
    return FoldAnswers(found, settings.threshold, settings.temperature, chosen_on, len(kept[0]))


def _recipe_without(
    recipe: Recipe, kept: tuple[list[Row], list[Row]], labels: list[str]
) -> tuple[Recipe, str]:
    """The recipe of a child, and which rows choose its threshold: it leaves nothing out itself."""
    evaluate = recipe.evaluate.model_copy(update={"leave_out": None, "leave_out_models": "auto"})
    wanted = recipe.train.threshold_from
    changes: dict[str, Any] = {"evaluate": evaluate, "gate": []}
    if wanted == "left_out":
        column = recipe.train.threshold_by
        assert column is not None
        both = [*kept[0], *kept[1]]
        names = [str(row.label) for row in both]
        if len(folds_within([value_of(row, column) for row in both], names, labels).folds) < 2:
            wanted = "validation"
            new = {"threshold_from": wanted, "threshold_by": None}
            changes["train"] = recipe.train.model_copy(update=new)
    return recipe.model_copy(update=changes), wanted or "none"
