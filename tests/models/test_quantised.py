"""Training on a 4-bit or 8-bit base: the same as on the base that its numbers stand for."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from afina.errors import BaseModelError
from afina.models.load import attach_adapter, checkpoint_activations, load_model
from afina.recipe import Adapter
from tests.conftest import tiny_config

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
WORDS = 97


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    """A narrow base, whose rows are shorter than a block of 64, and a wide one."""
    found = {}
    for hidden in (32, 128):
        config = tiny_config(WORDS)
        config.bos_token_id = config.eos_token_id = None
        config.hidden_size, config.intermediate_size, config.head_dim = hidden, 2 * hidden, hidden // 4
        torch.manual_seed(0)
        found[hidden] = tmp_path_factory.mktemp(f"wide{hidden}")
        LlamaForCausalLM(config).save_pretrained(found[hidden])
    return found


def plain_twin(folder: Path, precision: str, quantised) -> LlamaForCausalLM:
    """The same base unquantised, with the numbers that the quantised layers stand for."""
    from afina.models.quantised import dequantised, quantised_layers

    model = load_model(folder, precision)
    layers = quantised_layers(quantised)
    assert len(layers) == 2 * 7  # every linear layer, and not the output head
    with torch.no_grad():
        for name, layer in layers.items():
            weight = model.get_submodule(name).weight
            weight.copy_(dequantised(layer, weight.dtype))
    return model


def with_adapter(model, kind: str = "lora"):
    tuned = attach_adapter(model, Adapter(kind=kind, rank=4, alpha=8, dropout=0.0), "a/base", 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:  # zero at the start, which would hide every error in A
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return tuned


def loss_and_gradients(model, ids: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    """Of the cross-entropy of words after each place."""
    model.train()
    model.zero_grad()
    goal = torch.randint(0, WORDS, ids.shape, generator=torch.Generator().manual_seed(5))
    logits = model(input_ids=ids, use_cache=False).logits.float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), goal.flatten())
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    return float(loss.detach()), found


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("hidden", [32, 128])
def test_loss_and_gradients_are_those_of_the_dequantised_base(
    folders, hidden, bits, precision, checkpointed
):
    if (bits, hidden) == (4, 32):
        with pytest.raises(BaseModelError, match=r"q_proj has 32 columns") as caught:
            load_model(folders[hidden], precision, bits)
        assert "base.bits to 8" in (caught.value.fix or "")
        return
    base = load_model(folders[hidden], precision, bits)
    twin = with_adapter(plain_twin(folders[hidden], precision, base))
    tuned = with_adapter(base)
    if checkpointed:
        checkpoint_activations(tuned)
    ids = torch.randint(0, WORDS, (3, 11), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():  # after an evaluation nothing may be different
        tuned.eval()(ids)
    tolerance = 1e-5 if precision == "fp32" else 0.03  # bf16 rounds to 1/256, several times
    for batch in (ids, ids[:1, :1]):  # bitsandbytes treats a single token apart
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "an autograd kernel was not registered"
            loss, gradients = loss_and_gradients(tuned, batch)
        wanted_loss, wanted = loss_and_gradients(twin, batch)
        assert loss == pytest.approx(wanted_loss, rel=tolerance)
        assert gradients.keys() == wanted.keys()
        largest = max(float(gradient.abs().max()) for gradient in wanted.values())
        for name, gradient in wanted.items():
            difference = float((gradients[name] - gradient).abs().max())
            assert difference <= tolerance * largest, name


@pytest.mark.parametrize("kind", ["rslora", "dora"])
@pytest.mark.parametrize("bits", [4, 8])
def test_other_adapters_on_a_quantised_base(folders, bits, kind):
    base = load_model(folders[128], "fp32", bits)
    twin = with_adapter(plain_twin(folders[128], "fp32", base), kind)
    ids = torch.randint(0, WORDS, (3, 11), generator=torch.Generator().manual_seed(3))
    loss, gradients = loss_and_gradients(with_adapter(base, kind), ids)
    wanted_loss, wanted = loss_and_gradients(twin, ids)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert float((gradients[name] - gradient).abs().max()) <= 1e-4 * largest, name


@pytest.mark.parametrize("bits", [4, 8])
def test_training_and_evaluation_compute_the_same(folders, bits):
    """The 8-bit layer of bitsandbytes would round activations in evaluation only."""
    tuned = with_adapter(load_model(folders[128], "fp32", bits))
    ids = torch.randint(0, WORDS, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(tuned.train()(ids).logits, tuned.eval()(ids).logits)


def test_the_numbers_are_near_the_weights(folders):
    """int8: half a step of 1/127 of the row's largest; NF4: half the widest gap of its code, and the
    scales' own rounding."""
    from afina.models.quantised import dequantised, quantised_layers

    exact = load_model(folders[128], "fp32")
    for bits in (4, 8):
        for name, layer in quantised_layers(load_model(folders[128], "fp32", bits)).items():
            weight = exact.get_submodule(name).weight
            found = dequantised(layer, torch.float32)
            assert found.shape == weight.shape
            if bits == 8:
                limit = weight.abs().amax(dim=1, keepdim=True) * (0.5 / 127) * 1.1
            else:
                blocks = weight.reshape(-1, 64).abs().amax(dim=1, keepdim=True)
                limit = (blocks * (0.304 / 2 + 0.02)).expand(-1, 64).reshape(weight.shape)
            assert ((found - weight).abs() <= limit).all(), (bits, name)
            assert not torch.equal(found, weight)
