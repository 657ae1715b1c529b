"""A run as it stands, for Python and for the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afina.runs.files import read_json
from afina.runs.folder import Run


@dataclass(frozen=True)
class RunResult:
    """A run as it stands.

    Attributes:
        name, number: which run it is; folder: where its files are.
        did_work: False when everything was done already.
        passed: what the gate said; None when it has not been asked.
        evaluation, audit, training: the values of evaluation.json, data/audit.json and train.json;
            empty before that stage is done.
        report: the report's path; None before it is written.
        release: the folder with adapter, head and inference.json.
        learning_curve: the value of learning_curve.json; empty when no curve was asked for.
    """

    name: str
    number: int
    folder: Path
    did_work: bool
    passed: bool | None
    evaluation: dict[str, Any]
    audit: dict[str, Any]
    training: dict[str, Any]
    report: Path | None
    release: Path
    learning_curve: dict[str, Any] = field(default_factory=dict)

    def value(self, metric: str, model: str = "tuned", test_set: str = "test") -> float:
        """One measured value. Raises KeyError when it was not measured."""
        for line in self.evaluation.get("results", []):
            if (line["metric"], line["model"], line["set"]) == (metric, model, test_set):
                return float(line["value"])
        raise KeyError(f"{metric} of {model} on {test_set}")


def result_of(target: Run, worked: bool) -> RunResult:
    """The files of a run, read."""

    def value(name: str) -> dict[str, Any]:
        path = target.path(name)
        return dict(read_json(path)) if path.exists() else {}

    decided = value("gate.json")
    page = target.path("report.html")
    return RunResult(
        name=target.name,
        number=target.number,
        folder=target.root,
        did_work=worked,
        passed=decided.get("passed"),
        evaluation=value("evaluation.json"),
        audit=value("data/audit.json"),
        training=value("train.json"),
        report=page if page.exists() else None,
        release=target.path("release"),
        learning_curve=value("learning_curve.json"),
    )
