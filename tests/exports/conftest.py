"""Small trained runs that several exports are made of."""

from __future__ import annotations

import pytest

from tests.conftest import colour_rows
from tests.exports.small_llama import save_small
from tests.tiny import Tiny

_COMMON = (
    "data.split={train: 0.5, validation: 0.25, test: 0.25}", "train.epochs=1", "train.batch_rows=32",
    "train.patience=null", "adapter={rank: 4, alpha: 8}",
)  # fmt: skip
RUNS = {
    "pooled": ("train.learning_rate=0.0005",),
    "tokens": ("train.learning_rate=0.01", "task.head=tokens", "data.max_length=192"),
    "writes": (
        "train.learning_rate=0.01", "task={kind: generate, instruction: Name what came.}",
        "data.max_length=192",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run by its name in RUNS, trained when it is first asked for; 120 rows to compare on."""
    from afina.models.tokenizer import load_tokens

    folder = tmp_path_factory.mktemp("small")
    base = save_small(folder / "base")
    rows = colour_rows(240)
    talks = [{"prompt": row["text"], "response": row["label"]} for row in rows]
    tokens = load_tokens(base)
    known = {}

    def run(name: str):
        if name not in known:
            given = talks if name == "writes" else rows
            tiny = Tiny(folder / name, base, tokens, given)
            known[name] = tiny.run(*_COMMON, *RUNS[name])
        return known[name]

    return run
