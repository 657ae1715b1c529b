"""Models of other runs, and the tuned one on a base of fewer bits, asked about the same rows."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from afina.data.duplicates import content_hash
from afina.data.roles import Row
from afina.data.table import iterate_rows
from afina.data.test_sets import among
from afina.errors import AfinaError, MissingExtra
from afina.evaluation.answers import Answers, TestRows, losses_by
from afina.evaluation.further import Further
from afina.evaluation.prompt_asking import require_room
from afina.inference.engine import Engine
from afina.inference.settings import InferenceSettings, read_settings
from afina.language import _
from afina.metrics.calibration import softmax
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.recipe_prompts import name_of_compared, quantised_name
from afina.runs.files import read_json, sha256_of_value, write_json
from afina.runs.folder import NAMED, Run, find_run
from afina.runs.stages import state_of

Array = np.ndarray[Any, np.dtype[Any]]
# Of fewer rows a model is not measured.
FEWEST_ROWS = 10


class OtherModel(Further):
    """A model with an engine of its own, loaded when it is first asked.

    Attributes:
        settings: what its inference.json says.
        seen: sorted hashes of the texts that it was trained or validated on; None where nobody knows.
    """

    def __init__(
        self,
        answers: Answers,
        settings: InferenceSettings,
        load: Callable[[], Engine],
        likelihoods: bool,
        seen: Array | None = None,
        run: Run | None = None,
    ) -> None:
        self._answers, self._load, self.say = answers, load, answers.run.say
        self.settings, self.likelihoods, self.seen, self.run = settings, likelihoods, seen, run
        same = settings.positive == answers.settings.positive
        self.threshold = settings.threshold if same else 1 - settings.threshold

    @cached_property
    def engine(self) -> Engine:
        """The model, loaded."""
        return self._load()

    def probabilities(self, test: TestRows) -> Array:
        """Probabilities in the order of this run's labels; [rows, labels]."""
        texts = [row.text for row in test.rows]
        found = softmax(
            self.engine.logits(texts, lambda _tokens: self._answers.stop.check()),
            self.settings.temperature,
        )
        return found[:, [self.settings.labels.index(label) for label in self._answers.labels]]

    def losses(self, rows: list[Row]) -> Array:
        """Summed loss in nats and trained tokens of each row, asked as this model is; [rows, 2]."""
        answers = self._answers
        recipe = answers.recipe
        if recipe.task.kind == "generate":
            task = recipe.task.model_copy(update={"instruction": self.settings.instruction})
            recipe = recipe.model_copy(update={"task": task})
        return losses_by(self.engine, recipe, answers.labels, rows, answers.stop.check)

    def write(self, asked: list[dict[str, str]], most: int) -> str:
        """The answer to a conversation."""
        return "".join(self.engine.reply(asked, most))

    def kept(self, test: TestRows) -> Array | None:
        """The rows whose text it was not trained or validated on; None for all."""
        if self.seen is None:
            return None
        unseen = [not among(content_hash(row.content()), self.seen) for row in test.rows]
        return None if all(unseen) else np.flatnonzero(unseen)

    def let_go(self) -> None:
        """Frees the loaded model."""
        self.__dict__.pop("engine", None)
        gc.collect()


def quantised_models(answers: Answers) -> dict[str, OtherModel]:
    """The tuned model on a base of each of evaluate.bits."""
    run = answers.run

    def loader(bits: int) -> Callable[[], Engine]:
        return lambda: Engine(run.path("release"), run.say, bits, signed=False)

    return {
        quantised_name(bits): OtherModel(answers, answers.settings, loader(bits), likelihoods=True)
        for bits in answers.recipe.evaluate.bits
    }


def compared_models(answers: Answers) -> dict[str, OtherModel]:
    """The models of the runs in evaluate.compare.

    Raises:
        AfinaError: when one is not there, or does another task.
    """
    found = {}
    for entry in answers.recipe.evaluate.compare:
        other = comparable_run(answers.run, answers.recipe, answers.labels, entry)

        def load(other: Run = other) -> Engine:
            return Engine(other.path("release"), answers.run.say, signed=False)

        found[name_of_compared(entry)] = OtherModel(
            answers,
            read_settings(other.path("release/inference.json")),
            load,
            likelihoods=False,
            seen=texts_seen(other),
            run=other,
        )
    return found


def comparable_run(run: Run, recipe: Recipe, labels: list[str], entry: str) -> Run:
    """The run that an entry of evaluate.compare means. Raises AfinaError when it cannot be compared."""
    other = compared_run(run, entry)
    if other.root.resolve() == run.root.resolve():
        raise AfinaError(
            _("evaluate.compare: {entry} is this run itself").format(entry=entry),
            fix=_("name an earlier run, as in {name}@1").format(name=run.name),
        )
    require_same_task(recipe, labels, other, entry)
    return other


