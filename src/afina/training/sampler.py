"""A few sampled answers at each validation, so that a person can read what the model has become."""

from __future__ import annotations

from typing import Any

from afina.data.chat import last_exchange
from afina.data.roles import Row
from afina.inference.generate import answer, continue_text, generation_settings
from afina.language import _
from afina.models.tokenizer import Tokens
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run


class Sampler:
    """Keeps a few answers to validation prompts at each validation, in samples.json."""

    def __init__(self, run: Run, tokens: Tokens, rows: list[Row]) -> None:
        self._run, self._tokens, self._rows = run, tokens, rows
        self._path = run.path("samples.json")
        self._settings = generation_settings(tokens, max_new_tokens=48)

    def __call__(self, model: Any, step: int) -> None:
        kept = read_json(self._path) if self._path.exists() else []
        kept = [sample for sample in kept if sample["step"] < step]
        for row in self._rows:
            if row.messages:
                asked, _wanted = last_exchange(row)
                said = answer(model, self._tokens, asked, self._settings)
                prompt = asked[-1]["content"]
            else:
                prompt = row.text[:200]
                said = continue_text(model, self._tokens, prompt, self._settings)
            kept.append({"step": step, "prompt": prompt, "answer": said})
            self._run.say(_("  sample: {answer}").format(answer=" ".join(said.split())[:100]))
        write_json(self._path, kept)
