"""The pooled head in training: where it starts, and that it moves at its own rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from afina.recipe import Recipe
from afina.training.optimizer import make_optimizer
from tests.tiny import Tiny, value


@pytest.fixture(scope="module")
def place(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("head"), llama3_folder, llama3)


SHORT = ("train.epochs=0.2", "train.learning_rate=0.0005")


@pytest.fixture(scope="module")
def kept(place):
    """Training from a strongly penalised head that is not trained."""
    return place.run("train.head_strength=0.002", "train.head_learning_rate=0", *SHORT)


def test_at_rate_zero_the_released_head_is_the_one_it_started_from(kept):
    start, released = (
        load_file(kept.path(name)) for name in ("probe/start.safetensors", "release/head.safetensors")
    )
    assert all(np.array_equal(start[name], released[name]) for name in start)
    assert value(kept, "train.json")["start_strength"] == 0.002


def test_it_starts_from_the_wanted_penalty_and_the_probe_keeps_its_own(place, kept):
    from afina.data.chat import encode_row
    from afina.data.table import read_rows
    from afina.inference.pooled import features_of
    from afina.models.load import load_model

    rows = read_rows(kept.path("data/train.parquet"))
    encoded = [encode_row(place.tokens, kept.recipe(), ["fruit", "metal"], row)[0] for row in rows]
    features = features_of(load_model(place.model, "fp32"), encoded, place.tokens.pad, 2048)
    start = load_file(kept.path("probe/start.safetensors"))
    standard = (features - start["mean"]) / start["scale"]
    truth = np.array([row.label == "metal" for row in rows])
    reference = LogisticRegression(C=0.002, max_iter=2000).fit(standard, truth)
    np.testing.assert_allclose(2 * start["weight"][1], reference.coef_[0], rtol=1e-3, atol=1e-6)
    probe = load_file(kept.path("probe/head.safetensors"))
    assert value(kept, "train.json")["probe_strength"] != 0.002
    assert np.linalg.norm(probe["weight"]) != pytest.approx(np.linalg.norm(start["weight"]), rel=0.1)


def test_auto_starts_from_the_probe(place):
    run = place.run(*SHORT)
    start, probe = (load_file(run.path(f"probe/{name}.safetensors")) for name in ("start", "head"))
    assert all(np.array_equal(start[name], probe[name]) for name in start)
    trained = value(run, "train.json")
    assert trained["start_strength"] == trained["probe_strength"]


def test_the_first_step_moves_every_weight_by_its_own_rate():
    """AdamW's first step is the rate times the gradient's sign (Kingma & Ba 2015)."""
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "data": {"train": "rows.jsonl"},
            "train": {"learning_rate": 1e-3, "head_learning_rate": 1e-5, "weight_decay": 0},
        }
    )
    weights = {name: torch.ones(2, 3, requires_grad=True) for name in ("adapter.a", "head.weight")} | {
        "head.bias": torch.ones(2, requires_grad=True)
    }
    optimizer, names = make_optimizer(weights, {"head.weight", "head.bias"}, recipe)
    assert names == ["adapter.a", "head.weight", "head.bias"]
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * group["share"]
    sum((weight * weight).sum() for weight in weights.values()).backward()
    optimizer.step()
    moved = {name: float((1 - weight).abs().max().detach()) for name, weight in weights.items()}
    assert moved["adapter.a"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["head.weight"] == pytest.approx(1e-5, rel=1e-2)
    assert moved["head.bias"] == pytest.approx(1e-5, rel=1e-2)


def test_only_the_adapters_matrices_decay():
    recipe = Recipe.model_validate(
        {"name": "r", "data": {"train": "rows.jsonl"}, "train": {"weight_decay": 0.3}}
    )
    weights = {
        "matrix": torch.ones(2, 2, requires_grad=True),
        "vector": torch.ones(2, requires_grad=True),
        "head.weight": torch.ones(2, 2, requires_grad=True),
    }
    optimizer, names = make_optimizer(weights, {"head.weight"}, recipe)
    decays = [group["weight_decay"] for group in optimizer.param_groups for _weight in group["params"]]
    assert dict(zip(names, decays, strict=True)) == {"matrix": 0.3, "vector": 0.0, "head.weight": 0.0}
