"""Tasks in the manner of GLUE made of a run's own test rows: a domain's exam for a language model.

- label: which label does this text have? (as SST-2)
- group: are these two texts of one kind, that is, of one group of the split? (as MRPC and QQP)
- ending: which of two endings does this text have? (as COPA)

Rows in Spanish are asked in Spanish, in tasks of their own. Examples come from the validation rows.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from afina.audits.language import language_of
from afina.data.roles import Row
from afina.data.table import read_rows
from afina.errors import DataError
from afina.language import _
from afina.recipe import Recipe
from afina.runs.folder import Run

Document = dict[str, Any]

# What each task asks, by the language of its rows.
_WORDS = {
    "en": {
        "label": "{text}\nQuestion: Which of these is the message: {labels}?\nAnswer:",
        "group": "Message 1: {first}\n\nMessage 2: {second}\nQuestion: Are both messages of the same "
        "kind?\nAnswer:",
        "no": "no",
        "yes": "yes",
    },
    "es": {
        "label": "{text}\nPregunta: ¿Cuál de estas cosas es el mensaje: {labels}?\nRespuesta:",
        "group": "Mensaje 1: {first}\n\nMensaje 2: {second}\nPregunta: ¿Son los dos mensajes del mismo "
        "tipo?\nRespuesta:",
        "no": "no",
        "yes": "sí",
    },
}
_LONGEST_TEXT = 1200  # characters of a text in a pair: both must fit
_FEWEST_WORDS = 12
_FEWEST_ROWS = 10


def own_documents(run: Run, recipe: Recipe) -> dict[str, dict[str, list[Document]]]:
    """Rows of each task by its name, as `own/label_es`: those to ask and those for examples.

    Raises:
        DataError: when no task can be made of the run's rows.
    """
    parts = {name: read_rows(run.path(f"data/{name}.parquet")) for name in ("test", "validation")}
    column = recipe.data.split.group_by
    makers: dict[str, Callable[[list[Row], str, random.Random], list[Document]]] = {}
    if recipe.task.kind == "classify":
        makers["label"] = _label_documents
    if column:
        makers["group"] = lambda rows, language, lot: _pair_documents(rows, column, language, lot)
    makers["ending"] = _ending_documents
    tasks: dict[str, dict[str, list[Document]]] = {}
    for language in _WORDS:
        for name, make in makers.items():
            made = {
                part: make(
                    [row for row in rows if language_of(row.text) == language],
                    language,
                    random.Random(f"{recipe.seed} {part} {name} {language}"),  # noqa: S311 - no secret
                )
                for part, rows in parts.items()
            }
            if len(made["test"]) >= _FEWEST_ROWS:
                tasks[f"own/{name}_{language}"] = made
    if not tasks:
        raise DataError(
            _("no task can be made of this run's test rows"),
            where="evaluate.suites.tasks",
            fix=_("“own” needs at least {rows} test rows in English or Spanish").format(
                rows=_FEWEST_ROWS
            ),
        )
    return tasks


def _label_documents(rows: list[Row], language: str, lot: random.Random) -> list[Document]:
    labels = sorted({str(row.label) for row in rows})
    shown = ", ".join(labels)
    ask = _WORDS[language]["label"]
    return [
        {
            "ask": ask.format(text=row.text, labels=shown),
            "choices": labels,
            "label": labels.index(str(row.label)),
        }
        for row in rows
    ]


def _pair_documents(rows: list[Row], column: str, language: str, lot: random.Random) -> list[Document]:
    """As many pairs of one group as of two, each row at most once as the first."""
    words = _WORDS[language]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.extra.get(column))].append(row)
    documents = []
    for index, row in enumerate(rows):
        own = str(row.extra.get(column))
        same = index % 2 == 0
        others = (
            [other for other in groups[own] if other is not row]
            if same
            else [other for name, members in groups.items() if name != own for other in members]
        )
        if others:
            first, second = row.text[:_LONGEST_TEXT], lot.choice(others).text[:_LONGEST_TEXT]
            documents.append(
                {
                    "ask": words["group"].format(first=first, second=second),
                    "choices": [words["no"], words["yes"]],
                    "label": int(same),
                }
            )
    return documents


def _ending_documents(rows: list[Row], language: str, lot: random.Random) -> list[Document]:
    """The second half of each text, beside that of another text of the same label."""
    halves = []
    for row in rows:
        words = row.text.split()
        if len(words) >= _FEWEST_WORDS:
            middle = len(words) // 2
            halves.append((str(row.label), " ".join(words[:middle]), " ".join(words[middle:])))
    documents = []
    for index, (label, beginning, ending) in enumerate(halves):
        others = [other[2] for place, other in enumerate(halves) if place != index and other[0] == label]
        if others:
            right = lot.randrange(2)
            # Of equal length, so that neither is likelier for being short.
            wrong = lot.choice(others)
            length = min(len(ending), len(wrong))
            choices = [wrong[:length], wrong[:length]]
            choices[right] = ending[:length]
            documents.append({"ask": beginning, "choices": choices, "label": right})
    return documents


def own_configuration() -> dict[str, Any]:
    """The harness' configuration of these tasks, without their data."""
    return {
        "output_type": "multiple_choice",
        "doc_to_text": "{{ask}}",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
