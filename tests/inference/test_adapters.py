"""Weights of a release's adapters: what each adds is multiplied by its weight."""

from __future__ import annotations

import pytest
import torch

from afina.errors import AfinaError
from afina.inference.adapters import load_adapters
from afina.models.load import attach_adapter, load_model
from afina.recipe import Adapter

IDS = torch.tensor([[128000, 9906, 1917, 11, 420, 374]])


@pytest.fixture(scope="module")
def release(tmp_path_factory, llama3_folder):
    """Two LoRA adapters and a DoRA one with weights that do something."""
    folder = tmp_path_factory.mktemp("release")
    for name, kind in (("one", "lora"), ("two", "rslora"), ("dora", "dora")):
        tuned = attach_adapter(
            load_model(llama3_folder, "fp32"), Adapter(kind=kind, rank=2, alpha=4), "base", 7
        )
        torch.manual_seed(len(name) + ord(name[0]))
        for parameter_name, parameter in tuned.named_parameters():
            if "lora_" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.05)
        tuned.save_pretrained(str(folder / name), save_embedding_layers=False)
    return folder


def logits(llama3_folder, release, *adapters: tuple[str, object]) -> torch.Tensor:
    model = load_model(llama3_folder, "fp32")
    entries = [{"path": path, "weight": weight} for path, weight in adapters]
    with torch.no_grad():
        return load_adapters(model, release, entries)(IDS).logits


def test_one_is_as_trained_and_zero_is_the_base(llama3_folder, release) -> None:
    base = logits(llama3_folder, release)
    whole, none = (logits(llama3_folder, release, ("one", weight)) for weight in (1, 0))
    assert torch.equal(none, base)
    assert (whole - base).abs().max() > 0.01
    half = logits(llama3_folder, release, ("one", 0.5))
    assert 0.1 < (half - base).norm() / (whole - base).norm() < 0.9


def test_weights_add_up(llama3_folder, release) -> None:
    """A quarter and three quarters of an adapter are the adapter; one of weight 0 adds nothing."""
    whole = logits(llama3_folder, release, ("one", 1.0))
    parts = logits(llama3_folder, release, ("one", 0.25), ("one", 0.75))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
    beside = logits(llama3_folder, release, ("one", 1.0), ("two", 0.0))
    torch.testing.assert_close(beside, whole, rtol=0, atol=1e-5)
    both = logits(llama3_folder, release, ("one", 1.0), ("two", 1.0))
    assert (both - whole).abs().max() > 0.01


@pytest.mark.parametrize("weight", ["1", None, float("nan"), True])
def test_a_weight_that_is_no_number_is_refused(llama3_folder, release, weight) -> None:
    with pytest.raises(AfinaError, match="must be a number") as caught:
        logits(llama3_folder, release, ("one", weight))
    assert caught.value.where == str(release / "inference.json")


def test_dora_is_whole_or_refused(llama3_folder, release) -> None:
    logits(llama3_folder, release, ("dora", 1.0))
    with pytest.raises(AfinaError, match="DoRA"):
        logits(llama3_folder, release, ("dora", 0.5))
