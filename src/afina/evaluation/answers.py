"""Every model's answers to every test set, kept in `predictions/SET/MODEL.parquet`.

A file that is there is not made again, so that an interrupted evaluation goes on.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from afina.data.chat import encode_row, last_exchange
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.evaluation.baseline import TfidfBaseline
from afina.evaluation.blend import BLEND, Blend, fit_blend, read_blend
from afina.evaluation.further import Further
from afina.inference.engine import Engine, decide
from afina.inference.pooled import load_head
from afina.inference.settings import InferenceSettings, read_settings
from afina.inference.states import row_losses
from afina.language import _
from afina.metrics.calibration import softmax
from afina.recipe import Recipe
from afina.recipe_prompts import measured_models
from afina.runs.files import atomic, read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.training.heads import PROBE, probe_choice

Array = np.ndarray[Any, np.dtype[Any]]
_OWN = ("base", "probe", "tuned", "tfidf", "blend")  # of the run itself; the rest are in `further`


@dataclass(frozen=True)
class TestRows:
    """One test set.

    Attributes:
        truth: label codes; [rows], empty when the task has no labels.
        groups: group codes; [rows], or None when rows stand alone. All may be of one group.
    """

    __test__ = False

    name: str
    rows: list[Row]
    truth: Array
    groups: Array | None


def test_rows(run: Run, recipe: Recipe, labels: list[str], name: str) -> TestRows:
    """Reads a test set of a run; `test` and `validation` are the split's own."""
    split = name in ("test", "validation")
    path = f"data/{name}.parquet" if split else f"data/test_{name}.parquet"
    return set_of(recipe, labels, name, read_rows(run.path(path)))


def set_of(recipe: Recipe, labels: list[str], name: str, rows: list[Row]) -> TestRows:
    """Rows as a set to ask models about. The name is also the folder of the answers."""
    codes = {label: code for code, label in enumerate(labels)}
    truth = np.array([codes[str(row.label)] for row in rows] if labels else [], dtype=np.int64)
    column = recipe.data.split.group_by
    groups = None
    if column and rows and all(column in row.extra for row in rows):
        values = [str(row.extra[column]) for row in rows]
        groups = np.unique(values, return_inverse=True)[1]
    return TestRows(name, rows, truth, groups)


test_rows.__test__ = False  # type: ignore[attr-defined]


class Answers:
    """Asks the models of one run; loads each only when a file is missing.

    Attributes:
        further: the models beside those of the run itself, by name (evaluation/further.py).
    """

    def __init__(self, run: Run, recipe: Recipe, labels: list[str], stop: StopSignal) -> None:
        self.run, self.recipe, self.labels, self.stop = run, recipe, labels, stop
        self.further: dict[str, Further] = {}

    @cached_property
    def settings(self) -> InferenceSettings:
        """How the released model is asked."""
        return read_settings(self.run.path("release/inference.json"))

    @cached_property
    def engine(self) -> Engine:
        """The released model."""
        return Engine(self.run.path("release"), self.run.say, signed=False)

    @cached_property
    def _tfidf(self) -> TfidfBaseline:
        train = read_rows(self.run.path("data/train.parquet"))
        validation = read_rows(self.run.path("data/validation.parquet"))
        return TfidfBaseline(train, validation, self.labels)

    @cached_property
    def probe_choice(self) -> tuple[float, float]:
        """The probe's own temperature and threshold: 1 and 0.5 unless the recipe chooses them."""
        note = probe_choice(self.run)
        return (1.0, 0.5) if note is None else (float(note["temperature"]), float(note["threshold"]))

    def threshold(self, model: str) -> float:
        """The probability of the positive label from which a model says it."""
        if model in self.further:
            return self.further[model].threshold
        if model == "tuned":
            return self.settings.threshold
        return self.probe_choice[1] if model == "probe" else 0.5

    @cached_property
    def _blend(self) -> Blend:
        """Fitted on the validation rows; kept, since it asks the tuned model about them."""
        path = self.run.path(BLEND)
        if not path.exists():
            rows = test_rows(self.run, self.recipe, self.labels, "validation")
            self.run.say(_("fitting the blend on {rows} validation rows").format(rows=len(rows.rows)))
            given = [self._ask(model, rows) for model in ("tuned", "tfidf")]
            write_json(path, fit_blend(given[0], given[1], rows.truth).as_json())
        return read_blend(read_json(path))

    def _blended(self, test: TestRows) -> Array:
        """The tuned model's and TF-IDF's answers to a set, joined."""
        tuned, tfidf = self.probabilities("tuned", test), self.probabilities("tfidf", test)
        return self._blend.probabilities(tuned, tfidf)

    def models(self) -> list[str]:
        """The models that are compared."""
        known = {*_OWN, *self.further}
        return [model for model in measured_models(self.recipe) if model in known]

    def let_go(self) -> None:
        """Frees the released model; asked again, it is loaded again."""
        self.__dict__.pop("engine", None)
        gc.collect()

    def probabilities(self, model: str, test: TestRows) -> Array:
        """Probabilities of the labels; [rows, labels]."""
        path = self.run.path(f"predictions/{test.name}/{model}.parquet")
        if not path.exists():
            self.run.say(
                _("asking {model} about {count} rows of {set}").format(
                    model=model, count=len(test.rows), set=test.name
                )
            )
            found = self._blended(test) if model == "blend" else self._ask(model, test)
            said = decide(self.settings, found, self.threshold(model))
            keep_answers(self, path, test.rows, said, found)
        return np.array(read_column(path, "probabilities"))

    def said(self, model: str, test: TestRows) -> Array:
        """Codes of the labels that were said; [rows]."""
        self.probabilities(model, test)
        codes = {label: code for code, label in enumerate(self.labels)}
        path = self.run.path(f"predictions/{test.name}/{model}.parquet")
        return np.array([codes[label] for label in read_column(path, "said")])

    def _ask(self, model: str, test: TestRows) -> Array:
        if model in self.further:
            return self.further[model].probabilities(test)
        texts = [row.text for row in test.rows]
        if model == "tfidf":
            return self._tfidf.probabilities(texts)
        if model == "tuned":
            return softmax(self.engine.logits(texts, self._check), self.engine.settings.temperature)
        with self.engine.base_only():
            if model == "probe":
                head = load_head(self.run.path(PROBE))
                logits = head.logits(self.engine.features(texts, self._check))
                return softmax(logits, self.probe_choice[0])
            return softmax(self.engine.ask_labels(texts, self.stop.check))

    def _check(self, _tokens: int) -> None:
        self.stop.check()

    def losses(self, model: str, test: TestRows) -> Array:
        """Summed loss in nats, trained tokens and their text's UTF-8 bytes of each row; [rows, 3]."""
        path = self.run.path(f"predictions/{test.name}/{model}.losses.parquet")
        sizes = [float(predicted_bytes(self.recipe, row)) for row in test.rows]
        if not path.exists():
            self.run.say(
                _("reading {count} rows of {set} with {model}").format(
                    model=model, count=len(test.rows), set=test.name
                )
            )
            if model in self.further:
                table = self.further[model].losses(test.rows)
            else:
                table = self._losses(model, test.rows)
            columns = {
                "id": [row.id for row in test.rows],
                "loss": table[:, 0].tolist(),
                "tokens": table[:, 1].tolist(),
            }
            write_table(path, columns)
        return np.stack([read_column(path, "loss"), read_column(path, "tokens"), sizes], axis=1)

    def _losses(self, model: str, rows: list[Row]) -> Array:
        with self.engine.base_only() if model == "base" else nullcontext():
            return losses_by(self.engine, self.recipe, self.labels, rows, self.stop.check)

    def written(self, model: str, test: TestRows) -> tuple[list[str], list[str]]:
        """What the model writes in place of each conversation's last answer, and that answer."""
        path = self.run.path(f"predictions/{test.name}/{model}.written.parquet")
        if not path.exists():
            said, right = [], []
            for number, row in enumerate(test.rows, start=1):
                self.stop.check()
                self.run.progress(
                    _("{model} writes answer {number:,} of {all:,}").format(
                        model=model, number=number, all=len(test.rows)
                    )
                )
                asked, wanted = last_exchange(row)
                right.append(wanted)
                said.append(self._write(model, asked))
            columns = {"id": [row.id for row in test.rows], "wanted": right, "said": said}
            write_table(path, columns)
        return read_column(path, "said"), read_column(path, "wanted")

    def _write(self, model: str, asked: list[dict[str, str]]) -> str:
        most = self.recipe.evaluate.max_new_tokens
        if model in self.further:
            return self.further[model].write(asked, most)
        if model == "base":
            with self.engine.base_only():
                return "".join(self.engine.reply(asked, most))
        return "".join(self.engine.reply(asked, most))


