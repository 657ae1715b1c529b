"""The model card: what the model is for, what it was trained on, how it measured."""

from __future__ import annotations

from typing import Any

import yaml

from afina.inference.masking_note import masking_note
from afina.language import _
from afina.recipe import Recipe
from afina.runs.files import read_json
from afina.runs.folder import Run


def card(run: Run, recipe: Recipe, evaluation: dict[str, Any]) -> str:
    """README.md in the Hub's form: a YAML head, then the same in words."""
    settings = read_json(run.path("release/inference.json"))
    audit = read_json(run.path("data/audit.json"))
    full = recipe.adapter.kind == "full"
    head = {
        "base_model": settings["base"]["id"],
        "library_name": "transformers" if full else "peft",
        "pipeline_tag": "text-classification" if recipe.task.kind == "classify" else "text-generation",
        "tags": ["afina", recipe.adapter.kind],
    }
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {recipe.name}", ""]
    if full:
        what = _("All weights of `{base}`, fine-tuned by Afina in run `{run}`.")
    else:
        what = _("A {kind} adapter of rank {rank} for `{base}`, made by Afina in run `{run}`.")
    lines.append(
        what.format(
            kind=recipe.adapter.kind,
            rank=recipe.adapter.rank,
            base=settings["base"]["id"],
            run=run.title,
        )
    )
    sources = ", ".join(f"`{source}`" for source in audit["sources"])
    lines += [
        "",
        _("Trained on {rows:,} rows of {sources}.").format(
            rows=audit["splits"]["train"]["rows"], sources=sources
        ),
    ]
    if read_json(run.path("train.json"))["best_step"] == 0:
        lines.append(
            _(
                "Training never lowered the validation loss: these weights are those from before "
                "training."
            )
        )
    if "builtin:phishing" in audit["sources"]:
        lines.append(
            _(
                "The built-in corpus was written by a machine: measure on your own mail before relying "
                "on it."
            )
        )
    header = [_("model"), _("test set"), _("metric"), _("value"), _("95 % interval"), _("rows")]
    lines += ["", "| " + " | ".join(header) + " |", "|---|---|---|---|---|---|"]
    for line in evaluation["results"]:
        low, high = line["ci95"]
        interval = f"{low:.3f} - {high:.3f}" if low is not None and high is not None else "-"
        cells = [
            line["model"],
            line["set"],
            line["metric"],
            f"{line['value']:.3f}",
            interval,
            str(line["n"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    loading = (
        _("How to ask it is written in `inference.json`; transformers loads the folder `model`.")
        if full
        else _("How to ask it is written in `inference.json`; plain PEFT loads the folder `adapter`.")
    )
    lines += ["", loading, ""]
    lines += masking_note(settings.get("personal", "keep"), settings.get("names"))
    return "\n".join(lines)
