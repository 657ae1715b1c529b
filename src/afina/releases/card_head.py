"""The YAML head of a model card, as the Hub reads it: licence, base, data, languages, model-index."""

from __future__ import annotations

from typing import Any

import yaml

from afina.releases.facts import Facts, hub_dataset, hub_datasets
from afina.releases.licences import HUB_IDS, UNKNOWN
from afina.reports.figures import Result
from afina.reports.formats import digits_of, interval
from afina.reports.words import metric_name, split_name

# The Hub's ids of metrics that it calls otherwise.
HUB_METRICS = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "mcc": "matthews_correlation",
    "auc": "roc_auc",
    "rouge_l": "rougeL",
}
AVERAGES = {"macro_f1": "macro", "micro_f1": "micro"}
TASKS = {"classify": "text-classification", "generate": "text-generation", "text": "text-generation"}


def head_of(facts: Facts) -> dict[str, Any]:
    """The head's entries; what is not known is left out, but the licence, which is then `unknown`."""
    recipe = facts.recipe
    full = recipe.adapter.kind == "full"
    head: dict[str, Any] = {}
    if languages := facts.looked.main_languages():
        head["language"] = languages
    head |= _licence(facts)
    if parents := _parents(facts):
        head["base_model"] = parents if len(parents) > 1 else parents[0]
        head["base_model_relation"] = "finetune" if full else "adapter"
    if datasets := hub_datasets(recipe):
        head["datasets"] = datasets
    head["pipeline_tag"] = TASKS[recipe.task.kind]
    head["library_name"] = "transformers" if full else "peft"
    head["tags"] = ["afina", recipe.adapter.kind, *(["llama"] if facts.licence.duties else [])]
    if found := facts.results():
        head["metrics"] = list(dict.fromkeys(HUB_METRICS.get(one.metric, one.metric) for one in found))
        head["model-index"] = [{"name": facts.name, "results": _index(facts, found)}]
    return head


def head_text(facts: Facts) -> str:
    """The head between its two lines."""
    text = yaml.safe_dump(head_of(facts), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def _licence(facts: Facts) -> dict[str, str]:
    licence = facts.licence
    if licence.id in HUB_IDS or licence.id == UNKNOWN:
        return {"license": licence.id}
    head = {"license": "other", "license_name": licence.name or licence.id}
    if licence.link:
        head["license_link"] = licence.link
    elif "LICENSE" in licence.texts:
        head["license_link"] = "LICENSE"
    return head


def _parents(facts: Facts) -> list[str]:
    """The base, where others can load it from the Hub; else what its own card says it was made from."""
    return [facts.hub_base] if facts.hub_base else list(facts.base_licence.parents)


def _index(facts: Facts, found: list[Result]) -> list[dict[str, Any]]:
    """One entry for each test set, in the form of huggingface_hub's EvalResult."""
    task = {"type": TASKS[facts.recipe.task.kind]}
    further = {one.name: one.source for one in facts.recipe.data.test}
    entries = []
    for name in dict.fromkeys(line.set for line in found):
        kind = hub_dataset(further.get(name, "")) or f"{facts.recipe.name}-{name}"
        dataset = {"name": f"{facts.recipe.name}: {split_name(name, 'en')}", "type": kind}
        metrics = [_metric(line) for line in found if line.set == name]
        entries.append({"task": task | {}, "dataset": dataset, "metrics": metrics})
    return entries


def _metric(line: Result) -> dict[str, Any]:
    """A value with its interval and rows, in its name for people and in its arguments for machines."""
    name = metric_name(line.metric, "en")
    said = [f"n = {line.n:,}"] if line.n is not None else []
    if line.ci95 is not None:
        said.insert(0, f"95 % interval {interval(line.ci95, 'en', digits_of(line.metric))}")
    arguments: dict[str, Any] = {"n": line.n, "groups": line.groups, "method": line.method}
    if line.ci95 is not None:
        arguments["ci95"] = [round(end, 6) for end in line.ci95]
    if line.metric in AVERAGES:
        arguments["average"] = AVERAGES[line.metric]
    return {
        "type": HUB_METRICS.get(line.metric, line.metric),
        "value": round(float(line.value or 0.0), 6),
        "name": f"{name} ({', '.join(said)})" if said else name,
        "args": {key: value for key, value in arguments.items() if value is not None},
    }
