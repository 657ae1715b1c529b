"""Rules between the sections of a recipe: a limit that nothing will measure is refused at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from afina.language import _
from afina.metric_names import AUTO_METRICS, LIKELIHOOD_METRICS, METRICS, SUITE_SCORE, SWAP_FLIPS, names
from afina.recipe_distributed import distributed_faults
from afina.recipe_prompts import compared_faults, measured_models, prompt_faults
from afina.recipe_sources import left_out_limit_fault, source_faults

if TYPE_CHECKING:
    from afina.recipe import Limit, Recipe, Track

ABOUT_ALARMS = names("alarm")


def faults_between(recipe: Recipe) -> list[str]:
    """Every disagreement of a recipe's sections, as `place: what is wrong`."""
    faults = []
    task, metrics = recipe.task, recipe.evaluate.metrics
    if metrics != "auto":
        if not metrics:
            faults.append("evaluate.metrics: " + _("name at least one metric, or take auto"))
        for metric in metrics:
            fault = _not_measured(recipe, metric)
            if fault:
                faults.append(f"evaluate.metrics: {fault}")
    if recipe.evaluate.swaps and task.kind != "classify":
        faults.append(
            "evaluate.swaps: " + _("belongs to kind classify, not to {kind}").format(kind=task.kind)
        )
    if task.positive is not None and task.kind != "classify":
        faults.append(
            "task.positive: " + _("belongs to kind classify, not to {kind}").format(kind=task.kind)
        )
    if recipe.train.head_strength != "auto" and (task.kind != "classify" or task.head != "pooled"):
        faults.append("train.head_strength: " + _("belongs to kind classify with head: pooled"))
    faults += _tracking_faults(recipe.track)
    faults += _full_faults(recipe) if recipe.adapter.kind == "full" else []
    if recipe.adapter.kind == "dora" and recipe.adapter.weight not in ("auto", 1):
        faults.append("adapter.weight: " + _("a DoRA adapter cannot be given a weight"))
    faults += distributed_faults(recipe) + prompt_faults(recipe) + compared_faults(recipe)
    faults += source_faults(recipe)
    for number, limit in enumerate(recipe.gate):
        fault = _limit_fault(recipe, limit)
        if fault:
            faults.append(f"gate.{number}: {fault}")
    return faults


def _tracking_faults(track: Track) -> list[str]:
    """Why a run cannot be tracked like this. A password has no place in a file that is kept."""
    faults = []
    if track.mlflow is None and track.experiment is not None:
        faults.append("track.experiment: " + _("belongs to track.mlflow, which is null"))
    for name in ("mlflow", "registry"):
        fault = _address_fault(getattr(track, name))
        faults += [f"track.{name}: {fault}"] if fault else []
    return faults


def _address_fault(address: str | None) -> str | None:
    """Why this is no address of an MLflow store; None when it is one, or nothing was given."""
    if address is None or address in ("local", "databricks"):
        return None
    parts = urlsplit(address)
    if parts.password is not None or (parts.username and parts.scheme in ("http", "https")):
        return _("leave out user and password: MLflow reads MLFLOW_TRACKING_USERNAME and _PASSWORD")
    if parts.scheme == "file":
        return _("MLflow gave up folders of files: take sqlite:///PATH.db")
    if "://" not in address or not (parts.netloc or parts.path.strip("/")):
        return _("give local, or an address such as http://127.0.0.1:5000 or sqlite:///mlflow.db")
    return None


def _full_faults(recipe: Recipe) -> list[str]:
    """Settings that say something else than that all weights are trained."""
    faults = []
    for name, field in type(recipe.adapter).model_fields.items():
        if name != "kind" and getattr(recipe.adapter, name) != field.default:
            faults.append(f"adapter.{name}: " + _("belongs to lora, rslora and dora, not to full"))
    if recipe.base.bits in (4, 8):
        faults.append(
            "base.bits: "
            + _("weights of {bits} bits cannot be trained: set 16, or adapter.kind: lora").format(
                bits=recipe.base.bits
            )
        )
    return faults


def _not_measured(recipe: Recipe, metric: str) -> str | None:
    """Why this recipe cannot measure a metric; None when it can."""
    task = recipe.task
    if METRICS[metric].needs == "text":
        if task.kind == "generate":
            return None
        return _("{metric} belongs to kind generate, not to {kind}").format(
            metric=metric, kind=task.kind
        )
    if task.kind != "classify" and metric not in LIKELIHOOD_METRICS:
        return _("{metric} belongs to kind classify, not to {kind}").format(
            metric=metric, kind=task.kind
        )
    if task.kind == "classify" and task.head == "pooled" and metric in LIKELIHOOD_METRICS:
        return _(
            "a pooled head has no {metric}; it belongs to head tokens and to generate and text"
        ).format(metric=metric)
    if metric in ABOUT_ALARMS and task.labels and len(task.labels) > 2 and task.positive is None:
        return _("{metric} is about one label: name it in task.positive").format(metric=metric)
    return None


