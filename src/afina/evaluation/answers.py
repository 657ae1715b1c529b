"""Every model's answers to every test set, kept in `predictions/SET/MODEL.parquet`.

A file that is there is not made again, so that an interrupted evaluation goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from afina.data.chat import encode_row, last_exchange
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.evaluation.baseline import TfidfBaseline
from afina.inference.engine import Engine, decide
from afina.inference.pooled import load_head
from afina.inference.states import row_losses
from afina.language import _
from afina.metrics.calibration import softmax
from afina.recipe import Recipe
from afina.runs.files import atomic
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.training.tune import PROBE

Array = np.ndarray[Any, np.dtype[Any]]


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
    """Reads a test set of a run; `test` is the split's own."""
    path = "data/test.parquet" if name == "test" else f"data/test_{name}.parquet"
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
    """Asks the models of one run; loads each only when a file is missing."""

    def __init__(self, run: Run, recipe: Recipe, labels: list[str], stop: StopSignal) -> None:
        self.run, self.recipe, self.labels, self.stop = run, recipe, labels, stop

    @cached_property
    def engine(self) -> Engine:
        """The released model."""
        return Engine(self.run.path("release"), self.run.say)

    @cached_property
    def _tfidf(self) -> TfidfBaseline:
        train = read_rows(self.run.path("data/train.parquet"))
        validation = read_rows(self.run.path("data/validation.parquet"))
        return TfidfBaseline(train, validation, self.labels)

    def models(self) -> list[str]:
        """The models that are compared."""
        if self.recipe.task.kind != "classify":
            return ["base", "tuned"]
        probe = ["probe"] if self.recipe.task.head == "pooled" else []
        return ["base", *probe, "tuned", *self.recipe.evaluate.baselines]

    def probabilities(self, model: str, test: TestRows) -> Array:
        """Probabilities of the labels; [rows, labels]."""
        path = self.run.path(f"predictions/{test.name}/{model}.parquet")
        if not path.exists():
            self.run.say(
                _("asking {model} about {count} rows of {set}").format(
                    model=model, count=len(test.rows), set=test.name
                )
            )
            found = self._ask(model, [row.text for row in test.rows])
            settings = self.engine.settings
            said = decide(settings, found, settings.threshold if model in ("tuned", "probe") else 0.5)
            columns: dict[str, list[Any]] = {
                "id": [row.id for row in test.rows],
                "label": [row.label for row in test.rows],
                "said": [self.labels[code] for code in said],
                "probabilities": [list(map(float, row)) for row in found],
            }
            _write_table(self.run, path, columns)
        return np.array(_read_column(path, "probabilities"))

    def said(self, model: str, test: TestRows) -> Array:
        """Codes of the labels that were said; [rows]."""
        self.probabilities(model, test)
        codes = {label: code for code, label in enumerate(self.labels)}
        path = self.run.path(f"predictions/{test.name}/{model}.parquet")
        return np.array([codes[label] for label in _read_column(path, "said")])

    def _ask(self, model: str, texts: list[str]) -> Array:
        if model == "tfidf":
            return self._tfidf.probabilities(texts)
        if model == "tuned":
            return softmax(self.engine.logits(texts, self._check), self.engine.settings.temperature)
        with self.engine.base_only():
            if model == "probe":
                head = load_head(self.run.path(PROBE))
                return softmax(head.logits(self.engine.features(texts, self._check)))
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
            pieces, owner = [], []
            for index, row in enumerate(test.rows):
                for piece in encode_row(self.engine.tokens, self.recipe, self.labels, row):
                    pieces.append(piece)
                    owner.append(index)
            found = self._measure(model, pieces)
            table = np.zeros((len(test.rows), 2))
            np.add.at(table, owner, np.array(found).T)
            columns = {
                "id": [row.id for row in test.rows],
                "loss": table[:, 0].tolist(),
                "tokens": table[:, 1].tolist(),
            }
            _write_table(self.run, path, columns)
        return np.stack([_read_column(path, "loss"), _read_column(path, "tokens"), sizes], axis=1)

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
            _write_table(self.run, path, columns)
        return _read_column(path, "said"), _read_column(path, "wanted")

    def _write(self, model: str, asked: list[dict[str, str]]) -> str:
        most = self.recipe.evaluate.max_new_tokens
        if model == "base":
            with self.engine.base_only():
                return "".join(self.engine.reply(asked, most))
        return "".join(self.engine.reply(asked, most))

    def _measure(self, model: str, pieces: list[Any]) -> tuple[list[float], list[int]]:
        budget = 2 * self.recipe.train.micro_batch_tokens
        if model == "base":
            with self.engine.base_only():
                return row_losses(
                    self.engine.model, pieces, self.engine.tokens.pad, budget, self.stop.check
                )
        return row_losses(self.engine.model, pieces, self.engine.tokens.pad, budget, self.stop.check)


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


def _write_table(run: Run, path: Any, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic(path) as temporary:
        pq.write_table(pa.table(columns), str(temporary))


def _read_column(path: Any, name: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(str(path), columns=[name]).column(name).to_pylist()
