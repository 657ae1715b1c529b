"""What an export and the run's own model are both asked: rows that were not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from afina.data.chat import Encoded, encode_row
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.evaluation.answers import set_of
from afina.inference.engine import Engine
from afina.inference.label_likelihood import label_trees
from afina.inference.pooled import PooledHead
from afina.inference.states import measuring
from afina.models.load import decoder, output_head
from afina.recipe import Recipe
from afina.runs.folder import Run

Array = np.ndarray[Any, np.dtype[Any]]
PROMPTS = 128  # at most; fewer where the run has fewer rows
ENOUGH = 100
PROMPT_TOKENS = 512  # of each, from its beginning


class Reader(Protocol):
    """A model in any runtime."""

    def read(self, ids: list[int]) -> tuple[Array, Array]:
        """What the model makes of one row of token ids, alone.

        Returns:
            Logits after each token, [length, vocabulary], and the mean of the last layer's states,
            [hidden]; both fp32.
        """


class TorchReader:
    """A model in PyTorch, its adapter on it or not."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def read(self, ids: list[int]) -> tuple[Array, Array]:
        """See Reader."""
        import torch

        with measuring(self._model):
            given = torch.tensor([ids], device=self._model.device)
            states = decoder(self._model)(input_ids=given, use_cache=False).last_hidden_state[0]
            logits = output_head(self._model)(states).float().cpu().numpy()
            return logits, states.float().mean(dim=0).cpu().numpy()


@dataclass(frozen=True)
class Asked:
    """The prompts of one check.

    Attributes:
        prompts: token ids as in training; [prompts]. A long one is read from its beginning.
        texts: whose label is asked about, as the model reads them; [prompts] or empty.
        branches: for labels by their likelihood: each text's question, and what every label adds to
            it, in ids; empty for a pooled head.
        head: the pooled head, if the run has one.
        truth: label codes; [prompts]. groups: group codes or None.
    """

    prompts: list[Encoded]
    texts: list[str]
    branches: list[tuple[list[int], list[list[int]]]]
    head: PooledHead | None
    truth: Array
    groups: Array | None

    @property
    def has_labels(self) -> bool:
        """Whether labels are asked for."""
        return len(self.texts) > 0


@dataclass(frozen=True)
class Said:
    """What a model made of the prompts.

    Attributes:
        likeliest: the likeliest next token at every place that something follows; [prompts] of arrays.
        losses: summed loss of each prompt in nats; [prompts]. counts: on how many tokens; [prompts].
        labels: label logits before the temperature; [prompts, labels], or None.
    """

    likeliest: list[Array]
    losses: Array
    counts: Array
    labels: Array | None


def prompts_of(run: Run, recipe: Recipe, engine: Engine) -> list[Encoded]:
    """Rows that were not trained on, as the model reads them: the test split's, then validation's."""
    return _rows_of(run, recipe, engine, PROMPTS)[1]


def asked_of(run: Run, recipe: Recipe, engine: Engine, most: int = PROMPTS) -> Asked:
    """The same rows, and whose labels are asked for."""
    rows, prompts = _rows_of(run, recipe, engine, most)
    if recipe.task.kind != "classify":
        return Asked(prompts, [], [], None, np.array([], dtype=np.int64), None)
    asked = set_of(recipe, engine.settings.labels, "test", rows)
    texts = engine.masked([row.text for row in rows])
    branches = []
    if engine.head is None:
        trees = label_trees(engine.tokens, engine.question, texts, engine.settings.max_length)
        branches = [(tree.prompt, tree.branches) for tree in trees]
    return Asked(prompts, texts, branches, engine.head, asked.truth, asked.groups)


def _rows_of(run: Run, recipe: Recipe, engine: Engine, most: int) -> tuple[list[Row], list[Encoded]]:
    rows: list[Row] = []
    prompts: list[Encoded] = []
    for split in ("test", "validation"):
        path = run.path(f"data/{split}.parquet")
        for row in read_rows(path) if path.exists() else []:
            if len(prompts) >= most:
                break
            rows.append(row)
            prompts += encode_row(engine.tokens, recipe, engine.settings.labels, row)
    return rows, [
        Encoded(item.ids[:PROMPT_TOKENS], item.trained[:PROMPT_TOKENS]) for item in prompts[:most]
    ]


def ask(reader: Reader, asked: Asked, check: Callable[[], None] = lambda: None) -> Said:
    """Reads every prompt with a model; `check` is called before each."""
    likeliest, losses, counts, labels = [], [], [], []
    for number, prompt in enumerate(asked.prompts):
        check()
        logits, mean = reader.read(prompt.ids)
        likeliest.append(logits[:-1].argmax(axis=1))
        loss = _losses(logits[:-1], prompt.ids[1:])
        trained = np.array(prompt.trained[1:], dtype=bool)
        wanted = trained if trained.any() else np.ones(len(loss), dtype=bool)
        losses.append(float(loss[wanted].sum()))
        counts.append(int(wanted.sum()))
        if asked.head is not None:
            labels.append(asked.head.logits(mean[None])[0])
        elif asked.branches:
            labels.append(_label_logits(reader, *asked.branches[number]))
    found = np.stack(labels) if labels else None
    return Said(likeliest, np.array(losses), np.array(counts), found)


def _losses(logits: Array, goals: list[int]) -> Array:
    """Cross-entropy in nats of each goal; [places]."""
    if not len(goals):
        return np.zeros(0)
    highest = logits.max(axis=1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
    return np.asarray(total - logits[np.arange(len(goals)), goals])


def _label_logits(reader: Reader, prompt: list[int], branches: list[list[int]]) -> Array:
    """Log-likelihood of each label after the question; [labels]."""
    found = []
    for branch in branches:
        logits, _mean = reader.read([*prompt, *branch])
        start = len(prompt) - 1
        found.append(-float(_losses(logits[start : start + len(branch)], branch).sum()))
    return np.array(found)
