"""release/inference.json: all that is needed to ask the model and to read its answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.language import _
from afina.runs.files import read_json, write_json

INFERENCE_SCHEMA = "afina/inference/1"
# Entries that files of earlier versions do not have.
ADDED = {"generation", "weights", "personal", "names"}


@dataclass(frozen=True)
class InferenceSettings:
    """How a released model is asked.

    Attributes:
        base: {id, revision, sha256, model}: `model` is what the recipe says, `id` what others load.
        adapters: [{path, weight}], relative to the release; what each adds is multiplied by its weight.
        kind: classify, generate or text.
        head: {"kind": pooled, "path": …}, {"kind": tokens}, or None.
        template: the chat template; date: the frozen date given to it.
        labels: in the order of the probabilities; positive: the one that an alarm is about.
        instruction: the question asked about a text, or the system message of a generating model.
        threshold: probability of `positive` from which it is said (two labels only).
        temperature: the label logits are divided by it.
        max_length: tokens read.
        generation: {max_new_tokens, temperature, eos_token_ids, pad_token_id}.
        precision: number format of the base, for equal results.
        bits: 16, 8 or 4.
        weights: the folder with the whole model, relative to the release, where all weights were
            trained or an adapter was merged; None when adapters belong on the base.
        personal: mask when placeholders stand for personal data in every text that is asked about, as
            in training; keep when texts are read as they are.
        names: the spaCy model that finds the names that are masked too; None when they stay.
    """

    base: dict[str, Any]
    adapters: list[dict[str, Any]]
    kind: str
    head: dict[str, Any] | None
    template: str
    date: str
    labels: list[str]
    positive: str | None
    instruction: str | None
    threshold: float
    temperature: float
    max_length: int
    precision: str
    bits: int
    generation: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    personal: str = "keep"
    names: str | None = None


def write_settings(path: Path, settings: InferenceSettings) -> None:
    """Writes inference.json."""
    write_json(path, {"schema": INFERENCE_SCHEMA, **asdict(settings)})


def read_settings(path: Path) -> InferenceSettings:
    """Reads inference.json. Raises AfinaError for one of another version or with other keys."""
    value = read_json(path)
    schema = value.pop("schema", None) if isinstance(value, dict) else None
    if schema != INFERENCE_SCHEMA:
        raise AfinaError(
            _("this release is of another version ({schema})").format(schema=schema),
            where=str(path),
            fix=_("use the version of Afina that made it"),
        )
    known = {item.name for item in fields(InferenceSettings)}
    wrong = sorted((known - ADDED - set(value)) | (set(value) - known))
    if wrong:
        raise AfinaError(
            _("this file has missing or unknown keys: {keys}").format(keys=", ".join(wrong)),
            where=str(path),
            fix=_("use the version of Afina that made it"),
        )
    return InferenceSettings(**value)
