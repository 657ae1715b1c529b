"""A run's files as flat names and values: parameters, metrics and tags, as MLflow wants them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

# The shortest limits of the MLflow servers in use: older ones take 500 characters, newer ones 6000.
LONGEST_VALUE, LONGEST_NAME, LONGEST_TAG = 500, 250, 5000
LINE_METRICS = ("loss", "perplexity", "learning_rate", "tokens_per_second", "peak_memory_bytes", "epoch")
PACKAGES = ("afina", "torch", "transformers", "peft", "safetensors", "tokenizers", "numpy")


def flat(value: Any, name: str = "") -> dict[str, str]:
    """A JSON value as dotted names and texts: {"data": {"train": [{"weight": 1}]}} gives
    {"data.train.0.weight": "1"}. Empty lists and objects stay as `[]` and `{}`."""
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found: dict[str, str] = {}
        for key, inner in pairs:
            found |= flat(inner, f"{name}.{key}" if name else str(key))
        return found
    return {safe_name(name): value if isinstance(value, str) else json.dumps(value)}


def parameters(recipe: dict[str, Any], resolved: dict[str, Any]) -> dict[str, str]:
    """The recipe as parameters, with what each `auto` became as `resolved.NAME`.

    A value that is too long says so in its place: the whole one is in the artifact recipe.yaml.
    """
    where = {key: value for key, value in recipe.items() if key != "track"}
    named = flat(where) | {f"resolved.{key}": text for key, text in flat(resolved).items() if key}
    return {key: shortened(text) for key, text in named.items()}


def shortened(text: str, longest: int = LONGEST_VALUE) -> str:
    """`text`, or its beginning with a note of what is left out, in at most `longest` characters."""
    if len(text) <= longest:
        return text
    note = f" … ({len(text)} characters; all of them in recipe.yaml)"
    return text[: longest - len(note)] + note


def safe_name(name: str) -> str:
    """A name of the characters that MLflow takes; a digest keeps apart what replacing made equal."""
    safe = re.sub(r"[^\w.:\- /]", "_", name)
    # As a path the name must stay itself: no empty, "." or ".." part.
    parts = [part for part in safe.strip("/ ").split("/") if part not in ("", ".", "..")]
    safe = "/".join(parts) or "_"
    if safe == name and len(safe) <= LONGEST_NAME:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe[: LONGEST_NAME - 9]}_{digest}"


def of_line(line: dict[str, Any]) -> dict[str, float]:
    """The figures of a line of metrics.jsonl, {"train.loss": 0.7, …}, without those not measured."""
    return {
        f"{line['split']}.{name}": float(line[name])
        for name in LINE_METRICS
        if is_number(line.get(name)) and (name != "epoch" or line["split"] == "train")
    }


def of_training(trained: dict[str, Any]) -> dict[str, float]:
    """The figures of train.json as `training.NAME`."""
    return {f"training.{name}": float(value) for name, value in trained.items() if is_number(value)}


def of_evaluation(evaluation: dict[str, Any]) -> dict[str, float]:
    """Every result and comparison with the bounds of its interval.

    `tuned.test.macro_f1`, `….low`, `….high`; `tuned_minus_base.test.macro_f1`, also with `….p_value`.
    """
    found: dict[str, float] = {}
    for result in evaluation.get("results", []):
        name = ".".join([result["model"], *_place(result), result["metric"]])
        found |= _with_bounds(name, result["value"], result.get("ci95"))
    for one in evaluation.get("comparisons", []):
        name = ".".join([f"{one['a']}_minus_{one['b']}", *_place(one), one["metric"]])
        found |= _with_bounds(name, one["difference"], one.get("ci95"))
        if is_number(one.get("p_value")):
            found[safe_name(f"{name}.p_value")] = float(one["p_value"])
    for line in evaluation.get("swaps", []):
        name = ".".join([line["model"], line["set"], f"swap_flips:{line['kind']}"])
        found |= _with_bounds(name, line["value"], line["ci95"])
    return found


def _place(result: dict[str, Any]) -> list[str]:
    """The set, and the slice of it if there is one: ["test", "country:MX"]."""
    parts = result.get("slice") or {}
    return [result["set"], *(f"{key}:{value}" for key, value in sorted(parts.items()))]


def _with_bounds(name: str, value: Any, bounds: Any) -> dict[str, float]:
    named = {"": value}
    if bounds:
        named |= {".low": bounds[0], ".high": bounds[1]}
    return {safe_name(name + end): float(figure) for end, figure in named.items() if is_number(figure)}


def is_number(value: Any) -> bool:
    """Whether a value can be drawn: a finite number, not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def versions() -> dict[str, str]:
    """The versions of the packages that decide a result, as `package.NAME`."""
    found = {}
    for name in PACKAGES:
        try:
            found[f"package.{name}"] = version(name)
        except PackageNotFoundError:
            continue
    return found
