"""Every way of training, on a tiny random Llama 3: grouped heads, rope scaling, its real tokenizer.

Each takes a few steps in a real run: the loss falls, a run that was stopped ends with the same bits as
one that was not, and what it leaves is what the engine loads and asks.
"""

from __future__ import annotations

import importlib.util
import math
import os
import signal

import numpy as np
import pytest

import afina.inference.engine as engine_module
from afina.errors import Stopped
from afina.inference.engine import Engine
from afina.training import tune
from afina.training.loop import Trainer
from tests.tiny import Tiny, adapter_hash, losses, metrics, value

COLOURS = ["red", "blue", "green", "black", "white"]
ROWS = {
    "classify": None,
    "generate": [
        {"prompt": f"Which colour has box {n}? It is {COLOURS[n % 5]}.", "response": COLOURS[n % 5]}
        for n in range(40)
    ],
    "text": [{"text": f"Box {n} is {COLOURS[n % 5]}, and so is its lid."} for n in range(40)],
}
TASKS = {
    "pooled": (
        "classify",
        "task.head=pooled",
        "train.head_strength=0.001",
        "train.learning_rate=0.0005",
    ),
    "tokens": ("classify", "task.head=tokens", "train.learning_rate=0.01"),
    "generate": ("generate", "task.kind=generate", "train.learning_rate=0.01"),
    "text": ("text", "task.kind=text", "train.learning_rate=0.01"),
}
LORA = "adapter={rank: 4, alpha: 8, kind: KIND}"
# Each path: the task, then what is set.
PATHS = {
    "lora pooled": ("pooled", LORA.replace("KIND", "lora")),
    "lora tokens": ("tokens", LORA.replace("KIND", "lora")),
    "lora generate bf16": ("generate", LORA.replace("KIND", "lora"), "train.precision=bf16"),
    "lora text checkpointed": (
        "text",
        LORA.replace("KIND", "lora"),
        "train.checkpoint_activations=true",
    ),
    "rslora pooled": ("pooled", LORA.replace("KIND", "rslora")),
    "rslora text bf16": ("text", LORA.replace("KIND", "rslora"), "train.precision=bf16"),
    "dora pooled": ("pooled", LORA.replace("KIND", "dora")),
    "dora generate checkpointed": (
        "generate",
        LORA.replace("KIND", "dora"),
        "train.checkpoint_activations=true",
    ),
    "full pooled": ("pooled", "adapter={kind: full}"),
    "full tokens bf16": ("tokens", "adapter={kind: full}", "train.precision=bf16"),
    "full text checkpointed": ("text", "adapter={kind: full}", "train.checkpoint_activations=true"),
    "lora neftune": ("generate", LORA.replace("KIND", "lora"), "train.neftune_alpha=5.0"),
    "4 bits pooled": (
        "pooled",
        LORA.replace("KIND", "lora"),
        "base.bits=4",
        "train.head_learning_rate=0.01",
    ),
    "4 bits generate bf16 checkpointed": (
        "generate",
        LORA.replace("KIND", "lora"),
        "base.bits=4",
        "train.precision=bf16",
        "train.checkpoint_activations=true",
    ),
    "4 bits dora tokens": ("tokens", LORA.replace("KIND", "dora"), "base.bits=4"),
    "8 bits text": ("text", LORA.replace("KIND", "lora"), "base.bits=8"),
    "8 bits rslora pooled": ("pooled", LORA.replace("KIND", "rslora"), "base.bits=8"),
    "adamw of 8 bits": ("text", LORA.replace("KIND", "lora"), "train.optimizer=adamw_8bit"),
}
ALWAYS = (
    "train.batch_rows=20",
    "train.patience=null",
    "train.schedule=constant",
    "train.warmup_ratio=0",
    "train.epochs=1",
    "train.evaluations_per_epoch=1",
)


@pytest.fixture(scope="module")
def places(tmp_path_factory, llama3_folder, wide_llama3, llama3) -> dict[tuple[str, bool], Tiny]:
    """By kind of rows, and whether the base is the wide one."""
    folder = tmp_path_factory.mktemp("paths")
    bases = {False: llama3_folder, True: wide_llama3}
    return {
        (name, wide): Tiny(folder / f"{name}{wide}", base, llama3, rows)
        for name, rows in ROWS.items()
        for wide, base in bases.items()
    }


class StoppedAfterOne(Trainer):
    """The real trainer; after its first step a signal comes."""

    def _step(self, stop):
        super()._step(stop)
        if self.progress.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_training(places, path, monkeypatch, llama3):
    task, *settings = PATHS[path]
    if "bits" in path and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    monkeypatch.setattr(engine_module, "load_tokens", lambda *_given: llama3)
    kind, *chosen = TASKS[task]
    if "full" in path:  # all weights move: a smaller step is enough
        chosen[-1] = f"train.learning_rate={0.0001 if task == 'pooled' else 0.0005}"
    place, given = places[kind, "4 bits" in path], [*ALWAYS, *chosen, *settings]
    run = place.run(*given, runs="whole")

    course = losses(run, "validation")
    assert len(losses(run, "train")) in (2, 3)
    assert all(math.isfinite(loss) for loss in course)
    assert min(course[1:]) < course[0]

    monkeypatch.setattr(tune, "Trainer", StoppedAfterOne)
    with pytest.raises(Stopped):
        place.run(*given, runs="stopped")
    monkeypatch.setattr(tune, "Trainer", Trainer)
    again = place.run(*given, runs="stopped")
    assert metrics(again) == metrics(run)
    assert adapter_hash(again) == adapter_hash(run)

    held = value(run, "train.json")["held_memory"]
    assert held["gradient_bytes"] > 0
    assert held["optimizer_bytes"] > 0
    model = Engine(run.path("release"))
    if kind == "classify":
        probabilities = model.classify(["Lot 1: the iron and the zinc", "Lot 2: the mango"])
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