def _out_of_range(limit: Limit) -> str | None:
    """Why a limit lies where the metric cannot; None when it does not."""
    low, high = METRICS[limit.metric].low, METRICS[limit.metric].high
    if low is None or high is None:
        return None
    for name, value in (("min", limit.min), ("max", limit.max)):
        if value is not None and not low <= value <= high:
            why = (
                _("{name} {value:g}: {metric} is a share between 0 and 1: 0.9 means 90 %")
                if (low, high) == (0, 1)
                else _("{name} {value:g}: {metric} lies between {low:g} and {high:g}")
            )
            return why.format(name=name, value=value, metric=limit.metric, low=low, high=high)
    if limit.min_gain is not None and not abs(limit.min_gain) <= high - low:
        why = (
            _(
                "min_gain {value:g}: a gain in {metric} is between -1 and 1: 0.1 means 10 percentage "
                "points"
            )
            if (low, high) == (0, 1)
            else _("min_gain {value:g}: a gain in {metric} is between -{most:g} and {most:g}")
        )
        return why.format(value=limit.min_gain, metric=limit.metric, most=high - low)
    return None


def _unmeasured_model(recipe: Recipe, limit: Limit, models: set[str]) -> str | None:
    """Why a model of a limit will not be measured, or not by its metric; None when it will."""
    known = measured_models(recipe)
    losses = ("base", "tuned", "tuned_8bit", "tuned_4bit")
    for model in sorted(models):
        if model == "prompted" and recipe.evaluate.prompts is None:
            return _("prompted is measured only with evaluate.prompts")
        if model in ("tuned_8bit", "tuned_4bit") and model not in known:
            return _("{model} is measured only when evaluate.bits has its number").format(model=model)
        if model not in known:
            return _("{model!r} is not one of {known}").format(model=model, known=", ".join(known))
        likelihood = recipe.task.kind == "classify" and limit.metric in LIKELIHOOD_METRICS
        if likelihood and model not in losses:
            return _("{model} has no {metric}").format(model=model, metric=limit.metric)
    return None


def _train_gap_fault(recipe: Recipe, limit: Limit) -> str | None:
    """Why a limit on the gap to training rows can never be decided; None when it can."""
    known = ("accuracy", "macro_f1") if recipe.task.kind == "classify" else ("perplexity",)
    if limit.metric not in known:
        return _("max_train_gap is measured in {known}, not in {metric}").format(
            known=", ".join(known), metric=limit.metric
        )
    if limit.model != "tuned":
        return _("max_train_gap is about the tuned model")
    return None


def _swap_fault(recipe: Recipe, limit: Limit) -> str | None:
    """Why a limit on decisions that a swap changes can never be decided; None when it can."""
    if limit.by not in recipe.evaluate.swaps:
        return _("by {column!r} is not in evaluate.swaps").format(column=limit.by)
    if limit.model not in ("tuned", *recipe.evaluate.baselines):
        return _("only tuned and the baselines are asked about swapped texts")
    if limit.max is not None and not 0 <= limit.max <= 1:
        return _("{name} {value:g}: {metric} is a share between 0 and 1: 0.9 means 90 %").format(
            name="max", value=limit.max, metric=limit.metric
        )
    return None


def _suite_fault(recipe: Recipe, limit: Limit) -> str | None:
    """Why a limit on a suite's figure can never be decided; None when it can."""
    asked = recipe.evaluate.suites.tasks
    if limit.set not in asked:
        return _("set {set!r} is not in evaluate.suites.tasks").format(set=limit.set)
    if {limit.model, limit.against} - {"base", "tuned", None}:
        return _("only base and tuned are asked about suites")
    if limit.by is not None or limit.max_train_gap is not None:
        return _("suite_score takes min, max or min_gain")
    return None


def _limit_fault(recipe: Recipe, limit: Limit) -> str | None:
    """Why a limit of the gate can never be decided; None when it can."""
    if limit.metric == SUITE_SCORE:
        return _suite_fault(recipe, limit)
    sets = ["test", *(test.name for test in recipe.data.test)]
    sets += ["left_out"] if recipe.evaluate.leave_out else []
    if limit.set not in sets:
        return _("set {set!r} is not one of {known}").format(set=limit.set, known=", ".join(sets))
    if limit.metric == SWAP_FLIPS:
        return _swap_fault(recipe, limit)
    fault = _not_measured(recipe, limit.metric)
    if fault:
        return fault
    fault = _out_of_range(limit)
    if fault:
        return fault
    if limit.max_train_gap is not None:
        return _train_gap_fault(recipe, limit)
    task, metrics = recipe.task, recipe.evaluate.metrics
    if limit.metric not in (AUTO_METRICS[task.kind] if metrics == "auto" else metrics):
        return _("{metric} is not in evaluate.metrics").format(metric=limit.metric)
    if limit.by is not None and limit.by not in recipe.evaluate.slices:
        return _("by {column!r} is not in evaluate.slices").format(column=limit.by)
    models = {name for name in (limit.model, limit.against) if name is not None}
    if "probe" in models and (task.kind != "classify" or task.head != "pooled"):
        return _("there is a probe only with task.head: pooled")
    for name in ("tfidf", "blend"):
        if name not in models:
            continue
        if task.kind != "classify" or name not in recipe.evaluate.baselines:
            return _("{model} is compared only when it is in evaluate.baselines of a classifier").format(
                model=name
            )
    if limit.set == "left_out":
        fault = left_out_limit_fault(recipe, limit)
        if fault:
            return fault
    fault = _unmeasured_model(recipe, limit, models)
    if fault:
        return fault
    if limit.against is not None and (limit.model == limit.against or "tuned" not in models):
        return _("min_gain compares the tuned model with another one")
    return None