def compared_run(run: Run, entry: str) -> Run:
    """The run that an entry of evaluate.compare means.

    What `NAME@champion` meant when it was first asked stays so for this run, in `compared.json`: its
    figures are about that one, also after another was promoted, or this one itself.
    """
    _name, _at, wanted = entry.rpartition("@")
    if not NAMED.fullmatch(wanted) or Path(entry).exists():
        return find_run(entry, run.store.place, run.say)
    path = run.path("compared.json")
    known: dict[str, str] = read_json(path)["runs"] if path.exists() else {}
    if entry in known:
        return find_run(known[entry], run.store.place, run.say)
    other = find_run(entry, run.store.place, run.say)
    there = str(other.root.resolve())
    if other.store.remote is not None:
        there = f"{other.store.place}/{other.name}/{other.number}"
    write_json(path, {"schema": "afina/compared/1", "runs": {**known, entry: there}})
    return other


def require_same_task(recipe: Recipe, labels: list[str], other: Run, entry: str) -> None:
    """Refuses a run without a model, of another kind, or with other labels."""
    path = other.path("release/inference.json")
    if not path.exists():
        raise AfinaError(
            _("evaluate.compare: {entry} has no trained model yet").format(entry=entry),
            where=str(other.root),
            fix=_("finish it with `afina run`, or take it out of evaluate.compare"),
        )
    settings = read_settings(path)
    if settings.kind != recipe.task.kind:
        raise AfinaError(
            _("evaluate.compare: {entry} is of kind {theirs}, this recipe of kind {own}").format(
                entry=entry, theirs=settings.kind, own=recipe.task.kind
            ),
            where=str(other.root),
            fix=_("take it out of evaluate.compare"),
        )
    if labels and set(settings.labels) != set(labels):
        raise AfinaError(
            _("evaluate.compare: {entry} has the labels {theirs}, this recipe {own}").format(
                entry=entry, theirs=", ".join(settings.labels), own=", ".join(labels)
            ),
            where=str(other.root),
            fix=_("compare models with the same labels only"),
        )


def texts_seen(run: Run) -> Array | None:
    """Sorted hashes of the texts that a run trained on or chose by; None when they are not there."""
    paths = [run.path(f"data/{name}.parquet") for name in ("train", "validation")]
    if not all(path.exists() for path in paths):
        return None
    hashes = {content_hash(row.content()) for path in paths for row in iterate_rows(path)}
    return np.array(sorted(hashes), dtype=np.uint64)


def compared_keys(run: Run, recipe: Recipe) -> dict[str, Any]:
    """What tells the models of evaluate.compare apart, for the stage's key; None for one not found."""
    found: dict[str, Any] = {}
    for entry in recipe.evaluate.compare:
        try:
            other = compared_run(run, entry)
            state = state_of(other, "train")
        except AfinaError:
            found[entry] = None
            continue
        outputs = state["outputs"] if state else {}
        kept = {name: digest for name, digest in outputs.items() if name.startswith("release/")}
        found[entry] = {"run": other.title, "release": sha256_of_value(kept)}
    return found


def require_bits(recipe: Recipe) -> None:
    """Refuses evaluate.bits without bitsandbytes, before anything is trained. Raises MissingExtra."""
    if recipe.evaluate.bits and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra(
            _("evaluate.bits needs bitsandbytes"),
            fix=_("pip install 'afina[quantize]', or take evaluate.bits out of the recipe"),
        )


def enough_rows(kept: Array | None) -> bool:
    """Whether a model is measured on the rows that are left of a set."""
    return kept is None or len(kept) >= FEWEST_ROWS


def say_what_was_seen(
    name: str, model: OtherModel, test: TestRows, kept: Array | None
) -> dict[str, Any]:
    """What evaluation.json notes about a compared model on a set; also said."""
    run = model.run
    assert run is not None
    left_out = 0 if kept is None else len(test.rows) - len(kept)
    if left_out:
        text = _(
            "{model} was trained or validated on {count} of the {rows} rows of {set}: they are left "
            "out of its figures"
        )
        if not enough_rows(kept):
            text = _(
                "{model} was trained or validated on {count} of the {rows} rows of {set}: too few are "
                "left to measure it on"
            )
        model.say(text.format(model=name, count=left_out, rows=len(test.rows), set=test.name))
    return {
        "model": name,
        "run": run.title,
        "base": model.settings.base["id"],
        "set": test.name,
        "rows": len(test.rows) - left_out,
        "rows_left_out": left_out,
        "measured": enough_rows(kept),
        "training_rows_known": model.seen is not None,
    }


def require_further(run: Run, recipe: Recipe, labels: list[str], tokens: Tokens) -> None:
    """What the evaluation will need beside the model itself, asked before anything is trained.

    Raises:
        AfinaError: when a run of evaluate.compare is not there or does another task, bitsandbytes is
            missing, or a prompt leaves no room for a text.
    """
    require_bits(recipe)
    require_room(recipe, labels, tokens)
    for entry in recipe.evaluate.compare:
        comparable_run(run, recipe, labels, entry)
