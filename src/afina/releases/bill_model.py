"""The model card inside the bill of materials: parameters, figures, considerations, in English."""

from __future__ import annotations

import json
from typing import Any

from afina.releases.card_head import TASKS
from afina.releases.facts import Facts
from afina.releases.licences import UNKNOWN
from afina.reports.comparing import gap_sentences, slice_name
from afina.reports.figures import Result
from afina.reports.unknowns import unknowns

# Entries of a Llama's config.json by the names of the OWASP property taxonomy for AI bills of materials.
CONFIG = {
    "vocab_size": "vocabSize",
    "max_position_embeddings": "contextLength",
    "hidden_size": "embeddingLength",
    "num_hidden_layers": "blockCount",
    "num_attention_heads": "attentionHeadCount",
    "num_key_value_heads": "attentionHeadCountKV",
    "intermediate_size": "feedForwardLength",
}
PREFIX = "genai:aibom:modelcard:"


def model_card(facts: Facts, weight_bytes: int) -> dict[str, Any]:
    """The value of `modelCard`.

    Args:
        weight_bytes: of the model's own weights, without the base's.
    """
    card: dict[str, Any] = {
        "modelParameters": _parameters(facts),
        "considerations": _considerations(facts),
        "properties": _properties(facts, weight_bytes),
    }
    metrics = [_metric(line) for line in (*facts.results(), *facts.results(sliced=True))]
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _parameters(facts: Facts) -> dict[str, Any]:
    classify = facts.recipe.task.kind == "classify"
    architectures = facts.base_config.get("architectures") or ["LlamaForCausalLM"]
    return {
        "approach": {"type": "self-supervised" if facts.recipe.task.kind == "text" else "supervised"},
        "task": TASKS[facts.recipe.task.kind],
        "architectureFamily": "llama",
        "modelArchitecture": str(architectures[0]),
        "datasets": [
            {"ref": f"data:{name}"} for name in sorted(facts.data) if name.endswith(".parquet")
        ],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "label and probability of each label" if classify else "text"}],
    }


def _metric(line: Result) -> dict[str, Any]:
    """A value with its interval; the set, the group and the rows are its slice."""
    slices = [line.set, slice_name(line.slice) if line.slice else "", f"n = {line.n}"]
    found: dict[str, Any] = {
        "type": line.metric,
        "value": repr(float(line.value or 0.0)),
        "slice": ", ".join(part for part in slices if part),
    }
    if line.ci95 is not None:
        low, high = line.ci95
        found["confidenceInterval"] = {"lowerBound": repr(low), "upperBound": repr(high)}
    return found


def _considerations(facts: Facts) -> dict[str, Any]:
    recipe, licence = facts.recipe, facts.licence
    default = {
        "classify": "Saying which of these labels a text has: " + ", ".join(facts.settings["labels"]),
        "generate": "Answering prompts like those it was trained on",
        "text": "Continuing texts like those it was trained on",
    }
    seconds = (facts.figures.train or {}).get("seconds")
    risks = [
        {
            "name": "Personal data in the training rows",
            "mitigationStrategy": "masked before training"
            if recipe.data.personal == "mask"
            else "none: texts were trained on as they are",
        }
    ]
    if licence.duties is not None:
        risks.append(
            {"name": "Uses that the base's policy forbids", "mitigationStrategy": licence.duties.policy}
        )
    found: dict[str, Any] = {
        "useCases": [recipe.release.intended_use or default[recipe.task.kind]],
        "technicalLimitations": [" ".join(text.split()) for text in unknowns(facts.figures, "en")],
        "ethicalConsiderations": risks,
        "environmentalConsiderations": {
            "properties": [
                {"name": "afina:energy", "value": "not measured"},
                {
                    "name": "afina:training_seconds",
                    "value": "not noted" if seconds is None else str(seconds),
                },
                {"name": "afina:hardware", "value": _hardware(facts)},
            ]
        },
    }
    evaluation = facts.figures.evaluation
    gaps = [
        {"groupAtRisk": name, "harms": text}
        for name in (evaluation.sets if evaluation else {})
        for text in gap_sentences(evaluation, name, "en")  # type: ignore[arg-type]
    ]
    if gaps:
        found["fairnessAssessments"] = gaps
    return found


def _hardware(facts: Facts) -> str:
    return json.dumps(facts.hardware, sort_keys=True) if facts.hardware else "not noted"


def _properties(facts: Facts, weight_bytes: int) -> list[dict[str, str]]:
    recipe = facts.recipe
    settings = {
        "adapter": recipe.adapter.model_dump(mode="json"),
        "epochs": recipe.train.epochs,
        "learning_rate": recipe.train.learning_rate,
        "batch_rows": recipe.train.batch_rows,
        "max_length": recipe.data.max_length,
    }
    found = {
        f"{PREFIX}hyperparameter": json.dumps(settings, sort_keys=True),
        **{
            f"{PREFIX}{name}": str(facts.base_config[key])
            for key, name in CONFIG.items()
            if facts.base_config.get(key) is not None
        },
        f"{PREFIX}metricDecisionThreshold": str(facts.settings["threshold"]),
        f"{PREFIX}energyConsumption": "not measured",
        f"{PREFIX}safetyRiskAssessment": "not made",
        f"{PREFIX}useSensitivePersonalInformation": (
            f"{facts.looked.personal_rows} of {facts.looked.rows} training rows looked at"
        ),
        f"{PREFIX}modelDataPreprocessing": f"data.personal: {recipe.data.personal}",
        "owasp:aibom:distribution:modelFileSize": str(weight_bytes),
        "owasp:aibom:distribution:runtimeRequirement": "python",
    }
    if facts.licence.id == UNKNOWN:
        found["afina:licence"] = "unknown"
    return [{"name": name, "value": value} for name, value in found.items()]