def losses_by(
    engine: Engine, recipe: Recipe, labels: list[str], rows: list[Row], check: Callable[[], None]
) -> Array:
    """Summed loss in nats and trained tokens of each row by an engine's model; [rows, 2]."""
    pieces, owner = [], []
    for index, row in enumerate(rows):
        for piece in encode_row(engine.tokens, recipe, labels, row):
            pieces.append(piece)
            owner.append(index)
    budget = 2 * recipe.train.micro_batch_tokens
    found = row_losses(engine.model, pieces, engine.tokens.pad, budget, check)
    table = np.zeros((len(rows), 2))
    np.add.at(table, owner, np.array(found, dtype=float).T)
    return table


def keep_answers(
    answers: Answers,
    path: Any,
    rows: list[Row],
    said: Array,
    probabilities: Array,
    about: dict[str, Any] | None = None,
) -> None:
    """Writes what a model says of rows; `about` is kept in the file's own notes."""
    columns: dict[str, list[Any]] = {
        "id": [row.id for row in rows],
        "label": [row.label for row in rows],
        "said": [answers.labels[code] for code in said],
        "probabilities": [list(map(float, row)) for row in probabilities],
    }
    write_table(path, columns, about)


def kept_answers(path: Any) -> tuple[Array, dict[str, Any]] | None:
    """Probabilities [rows, labels] and notes of `keep_answers`; None when they were not kept yet."""
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    table = pq.read_table(str(path))
    about = json.loads((table.schema.metadata or {}).get(b"about", b"{}"))
    return np.array(table.column("probabilities").to_pylist()), about


def predicted_bytes(recipe: Recipe, row: Row) -> int:
    """UTF-8 bytes of the text whose tokens are trained on: what the loss is spread over.

    End tokens, which stand for no text, count in the loss and not here.
    """
    if recipe.task.kind == "text":
        return len(row.text.encode())
    if recipe.task.kind == "classify":
        return len(str(row.label).encode())
    said = [m for m in row.messages or [] if m["role"] == "assistant" and m.get("train", True)]
    return sum(len(str(message["content"]).encode()) for message in said)


def write_table(path: Any, columns: dict[str, list[Any]], about: dict[str, Any] | None = None) -> None:
    """Writes columns of equal length as Parquet, whole or not at all; `about` into the file's notes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(columns)
    if about is not None:
        table = table.replace_schema_metadata({"about": json.dumps(about)})
    with atomic(path) as temporary:
        pq.write_table(table, str(temporary))


def read_column(path: Any, name: str) -> Any:
    """One column of a file that `write_table` wrote."""
    import pyarrow.parquet as pq

    return pq.read_table(str(path), columns=[name]).column(name).to_pylist()
