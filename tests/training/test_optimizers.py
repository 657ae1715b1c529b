"""The optimizers beside torch's AdamW, and the memory that each holds."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from safetensors.torch import load, save

from afina.errors import AfinaError
from afina.recipe_file import parse_recipe
from afina.training.held_memory import HeldMemory
from afina.training.optimizer import make_optimizer
from afina.training.optimizer_state import put_back, tensors_of

TEXT = "name: a\ndata: {train: rows.jsonl}\n"
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


def weights() -> dict[str, torch.Tensor]:
    """One tensor large enough for 8 bits, one small, an embedding and a norm."""
    random = torch.Generator().manual_seed(1)
    shapes = {
        "q.lora_A.weight": (64, 128),
        "q.lora_B.weight": (8, 4),
        "model.embed_tokens.weight": (16, 8),
        "model.norm.weight": (8,),
    }
    return {
        name: torch.randn(shape, generator=random).requires_grad_(True) for name, shape in shapes.items()
    }


def made(kind: str, given: dict[str, torch.Tensor]):
    recipe = parse_recipe(TEXT, "a.yaml", [f"train.optimizer={kind}", "train.weight_decay=0.1"])
    return make_optimizer(given, set(), recipe)


def step(optimizer, given, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for tensor in given.values():
        tensor.grad = torch.randn(tensor.shape, generator=random)
    optimizer.step()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("kind", ["paged_adamw", "paged_adamw_8bit"])
def test_paged_ones_are_refused_without_a_gpu(kind):
    with pytest.raises(AfinaError, match=f"{kind} needs a GPU") as caught:
        made(kind, weights())
    assert "adamw_8bit" in (caught.value.fix or "")


@pytest.mark.parametrize("kind", ["adamw", pytest.param("adamw_8bit", marks=needs_bitsandbytes)])
def test_states_come_back_to_the_bit_without_pickle(kind):
    whole, parts = weights(), weights()
    one, names = made(kind, whole)
    for seed in range(4):
        step(one, whole, seed)
    other, _names = made(kind, parts)
    for seed in range(2):
        step(other, parts, seed)
    kept = load(save(tensors_of(other, names)))
    resumed = {name: tensor.detach().clone().requires_grad_(True) for name, tensor in parts.items()}
    again, _names = made(kind, resumed)
    put_back(again, names, kept)
    for seed in range(2, 4):
        step(again, resumed, seed)
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


@needs_bitsandbytes
def test_eight_bits_hold_a_quarter_and_step_nearly_alike():
    plain, small = weights(), weights()
    one, _names = made("adamw", plain)
    other, _names = made("adamw_8bit", small)
    held = {}
    for name, optimizer, given in (("adamw", one, plain), ("adamw_8bit", other, small)):
        held[name] = HeldMemory(optimizer)
        step(optimizer, given, 1)
    large = 64 * 128
    assert held["adamw"].gradients == held["adamw_8bit"].gradients
    assert held["adamw"].states >= 8 * large
    assert held["adamw_8bit"].states < 2.2 * large + 8 * 1000
    change = (plain["q.lora_A.weight"] - weights()["q.lora_A.weight"]).detach()
    error = (plain["q.lora_A.weight"] - small["q.lora_A.weight"]).detach()
    assert float(error.abs().mean()) < 0.1 * float(change.abs().mean())


def test_embeddings_norms_and_biases_do_not_decay():
    given = weights()
    optimizer, names = made("adamw", given)
    decay = {
        name: group["weight_decay"]
        for group in optimizer.param_groups
        for name in names
        if any(given[name] is parameter for parameter in group["params"])
    }
    assert decay == {
        "q.lora_A.weight": 0.1,
        "q.lora_B.weight": 0.1,
        "model.embed_tokens.weight": 0.0,
        "model.norm.weight": 0.0,
    }


def test_held_memory_against_training_all_weights():
    """SmolLM2-135M's sizes: rank 16 on every linear layer trains 3.6 % of its weights."""
    tensor = torch.zeros(1000, requires_grad=True)
    optimizer = torch.optim.AdamW([tensor])
    held = HeldMemory(optimizer)
    tensor.grad = torch.ones(1000)
    optimizer.step()
    optimizer.zero_grad()
    found = held.against_full(1000, 20_000)
    assert found["gradient_bytes"] == 4000
    assert found["optimizer_bytes"] == 8004  # two moments, and torch's counter
    assert found["full_bytes"] == pytest.approx(12 * 20_000, rel=0.01)
    assert found["saved"] == pytest.approx(0.95, abs=0.001)
