"""Rules of the settings about sources never seen: what is left out, what chooses the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afina.language import _

if TYPE_CHECKING:
    from afina.recipe import Limit, Recipe

# What is measured for each fold: the others need a set of their own.
LEFT_OUT_METRICS = ("macro_f1", "accuracy", "auc", "recall", "false_positive_rate")


def left_out_models(recipe: Recipe) -> list[str]:
    """The models that are trained without each value of evaluate.leave_out."""
    wanted = recipe.evaluate.leave_out_models
    if wanted != "auto":
        return [name for name in ("probe", "tfidf", "tuned") if name in wanted]
    probe = ["probe"] if recipe.task.head == "pooled" else []
    return probe + (["tfidf"] if "tfidf" in recipe.evaluate.baselines else [])


def source_faults(recipe: Recipe) -> list[str]:
    """What disagrees, as `place: what is wrong`."""
    faults = _leave_out_faults(recipe) + _threshold_faults(recipe) + _robust_faults(recipe)
    changed = any(getattr(recipe.data.augment, name) for name in type(recipe.data.augment).model_fields)
    if changed and recipe.task.kind != "classify":
        kind = recipe.task.kind
        faults.append("data.augment: " + _("belongs to kind classify, not to {kind}").format(kind=kind))
    if recipe.data.augment.addresses and recipe.data.personal == "mask":
        faults.append(
            "data.augment.addresses: "
            + _("puts addresses into texts, which personal: mask takes out: leave one of them")
        )
    baselines = recipe.evaluate.baselines
    if "blend" in baselines and recipe.task.kind == "classify" and "tfidf" not in baselines:
        faults.append("evaluate.baselines: " + _("blend joins the tuned model with tfidf: name it too"))
    return faults


def _leave_out_faults(recipe: Recipe) -> list[str]:
    task, wanted = recipe.task, recipe.evaluate
    if wanted.leave_out is None:
        if wanted.leave_out_models != "auto":
            return ["evaluate.leave_out_models: " + _("belongs to evaluate.leave_out, which is null")]
        return []
    if task.kind != "classify":
        return [
            "evaluate.leave_out: " + _("belongs to kind classify, not to {kind}").format(kind=task.kind)
        ]
    faults = []
    if wanted.leave_out == recipe.data.split.group_by:
        faults.append(
            "evaluate.leave_out: "
            + _("data.split.group_by keeps every value of {column} on one side already").format(
                column=wanted.leave_out
            )
        )
    models = left_out_models(recipe)
    if not models:
        faults.append("evaluate.leave_out_models: " + _("name at least one of probe, tfidf, tuned"))
    if "probe" in models and task.head != "pooled":
        faults.append("evaluate.leave_out_models: " + _("there is a probe only with task.head: pooled"))
    if "tfidf" in models and "tfidf" not in wanted.baselines:
        faults.append("evaluate.leave_out_models: " + _("tfidf is not in evaluate.baselines"))
    if "tuned" in models and recipe.train.distributed.engine != "none":
        faults.append(
            "evaluate.leave_out_models: "
            + _("tuned models are trained without a value by one process: see train.distributed")
        )
    return faults


def _threshold_faults(recipe: Recipe) -> list[str]:
    train, task = recipe.train, recipe.task
    faults = []
    if train.threshold_from is None:
        if train.max_false_positive_rate is not None:
            faults.append(
                "train.max_false_positive_rate: " + _("belongs to train.threshold_from, which is null")
            )
    elif task.kind != "classify" or (task.labels is not None and len(task.labels) != 2):
        faults.append(
            "train.threshold_from: " + _("a threshold belongs to a classifier with two labels")
        )
    elif train.threshold_from == "left_out" and task.head != "pooled":
        faults.append("train.threshold_from: " + _("left_out asks the probe: set task.head: pooled"))
    if (train.threshold_by is not None) != (train.threshold_from == "left_out"):
        faults.append(
            "train.threshold_by: "
            + _("threshold_from: left_out needs threshold_by, and threshold_by needs it")
        )
    return faults


def _robust_faults(recipe: Recipe) -> list[str]:
    train, task = recipe.train, recipe.task
    faults = []
    if (train.robust is None) != (train.robust_by is None):
        faults.append("train.robust_by: " + _("robust needs robust_by, and robust_by needs it"))
    if train.robust is None:
        if train.robust_strength != "auto":
            faults.append("train.robust_strength: " + _("belongs to train.robust, which is null"))
        return faults
    if task.kind != "classify" or task.head != "pooled":
        faults.append("train.robust: " + _("belongs to kind classify with head: pooled"))
    if train.distributed.engine != "none":
        faults.append("train.robust: " + _("groups are weighed by one process: see train.distributed"))
    if recipe.data.balance is not None:
        faults.append(
            "train.robust: " + _("weighs groups itself: leave data.balance out, which would do it twice")
        )
    return faults


def left_out_limit_fault(recipe: Recipe, limit: Limit) -> str | None:
    """Why a limit on the set left_out can never be decided; None when it can."""
    trained = left_out_models(recipe)
    for name in (limit.model, limit.against):
        if name is not None and name not in trained:
            return _("{model} is not in evaluate.leave_out_models").format(model=name)
    if limit.metric not in LEFT_OUT_METRICS:
        return _("the set left_out has {metrics}, not {metric}").format(
            metrics=", ".join(LEFT_OUT_METRICS), metric=limit.metric
        )
    if limit.by is not None:
        return _("the set left_out has no gaps: its folds are the values of a column already")
    return None
