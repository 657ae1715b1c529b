"""The part of evaluation.json on what was learned by heart: gap, membership, extraction."""

from __future__ import annotations

from typing import Any

import numpy as np

from afina.evaluation.answers import Answers, TestRows
from afina.evaluation.gap import gap_lines, label_losses
from afina.evaluation.membership import membership_lines
from afina.evaluation.memorisation import memorisation
from afina.evaluation.seen import Compared, train_and_validation
from afina.runs.files import read_json

Array = np.ndarray[Any, np.dtype[Any]]


def overfitting(answers: Answers) -> dict[str, Any]:
    """Measures the released model on rows that it was trained on and on rows that it was not."""
    compared = train_and_validation(answers)
    most = answers.recipe.evaluate.memorisation_rows
    return {
        "trained": int(read_json(answers.run.path("train.json"))["best_step"]) > 0,
        "rows": {
            "train": len(compared.train.rows),
            "train_of": compared.of_train,
            "validation": len(compared.unseen.rows),
            "validation_of": compared.of_unseen,
        },
        "gap": gap_lines(answers, compared),
        "membership": _membership(answers, compared),
        "memorisation": memorisation(answers, most) if most else None,
    }


def _membership(answers: Answers, compared: Compared) -> list[dict[str, Any]]:
    """From the loss that training lowered. A classifier's base is not asked: its answers cost most."""
    sets = compared.train, compared.unseen
    groups = compared.train.groups, compared.unseen.groups
    seed = answers.recipe.seed
    if answers.recipe.task.kind == "classify":
        train, unseen = (label_losses(answers, test) for test in sets)
        return membership_lines("label", {"tuned": (train, unseen)}, groups, seed)
    losses = {}
    for model in ("base", "tuned"):
        train, unseen = (_mean_losses(answers, model, test) for test in sets)
        losses[model] = train, unseen
        answers.stop.check()
    of = "answer" if answers.recipe.task.kind == "generate" else "text"
    return membership_lines(of, losses, groups, seed)


def _mean_losses(answers: Answers, model: str, test: TestRows) -> Array:
    """Loss of a trained token of each row in nats; [rows]."""
    found = answers.losses(model, test)
    return np.asarray(found[:, 0] / np.maximum(found[:, 1], 1))
