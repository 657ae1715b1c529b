"""README.md of an ONNX export."""

from __future__ import annotations

import yaml

from afina.inference.masking_note import masking_note
from afina.inference.settings import InferenceSettings
from afina.language import _
from afina.runs.folder import Run


def onnx_card(run: Run, settings: InferenceSettings) -> str:
    """A short model card in the Hub's form."""
    classifies = settings.kind == "classify"
    head = {
        "base_model": settings.base["id"],
        "library_name": "onnxruntime-genai",
        "pipeline_tag": "text-classification" if classifies else "text-generation",
        "tags": ["afina", "onnx"],
    }
    text = _(
        "Run `{run}` on `{base}`, made into ONNX by Afina; `agreement.json` says how near it is to the "
        "run's own model, `prompts.json` which token ids it reads."
    )
    how = _('Ask it, with nothing but onnxruntime-genai: `python edge.py "a text"`.')
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).strip(),
            "---",
            "",
            f"# {run.name}",
            "",
            text.format(run=run.title, base=settings.base["id"]),
            "",
            how,
            "",
            *masking_note(settings.personal, settings.names),
        ]
    )
