"""Writes small run folders with the real writers, for the tests of the report."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from afina.data.roles import Row
from afina.data.table import RowWriter
from afina.recipe_file import parse_recipe
from afina.runs.files import write_json
from afina.runs.folder import Run, open_run

CLASSIFY = """
version: 1
name: phishing-latam
base: embedded
task: {kind: classify, labels: [legitimate, phishing], positive: phishing}
data:
  train: builtin:phishing
  test: [{name: sms, source: shared/sms.jsonl}]
  split: {group_by: family}
  max_length: 512
gate:
  - {metric: macro_f1, model: tuned, against: base, min_gain: 0.0}
  - {metric: false_positive_rate, model: tuned, max: 0.05, undecided: warn}
"""
GENERATE = """
version: 1
name: answers
task: {kind: generate}
data: {train: answers.jsonl}
"""
LABELS = ["legitimate", "phishing"]
VALUES = {
    "tuned": {"macro_f1": 0.871, "accuracy": 0.876, "auc": 0.941, "false_positive_rate": 0.059},
    "tfidf": {"macro_f1": 0.828, "accuracy": 0.829, "auc": 0.902, "false_positive_rate": 0.129},
    "probe": {"macro_f1": 0.803, "accuracy": 0.806, "auc": 0.889, "false_positive_rate": 0.153},
    "base": {"macro_f1": 0.556, "accuracy": 0.588, "auc": 0.671, "false_positive_rate": 0.435},
}
TEXTS = [
    "Estimada clienta: su cuenta {n} ha sido suspendida. Verifique sus datos hoy en "
    "https://banco-seguro.example/verificar?id={n} o llame al +52 55 1234 5678. Atención: "
    "ayuda@banco-seguro.example",
    "Hola Ana, ¿te queda bien la junta del martes a las 10? Llevo el contrato y el anexo. Saludos, Luis",
    "Your parcel {n} is held. Pay the fee of $2.99 at www.parcel-fee.example/pay within 24 hours."
    "\n\nThe Postal Team",
    "Recordatorio: la factura de luz vence el viernes. Puede pagarla en la oficina o en la aplicación. "
    * 8,
]


def make_run(folder: Path, recipe: str = CLASSIFY) -> Run:
    """A run with a recipe and nothing else."""
    return open_run(parse_recipe(recipe, "recipe.yaml"), str(folder))


def classify_run(folder: Path, values: dict[str, dict[str, float]] | None = None) -> Run:
    """A whole classification run."""
    run = make_run(folder)
    run.resolve(base__bits=16, train__precision="bf16", train__checkpoint_activations=False)
    add_training(run, perplexity=False)
    rows = make_rows(170, "builtin:phishing")
    add_rows(run, "test", rows)
    add_rows(run, "sms", make_rows(60, "shared/sms.jsonl", seed=5))
    write_json(run.path("evaluation.json"), evaluation(values or VALUES))
    write_json(run.path("gate.json"), gate())
    write_json(run.path("data/audit.json"), audit())
    write_json(run.path("profile.json"), profile())
    return run


def generate_run(folder: Path) -> Run:
    """A whole run of kind generate: no labels, no predictions, perplexity alone."""
    run = make_run(folder, GENERATE)
    samples = [
        {
            "step": step,
            "prompt": f"¿Qué es un oráculo? Escriba a pregunta{n}@correo.example",
            "answer": f"Respuesta {n}, {step}",
        }
        for step in (0, 20, 40)
        for n in (1, 2)
    ]
    add_training(run, perplexity=True, samples=samples)
    results = [
        line(
            model,
            "perplexity",
            value,
            ci95=[value * 0.94, value * 1.07],
            groups=None,
            method="row bootstrap",
        )
        for model, value in (("tuned", 6.2), ("base", 14.8))
    ]
    write_json(
        run.path("evaluation.json"),
        {
            "schema": "afina/evaluation/1",
            "kind": "generate",
            "labels": [],
            "positive": None,
            "sets": {"test": {"rows": 170, "groups": None, "labels": {}}},
            "ranking": {"test": ["tuned", "base"]},
            "results": results,
            "comparisons": [compared("base", "perplexity", -8.6, [-9.4, -7.9], 0.0005)],
            "confusion": [],
        },
    )
    return run


def line(model: str, metric: str, value: float | None, **other: Any) -> dict[str, Any]:
    """One result of evaluation.json."""
    ends = None if value is None else [max(0.0, value - 0.07), min(1.0, value + 0.05)]
    given = {
        "set": "test",
        "slice": None,
        "n": 170,
        "groups": 7,
        "ci95": ends,
        "method": "group bootstrap",
    }
    return {"model": model, "metric": metric, "value": value, **given, **other}


def compared(
    b: str, metric: str, difference: float, ci95: list[float], p_value: float, **other: Any
) -> dict[str, Any]:
    """One comparison of the tuned model with another."""
    given = {
        "set": "test",
        "slice": None,
        "test": "group permutation; interval by group bootstrap",
        "minimum_detectable": 0.061,
        "rows_needed": None if ci95[0] > 0 or ci95[1] < 0 else 840,
    }
    return {
        "a": "tuned", "b": b, "metric": metric,
        "difference": difference, "ci95": ci95, "p_value": p_value,
        **given, **other,
    }  # fmt: skip


def evaluation(values: dict[str, dict[str, float]]) -> dict[str, Any]:
    """evaluation.json of a classification; differences under 0.06 are within chance."""
    ranked = sorted(values, key=lambda model: -values[model]["macro_f1"])
    results = [
        line(model, metric, value) for model, found in values.items() for metric, value in found.items()
    ]
    results += [
        line(model, metric, 0.9 * value, set="sms", n=60, groups=None)
        for model, found in values.items()
        for metric, value in found.items()
    ]
    results += [
        line(model, "accuracy", 0.8, slice={"country": country}, n=40, groups=3)
        for model in values
        for country in ("MX", "AR")
    ]
    comparisons = []
    for model, found in values.items():
        if model == "tuned":
            continue
        for metric, value in found.items():
            difference = values["tuned"][metric] - value
            clear = abs(difference) > 0.06
            ends = (
                [difference - 0.05, difference + 0.05]
                if clear
                else [difference - 0.07, difference + 0.07]
            )
            comparisons.append(compared(model, metric, difference, ends, 0.0005 if clear else 0.21))
    return {
        "schema": "afina/evaluation/1",
        "kind": "classify",
        "labels": LABELS,
        "positive": "phishing",
        "sets": {
            "test": {"rows": 170, "groups": 7, "labels": {"legitimate": 85, "phishing": 85}},
            "sms": {"rows": 60, "groups": None, "labels": {"legitimate": 40, "phishing": 20}},
        },
        "ranking": {"test": ranked, "sms": ranked},
        "results": results,
        "comparisons": comparisons,
        "swaps": swaps(),
        "confusion": [
            {"model": model, "set": name, "counts": counts}
            for name in ("test", "sms")
            for model, counts in (
                ("tuned", [[80, 5], [16, 69]]),
                ("tfidf", [[74, 11], [18, 67]]),
                ("probe", [[72, 13], [20, 65]]),
                ("base", [[48, 37], [33, 52]]),
            )
        ],
    }


def swaps() -> list[dict[str, Any]]:
    """Swaps of names that change decisions, and none of countries to make."""
    pair = {
        "from": "spanish",
        "to": "arabic",
        "rows": 25,
        "flips": 5,
        "value": 0.2,
        "ci95": [0.09, 0.39],
        "change": {"value": 0.11, "ci95": [0.04, 0.18], "method": "row bootstrap"},
    }
    few = {
        "from": "women",
        "to": "men",
        "rows": 4,
        "flips": 0,
        "value": None,
        "ci95": [None, None],
        "change": None,
    }
    named = {
        "rows": 29,
        "groups": None,
        "flips": 5,
        "value": 5 / 29,
        "ci95": [0.076, 0.346],
        "method": "Wilson score",
        "change": {"value": 0.09, "ci95": [0.03, 0.15], "method": "x"},
        "moved": {"value": 0.12, "ci95": [0.08, 0.16], "method": "x"},
        "pairs": [pair, few],
        "worst": pair,
    }
    none = {
        "rows": 0,
        "groups": None,
        "flips": 0,
        "value": None,
        "ci95": [None, None],
        "method": "none",
        "change": None,
        "moved": None,
        "pairs": [],
        "worst": None,
    }
    place = {"model": "tuned", "set": "test", "of": 170}
    return [{**place, "kind": "names", **named}, {**place, "kind": "countries", **none}]


def profile() -> dict[str, Any]:
    """profile.json of a part of the training rows, with something of everything."""
    found = {"email": {"pieces": 30, "rows": 29}, "phone": {"pieces": 3, "rows": 3}}
    tells = {"accuracy": 0.93, "ci95": [0.92, 0.94], "most_frequent_label": 0.5, "strong": True}
    doubtful = {
        "id": "0123456789abcdef",
        "label": "phishing",
        "would_be": "legitimate",
        "probability_of_its_label": 0.02,
    }
    return {
        "schema": "afina/data_audit/1", "rows_read": 60_000, "rows": 50_000, "seed": 13, "run": "x",
        "labels": {"legitimate": 25_000, "phishing": 25_000},
        "personal": {"rows": 31, "kinds": found},
        "secrets": {"rows": 0, "kinds": {}},
        "toxicity": {"rows": 2, "words": {"idiota": 2}, "by_label": {}, "first": []},
        "languages": {"rows": {"es": 49_000, "en": 1_000}, "by_label": {},
                      "spanish_address": {"tú": 300, "usted": 200, "none": 48_500},
                      "spanish_country_words": {"MX": 40, "none": 48_960}},
        "duplicates": {"equal_rows": 0, "equal_with_other_label": 0, "near_duplicate_clusters": 41,
                       "rows_in_them": 97, "threshold": 0.8},
        "label_order": LABELS, "group_by": "family",
        "groups": {"groups": 64, "of_one_label": 12, "rows_of_one_label": 900, "largest_rows": 80},
        "columns": {"channel": {"values": {}, "cramers_v": 0.9, "tells": tells}},
        "form": {"accuracy": 0.7, "ci95": [0.69, 0.71], "most_frequent_label": 0.5, "strong": False,
                 "strongest": [{"form": "link", "shares": [0.1, 0.8], "difference": 0.7}]},
        "label_suspects": {"rows": 3, "first": [doubtful]},
        "leaks": {"sms": {"rows": 60, "leaked": 2, "first": []}},
    }  # fmt: skip


def gate() -> dict[str, Any]:
    """gate.json: one limit kept, one undecided."""
    return {
        "schema": "afina/gate/1",
        "passed": True,
        "checks": [
            {"name": "macro_f1 of tuned on test", "limit": "better than base by more than 0",
             "value": 0.315, "ci95": [0.24, 0.38], "verdict": "pass", "rows_needed": None,
             "why": "the interval keeps to it"},
            {"name": "false_positive_rate of tuned on test", "limit": "at most 0.05", "value": 0.059,
             "ci95": [0.02, 0.12], "verdict": "undecided", "rows_needed": 1480, "why": "too few rows"},
        ],
    }  # fmt: skip


def part(rows: int, **other: Any) -> dict[str, Any]:
    """The facts of a split in audit.json."""
    return {
        "rows": rows,
        "labels": {"legitimate": rows // 2, "phishing": rows - rows // 2},
        "tokens": 212 * rows,
        "trained_tokens": 0,
        "length_tokens": {"median": 188, "p90": 371, "p99": 498, "max": 512},
        "cut_rows": rows // 40,
        "lost_tokens": rows * 3,
        "dropped_rows": {},
        "dropped_examples": [],
        **other,
    }


def audit() -> dict[str, Any]:
    """audit.json of a classification trained on a part."""
    return {
        "schema": "afina/audit/1",
        "task": "classify",
        "labels": LABELS,
        "roles": {"builtin:phishing": {"text": "text", "label": "label"}},
        "sources": {"builtin:phishing": {"rows": 1712, "kept": 1688}},
        "rows_read": 1712,
        "equal_rows_removed": 22,
        "conflicting_rows_removed": 2,
        "near_duplicate": {"threshold": 0.8, "clusters_of_several": 41, "rows_in_them": 97},
        "group_by": "family",
        "groups": 64,
        "limit": {"rows": 600, "train_before": 1350, "validation_before": 168,
                  "train_after": 534, "validation_after": 66},
        "splits": {"train": part(534), "validation": part(66),
                   "test": part(170, dropped_rows={"over_long": 3})},
        "test_sets": {
            "sms": part(
                60, source="shared/sms.jsonl", roles={}, equal_rows_removed=1,
                rows_with_unknown_label={"spam": 4}, rows_also_in_training=2,
            )
        },
    }  # fmt: skip


def make_rows(number: int, source: str, seed: int = 3) -> list[Row]:
    """Rows of both labels with texts that hold what must be masked."""
    chance = random.Random(seed)
    rows = []
    for index in range(number):
        text = TEXTS[index % len(TEXTS)].replace("{n}", str(chance.randint(10_000, 99_999)))
        row = Row(text=f"{text} ({index})", label=LABELS[index % 2], source=source)
        row.make_id()
        rows.append(row)
    return rows


def add_rows(run: Run, name: str, rows: list[Row], wrong: int = 7) -> None:
    """Writes a set's rows and the tuned model's predictions; the first `wrong` of each label err."""
    run.path("data").mkdir(exist_ok=True)
    with RowWriter(
        run.path("data/test.parquet" if name == "test" else f"data/test_{name}.parquet")
    ) as writer:
        for row in rows:
            writer.write(row)
    columns: dict[str, list[Any]] = {"id": [], "label": [], "said": [], "probabilities": []}
    seen = dict.fromkeys(LABELS, 0)
    for row in rows:
        label = str(row.label)
        seen[label] += 1
        sure = 0.99 - 0.04 * seen[label] if seen[label] <= wrong else 0.9
        said = LABELS[1 - LABELS.index(label)] if seen[label] <= wrong else label
        columns["id"].append(row.id)
        columns["label"].append(label)
        columns["said"].append(said)
        columns["probabilities"].append([sure if name == said else 1 - sure for name in LABELS])
    path = run.path(f"predictions/{name}/tuned.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), str(path))


def add_training(run: Run, perplexity: bool, samples: list[dict[str, Any]] | None = None) -> None:
    """metrics.jsonl, train.json and the state of the stages."""
    chance = random.Random(1)
    lines = []
    for step in range(0, 103):
        loss = 0.25 + 0.6 * 0.96**step
        if perplexity:
            loss = 1.8 + 1.2 * 0.95**step
        for split in ("train", "validation"):
            if (split == "train" and step == 0) or (split == "validation" and step % 17):
                continue
            value = loss * chance.uniform(0.75, 1.3) if split == "train" else loss + 0.0009 * step
            lines.append(
                {
                    "step": step,
                    "split": split,
                    "loss": value,
                    "perplexity": 2.718**value if perplexity else None,
                }
            )
    run.path("metrics.jsonl").write_text(
        "".join(json.dumps(item) + "\n" for item in lines), encoding="utf-8"
    )
    write_json(
        run.path("train.json"),
        {
            "schema": "afina/train/1", "rows": 534, "validation_rows": 66, "steps": 102, "best_step": 85,
            "best_loss": 0.2871, "stopped_early": False, "seconds": 1342.8, "tokens": 339_624,
            "tokens_per_second": 252.9, "peak_memory_bytes": 2_314_567_168,
            "trained_parameters": 4_884_480,
            "all_parameters": 139_400_064, "temperature": 1.24, "threshold": 0.5, "probe_strength": 0.01,
            "start_strength": 0.001,
            "samples": samples or [],
        },
    )  # fmt: skip
    for stage, seconds in (("data", 11.2), ("train", 1502.4), ("evaluate", 311.0), ("gate", 0.02)):
        write_json(
            run.path(f"stages/{stage}.json"),
            {"schema": "afina/stage/1", "state": "done", "seconds": seconds},
        )
