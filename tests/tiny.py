"""The tiny Llama 3 in real runs: recipes by overrides, stages through the real workflow."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from afina.models.base import find_base
from afina.models.tokenizer import Tokens
from afina.recipe import Recipe
from afina.recipe_file import parse_recipe
from afina.runs.folder import Run, open_run
from afina.workflow import Workflow
from tests.conftest import colour_rows, write_jsonl

# What takes time, or the machine's own choice, is the same in no two runs.
OWN = ("seconds", "tokens_per_second", "peak_memory_bytes")


class Tiny:
    """A folder with rows, and the runs made from them on the tiny Llama 3.

    The tokenizer of 128,256 tokens takes seconds to read, so that every workflow is given the same one.
    """

    def __init__(
        self, folder: Path, base: Path, tokens: Tokens, rows: list[dict[str, Any]] | None = None
    ) -> None:
        self.folder, self.tokens, self.model = folder, tokens, base
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = write_jsonl(folder / "rows.jsonl", colour_rows() if rows is None else rows)
        self.runs = folder / "runs"
        self.base = find_base(str(base), None)

    def text(self) -> str:
        """The recipe that all begin from: fp32, eight rows a step, two epochs."""
        return (
            f"name: tiny\nbase: '{self.model}'\n"
            f"data: {{train: '{self.rows}', near_duplicate: null, max_length: 64}}\n"
            "adapter: {rank: 4, alpha: 8}\n"
            "train: {epochs: 2, precision: fp32, learning_rate: 0.003, batch_rows: 8, samples: 0}\n"
        )

    def recipe(self, *overrides: str) -> Recipe:
        """That recipe with settings changed."""
        return parse_recipe(self.text(), "tiny.yaml", list(overrides))

    def workflow(self, *overrides: str, runs: str | None = None) -> Workflow:
        """The stages of the run of that recipe."""
        recipe = self.recipe(*overrides)
        flow = Workflow(open_run(recipe, str(self.folder / runs) if runs else str(self.runs)), recipe)
        if recipe.base.model == str(self.model):
            flow.__dict__.update(base=self.base, tokens=self.tokens)
        return flow

    def run(self, *overrides: str, stage: str = "train", runs: str | None = None) -> Run:
        """The run after one of its stages."""
        flow = self.workflow(*overrides, runs=runs)
        flow.run.lock()
        try:
            flow.do(stage)
            flow.finish()
        finally:
            flow.run.unlock()
        return flow.run


def value(run: Run, name: str) -> Any:
    """What one of a run's JSON files holds."""
    return json.loads(run.path(name).read_text(encoding="utf-8"))


def adapter_hash(run: Run) -> str:
    """SHA-256 of the trained adapter (or the whole model) and, where there is one, the head."""
    digest = hashlib.sha256()
    for name in ("adapter/adapter_model.safetensors", "model/model.safetensors", "head.safetensors"):
        path = run.path("release") / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def metrics(run: Run) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [
        json.loads(line) for line in run.path("metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [{name: entry for name, entry in line.items() if name not in OWN} for line in lines]


def losses(run: Run, split: str) -> list[float]:
    """The losses of one split, in order."""
    return [line["loss"] for line in metrics(run) if line["split"] == split]
