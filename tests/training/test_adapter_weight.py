"""How much of an adapter is released: the rule on known answers, and the adapter that comes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from afina.training.adapter_weight import least_good_weight, try_weights
from tests.conftest import colour_rows
from tests.models.test_fast_decoder import batch_of, model_of
from tests.tiny import Tiny, value


def logits(wrong: int, rows: int = 100):
    """Logits of two labels whose first `wrong` rows are wrong; the truth is label 0."""
    found = np.tile([1.0, 0.0], (rows, 1))
    found[:wrong] = [0.0, 1.0]
    return found


@pytest.mark.parametrize(
    ("wrong", "rows", "weight"),
    [
        ((1, 1, 1, 1), 100, 0.25),  # all the same: the least
        ((4, 1, 1, 0), 100, 0.25),  # four lost and none won: mid-p 1/16
        ((5, 1, 1, 0), 100, 0.5),  # five lost and none won: mid-p 1/32
        ((20, 15, 10, 2), 100, 1.0),
        ((20, 1, 10, 12), 100, 0.5),  # the best is not all of it
        ((3, 2, 1, 0), 20, 0.75),  # not shown to be worse, but by more than 5 points
        ((12, 6, 0, 0), 1000, 0.75),  # 0.6 points, but shown
    ],
)
def test_the_least_weight_that_is_not_shown_to_be_worse_is_taken(wrong, rows, weight):
    given = {w: logits(n, rows) for w, n in zip((0.25, 0.5, 0.75, 1.0), wrong, strict=True)}
    assert least_good_weight(given, np.zeros(rows, dtype=int)) == weight


def test_each_weight_is_tried_and_all_of_the_adapter_is_left_in_place():
    from afina.inference.states import mean_states

    model = model_of().eval()
    batch = batch_of([9, 12])
    with torch.no_grad():
        whole = mean_states(model, batch)
        found = try_weights(model, lambda: mean_states(model, batch).numpy())
        assert torch.equal(mean_states(model, batch), whole)
        for module in model.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] *= 0.5
        from afina.models.load import take_fast_way

        take_fast_way(model)
        half = mean_states(model, batch)
    np.testing.assert_allclose(found[1.0], whole, rtol=1e-6)
    np.testing.assert_allclose(found[0.5], half, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found[0.25], found[0.5])


def test_an_adapter_that_never_helped_is_not_tried(tmp_path, llama3_folder, llama3):
    """At far too high a rate the best step is the one before training."""
    said = []
    tiny = Tiny(tmp_path, llama3_folder, llama3, colour_rows(260))
    flow = tiny.workflow("train.learning_rate=0.5", "train.max_grad_norm=1000.0", "train.patience=1")
    flow.run.say = said.append
    flow.do("train")
    kept = value(flow.run, "train.json")
    assert kept["best_step"] == 0
    assert kept["adapter_weight"] == 1.0
    assert kept["validation_accuracy_by_weight"] is None
    assert any("what is released is untrained" in line for line in said)


def test_the_released_adapter_is_the_share_itself(tmp_path, llama3_folder, llama3):
    tiny = Tiny(tmp_path, llama3_folder, llama3)
    more = ("train.patience=null", "train.epochs=1")
    runs = [
        tiny.run(*more, f"adapter.weight={weight}", runs=f"runs{weight}") for weight in ("1.0", "0.5")
    ]
    assert [value(run, "train.json")["adapter_weight"] for run in runs] == [1.0, 0.5]
    whole, half = (load_file(str(run.path("release/adapter/adapter_model.safetensors"))) for run in runs)
    for name, tensor in whole.items():
        factor = 0.5 if "lora_B" in name else 1.0
        torch.testing.assert_close(half[name], factor * tensor)
