"""fp32 copies of a bf16 model's weights, and NEFTune's noise: known answers."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaForCausalLM

from afina.models.full import follow, train_everything, trained_weights
from afina.models.noise import Draws, EmbeddingNoise
from tests.conftest import tiny_config


def model(dtype=torch.float32) -> LlamaForCausalLM:
    config = tiny_config(97)
    config.bos_token_id = config.eos_token_id = None
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(dtype)


def test_all_weights_are_trained_and_fp32_ones_are_themselves():
    whole = train_everything(model())
    weights = trained_weights(whole)
    assert sum(tensor.numel() for tensor in weights.values()) == whole.num_parameters()
    assert weights["model.embed_tokens.weight"] is whole.model.embed_tokens.weight
    assert "model.norm.weight" in weights


def test_copies_add_up_gradients_in_fp32_and_the_model_follows():
    whole = train_everything(model(torch.bfloat16))
    weights = trained_weights(whole)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    scale = whole.model.norm.weight  # ones at the start
    for part in (1.0, 2.0**-9):  # in bf16, 1 + 2⁻⁹ is 1
        (scale.sum() * part).backward()
    assert scale.grad is None
    torch.testing.assert_close(weights["model.norm.weight"].grad, torch.full((32,), 1 + 2.0**-9))
    optimizer = torch.optim.SGD(weights.values(), lr=2.0**-10)
    optimizer.register_step_post_hook(lambda *_given: follow(whole))
    for _step in range(8):
        optimizer.step()
    # One step of 2⁻¹⁰ alone would be rounded away; eight of them are seen.
    copy = weights["model.norm.weight"]
    torch.testing.assert_close(copy.detach(), torch.full((32,), 1 - 8 * 2.0**-10 * (1 + 2.0**-9)))
    assert torch.equal(scale.detach(), copy.detach().bfloat16())
    assert float(scale.detach()[0]) < 1


def noise_of(alpha: float = 5.0, seed: int = 1, step: int = 2, micro: int = 3) -> torch.Tensor:
    noise = EmbeddingNoise(alpha, seed, pad=0)
    Draws(noise).at(step, micro)
    ids = torch.ones(3, 64, dtype=torch.long)
    ids[1, 16:] = 0  # padding: this row has 16 tokens
    torch.rand(5)  # the global generator has no say
    return noise.draw(ids, torch.zeros(3, 64, 128))


def test_the_norm_of_the_noise_is_that_of_the_paper():
    found = noise_of(alpha=5.0)
    for row, length in ((0, 64), (1, 16), (2, 64)):
        largest = 5.0 / math.sqrt(length * 128)
        assert float(found[row].abs().max()) <= largest
        norm = float(found[row, :length].norm())  # uniform: the root of a third of the largest's square
        assert norm == pytest.approx(5.0 / math.sqrt(3), rel=0.03)
        assert abs(float(found[row].mean())) < largest * 0.03


def test_the_noise_depends_on_seed_step_and_micro_batch_and_on_nothing_else():
    first = noise_of()
    assert torch.equal(first, noise_of())
    for other in (noise_of(seed=9), noise_of(step=9), noise_of(micro=9)):
        assert not torch.equal(first, other)
    torch.testing.assert_close(noise_of(alpha=10.0), 2 * first)


def test_there_is_noise_in_training_and_none_in_evaluation():
    noisy, ids = model().requires_grad_(False), torch.arange(1, 25).view(2, 12)
    plain = noisy.eval()(ids).logits
    noise = EmbeddingNoise(5.0, 1, pad=0)
    noise.attach(noisy)
    noise.at(0, 0)
    assert torch.equal(noisy.eval()(ids).logits, plain)
    trained = noisy.train()(ids).logits
    assert float((trained - plain).abs().max()) > 1e-3
    assert torch.equal(noisy.train()(ids).logits, trained)
    noise.at(1, 0)
    assert not torch.equal(noisy.train()(ids).logits, trained)
