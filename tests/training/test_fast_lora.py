"""The fast LoRA layer against peft's own, and against its formula written down plainly."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from afina.models.dropout import DropoutMasks
from afina.models.fast_lora import FastLoraLinear
from afina.models.load import attach_adapter, checkpoint_activations
from afina.recipe import Adapter
from tests.conftest import tiny_config

WORDS = 97


def base_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config(WORDS))
    model.requires_grad_(False)
    return model.eval()


def pair(kind: str = "lora", dropout: float = 0.0):
    """The same model and adapter twice: with the fast layers, and with peft's own."""
    adapter = Adapter(kind=kind, rank=4, alpha=8, dropout=dropout)
    fast = attach_adapter(base_model(), adapter, "a/base", 1)
    config = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", use_dora=kind == "dora",
        use_rslora=kind == "rslora", task_type="CAUSAL_LM",
    )  # fmt: skip
    plain = get_peft_model(base_model(), config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in fast.named_parameters():
            if "lora_B" in name:  # zero at the start, which would hide every error in A
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        plain.load_state_dict(fast.state_dict())
    return fast, plain


def ids() -> torch.Tensor:
    return torch.randint(0, WORDS, (3, 11), generator=torch.Generator().manual_seed(3))


def outputs_and_gradients(model):
    """Logits, and the gradients of a fixed weighting of them by adapter tensor and by input."""
    embedded = model.get_input_embeddings()(ids()).detach().requires_grad_(True)
    logits = model(inputs_embeds=embedded).logits
    weighting = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    (logits * weighting).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return logits.detach(), {**found, "input": embedded.grad}


def layer_of(model, name: str) -> FastLoraLinear:
    return next(module for path, module in model.named_modules() if path.endswith(name))


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_without_dropout_outputs_and_gradients_are_pefts(kind):
    fast, plain = pair(kind)
    fast.train()
    plain.train()
    fast_logits, fast_gradients = outputs_and_gradients(fast)
    logits, gradients = outputs_and_gradients(plain)
    assert fast_gradients.keys() == gradients.keys()
    assert len(gradients) == 7 * 2 * (3 if kind == "dora" else 2) + 1
    torch.testing.assert_close(fast_logits, logits, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        largest = float(gradient.abs().max())
        torch.testing.assert_close(
            fast_gradients[name], gradient, rtol=1e-5, atol=1e-5 * max(1.0, largest), msg=name
        )


def test_evaluation_is_pefts_whatever_the_dropout():
    fast, plain = pair(dropout=0.5)
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(ids()).logits, plain.eval()(ids()).logits)


@pytest.mark.parametrize("kind", ["lora", "rslora"])
def test_with_dropout_forward_and_gradients_are_those_of_the_formula(kind):
    fast, _plain = pair(kind, dropout=0.3)
    fast.train()
    layer = layer_of(fast, "layers.1.mlp.down_proj")
    weight = layer.base_layer.weight
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(5), requires_grad=True)
    masks = fast.dropout_masks
    masks.at(7, 2)
    result = layer(x)
    weighting = torch.randn(result.shape, generator=torch.Generator().manual_seed(6))
    found = torch.autograd.grad((result * weighting).sum(), (x, a, b))

    masks.at(7, 2)
    _dropped, mask = masks.drop(layer.mask_key, x)
    scale = 8 / math.sqrt(4) if kind == "rslora" else 8 / 4
    expected = x @ weight.T + scale / 0.7 * ((x * mask) @ a.T) @ b.T
    wanted = torch.autograd.grad((expected * weighting).sum(), (x, a, b))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_bf16_base_stays_near_the_same_formula_in_fp32():
    fast, _plain = pair(dropout=0.3)
    layer = layer_of(fast.train(), "layers.0.mlp.up_proj")
    layer.base_layer.to(torch.bfloat16)
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(5)).bfloat16().requires_grad_(True)
    fast.dropout_masks.at(0, 0)
    result = layer(x)
    fast.dropout_masks.at(0, 0)
    mask = fast.dropout_masks.drop(layer.mask_key, x)[1]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = x.float() @ layer.base_layer.weight.float().T + 2 / 0.7 * ((x.float() * mask) @ a.T) @ b.T
    assert result.dtype == torch.bfloat16
    assert a.dtype == b.dtype == torch.float32
    torch.testing.assert_close(result.float(), expected, rtol=0.02, atol=0.02)
    (grad_a,) = torch.autograd.grad(result.float().sum(), a)
    assert grad_a.dtype == torch.float32


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_the_dropped_share_is_the_rate(rate):
    count = 200_000
    dropped, mask = DropoutMasks(rate, 13).drop("layer", torch.ones(count))
    share = 1 - mask.float().mean().item()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / count) + 1 / 65536
    assert torch.equal(dropped, mask.float())


def test_a_mask_depends_on_seed_step_micro_batch_and_layer_and_on_nothing_else():
    def mask(seed=1, step=2, micro=3, key="a") -> torch.Tensor:
        masks = DropoutMasks(0.5, seed)
        masks.at(step, micro)
        torch.rand(5)  # the global generator has no say
        return masks.drop(key, torch.ones(4, 64))[1]

    first = mask()
    assert torch.equal(first, mask())
    for other in (mask(seed=9), mask(step=9), mask(micro=9), mask(key="b")):
        assert not torch.equal(first, other)


def test_layers_that_read_the_same_input_share_a_mask():
    fast, _plain = pair(dropout=0.5)
    keys = {
        path: module.mask_key
        for path, module in fast.named_modules()
        if isinstance(module, FastLoraLinear)
    }
    by_name = {path.partition("layers.")[2]: key for path, key in keys.items()}
    assert (
        by_name["0.self_attn.q_proj"] == by_name["0.self_attn.k_proj"] == by_name["0.self_attn.v_proj"]
    )
    assert by_name["0.mlp.gate_proj"] == by_name["0.mlp.up_proj"]
    # Each layer: q, k, v together; o; gate and up together; down.
    assert len(set(keys.values())) == 4 * 2
    x = torch.randn(2, 5, 32)
    fast.dropout_masks.at(0, 0)
    q = fast.dropout_masks.drop(by_name["0.self_attn.q_proj"], x)
    v = fast.dropout_masks.drop(by_name["0.self_attn.v_proj"], x)
    assert q[1] is v[1]


def test_another_tensor_in_the_place_of_a_freed_one_is_not_taken_for_it():
    masks = DropoutMasks(0.5, 1)
    for number in range(1, 50):
        x = torch.full((4, 8), float(number))
        dropped, mask = masks.drop("layer", x)
        assert torch.equal(dropped, x * mask)
        del x, dropped, mask


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_computing_activations_again_gives_the_same_gradients(kind):
    found = []
    for checkpointed in (False, True):
        fast, _plain = pair(kind, dropout=0.4)
        if checkpointed:
            checkpoint_activations(fast)
        fast.train()
        fast.dropout_masks.at(4, 1)
        torch.manual_seed(8)
        fast(ids(), use_cache=False).logits.square().sum().backward()
        found.append({name: p.grad.clone() for name, p in fast.named_parameters() if p.requires_grad})
    for name, gradient in found[0].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-6, atol=1e-7, msg=name)


def test_a_switched_off_adapter_is_the_base():
    fast, _plain = pair(dropout=0.5)
    expected = base_model()(ids()).logits
    fast.train()
    with torch.no_grad(), fast.disable_adapter():
        torch.testing.assert_close(fast(ids()).logits, expected)
