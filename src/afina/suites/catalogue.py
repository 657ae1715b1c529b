"""The tasks of GLUE and SuperGLUE, their official metrics, and how a suite's one figure is made of them.

GLUE: Wang et al. 2018. SuperGLUE: Wang et al. 2019. A suite's figure is the plain mean over its tasks,
each task's metrics averaged first; MNLI's two sets count as one task. AX-b and AX-g are diagnostics:
shown and not counted. Measured on the validation rows, since the test labels are not public: the figures
do not compare with the leaderboards.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TaskEntry:
    """A task that Afina knows.

    Attributes:
        name: in recipes, reports and files of rows.
        suite: the suite it belongs to. harness: its name in lm-evaluation-harness; empty for our own.
        metrics: the official ones, by name, with the kind of each (see scores.py).
        group: the field whose equal values belong together; whole groups are drawn and resampled.
        counts_as: the task it is averaged into; empty: not counted in the suite's figure.
        hub: dataset and configuration on the Hub, for a task of our own. split: its labelled rows there.
        fields: what each of its rows must have.
    """

    name: str
    suite: str
    harness: str
    metrics: dict[str, str]
    fields: tuple[str, ...]
    group: str = ""
    counts_as: str = ""
    hub: tuple[str, str] = ("", "")
    split: str = "validation"


def _glue(
    name: str, metrics: dict[str, str], *fields: str, harness: str = "", counts_as: str = ""
) -> TaskEntry:
    return TaskEntry(
        name,
        "glue",
        harness or name,
        metrics,
        (*fields, "label"),
        counts_as=counts_as or name,
    )


def _superglue(
    name: str, metrics: dict[str, str], *fields: str, harness: str = "", group: str = ""
) -> TaskEntry:
    return TaskEntry(
        name, "superglue", harness or name, metrics, (*fields, "label"), group=group, counts_as=name
    )


_ACCURACY = {"acc": "mean"}
_PAIR = ("sentence1", "sentence2")

TASKS: tuple[TaskEntry, ...] = (
    _glue("cola", {"mcc": "matthews"}, "sentence"),
    _glue("sst2", _ACCURACY, "sentence"),
    _glue("mrpc", {"acc": "mean", "f1": "f1"}, *_PAIR),
    TaskEntry(
        "stsb",
        "glue",
        "",
        {"pearson": "pearson", "spearman": "spearman"},
        (*_PAIR, "label"),
        counts_as="stsb",
        hub=("nyu-mll/glue", "stsb"),
    ),
    _glue("qqp", {"acc": "mean", "f1": "f1"}, "question1", "question2"),
    _glue("mnli_matched", _ACCURACY, "premise", "hypothesis", harness="mnli", counts_as="mnli"),
    _glue(
        "mnli_mismatched", _ACCURACY, "premise", "hypothesis", harness="mnli_mismatch", counts_as="mnli"
    ),
    _glue("qnli", _ACCURACY, "question", "sentence"),
    _glue("rte", _ACCURACY, *_PAIR),
    _glue("wnli", _ACCURACY, *_PAIR),
    _superglue("boolq", _ACCURACY, "passage", "question", group="passage"),
    _superglue("cb", {"acc": "mean", "f1": "macro_f1"}, "premise", "hypothesis"),
    _superglue("copa", _ACCURACY, "premise", "choice1", "choice2", "question"),
    TaskEntry(
        "multirc",
        "superglue",
        "",
        {"f1a": "f1", "em": "weighted_mean"},
        ("paragraph", "question", "answer", "label", "idx"),
        group="paragraph",
        counts_as="multirc",
        hub=("aps/super_glue", "multirc"),
    ),
    TaskEntry(
        "record",
        "superglue",
        "",
        {"f1": "mean", "em": "mean"},
        ("passage", "query", "entities", "answers"),
        group="passage",
        counts_as="record",
        hub=("aps/super_glue", "record"),
    ),
    _superglue("rte", _ACCURACY, "premise", "hypothesis", harness="sglue_rte"),
    _superglue("wic", _ACCURACY, "word", *_PAIR, "start1", "end1"),
    _superglue("wsc", _ACCURACY, "text", "span1_text", "span2_text", "span2_index"),
    TaskEntry(
        "axb",
        "superglue",
        "",
        {"mcc": "matthews"},
        (*_PAIR, "label"),
        hub=("aps/super_glue", "axb"),
        split="test",
    ),
    TaskEntry(
        "axg",
        "superglue",
        "",
        {"acc": "mean", "parity": "weighted_mean"},
        ("premise", "hypothesis", "label", "idx"),
        group="idx",
        hub=("aps/super_glue", "axg"),
        split="test",
    ),
    TaskEntry("xnli_es", "xnli_es", "xnli_es", _ACCURACY, ("premise", "hypothesis", "label")),
)

SUITES = ("glue", "superglue", "xnli_es", "own")


def group_of(entry: TaskEntry, document: dict[str, Any]) -> Hashable:
    """What a row belongs to: rows of one passage are alike, and AX-g's rows come in pairs."""
    if entry.name == "axg":
        return int(document["idx"]) // 2
    return str(document[entry.group])


def full_name(entry: TaskEntry) -> str:
    """`glue/rte`: a name that is unique, since RTE is in both suites."""
    return entry.name if entry.suite == entry.name else f"{entry.suite}/{entry.name}"


def entries_of(name: str) -> list[TaskEntry]:
    """The known tasks that a recipe's word names: a suite, `glue/rte`, or a task that one suite has.

    RTE alone is GLUE's, as in lm-evaluation-harness.
    """
    whole = [entry for entry in TASKS if entry.suite == name]
    exact = [entry for entry in TASKS if full_name(entry) == name]
    return whole or exact or [entry for entry in TASKS if name in (entry.name, entry.harness)][:1]


def suite_figure(suite: str, found: dict[str, dict[str, float]]) -> float | None:
    """A suite's one figure: the official one, or the plain mean over its tasks of their first metric.

    None while a counted task is missing, or a task has no metric that is known here.

    Args:
        found: metric values by full name of the task.
    """
    if suite in ("glue", "superglue"):
        return official(suite, found)
    if not found or not all(found.values()):
        return None
    return sum(next(iter(values.values())) for values in found.values()) / len(found)


def official(suite: str, found: dict[str, dict[str, float]]) -> float | None:
    """A suite's figure; None while one of its counted tasks is missing.

    Args:
        found: metric values by full name of the task.
    """
    parts: dict[str, list[float]] = {}
    for entry in TASKS:
        if entry.suite != suite or not entry.counts_as:
            continue
        values = found.get(full_name(entry), {})
        if any(metric not in values for metric in entry.metrics):
            return None
        score = sum(values[metric] for metric in entry.metrics) / len(entry.metrics)
        parts.setdefault(entry.counts_as, []).append(score)
    if not parts:
        return None
    return sum(sum(scores) / len(scores) for scores in parts.values()) / len(parts)
