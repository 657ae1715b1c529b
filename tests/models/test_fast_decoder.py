"""The processor's own way through a Llama: equal to transformers and peft in values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from afina.data.batches import Batch
from afina.inference.states import mean_states, token_losses
from afina.models import load
from afina.models.dropout import DropoutMasks, zeroed
from afina.models.fast_decoder import covers
from afina.models.lora_product import LoraProduct
from afina.models.packed import common_prefix, pack, pack_trees
from afina.recipe import Adapter

WORDS = 211
ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500000.0,
}


def model_of(
    dtype=torch.float32, *, plain=False, dropout=0.0, targets="all-linear", monkeypatch=None, kind="lora"
):
    """A small Llama 3 (grouped queries, scaled rotation) with a trained-looking adapter."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=WORDS,
        rope_parameters=ROPE,
        attn_implementation="sdpa",
    )
    base = LlamaForCausalLM(config).to(dtype).eval()
    base.requires_grad_(False)
    if plain:
        monkeypatch.setattr("afina.models.fast_decoder.covers", lambda _decoder: False)
    adapter = Adapter(rank=4, alpha=8, dropout=dropout, targets=targets, kind=kind)
    tuned = load.attach_adapter(base, adapter, "a/base", 1)
    monkeypatch and monkeypatch.undo()
    generator = torch.Generator().manual_seed(5)
    for name, parameter in sorted(tuned.named_parameters()):
        if parameter.requires_grad and "magnitude" not in name:
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.1
            parameter.data = drawn.to(torch.float64 if dtype == torch.float64 else torch.float32)
    return tuned.train()


def batch_of(lengths, shared=0, trained=2) -> Batch:
    """Random right-padded rows: the first `shared` tokens equal, the last `trained` trained."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    where = torch.zeros(ids.shape, dtype=torch.bool)
    prefix = torch.randint(3, WORDS, (shared,), generator=generator)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, WORDS, (length,), generator=generator)
        ids[row, :shared] = prefix
        where[row, length - trained : length] = True
    return Batch(list(range(len(lengths))), ids, torch.tensor(lengths), where)


def losses_and_gradients(model, batch):
    losses, means = token_losses(model, batch), mean_states(model, batch)
    (losses.sum() + 0.01 * means.square().sum()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return losses.detach(), means.detach(), gradients


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["up_proj"], ["o_proj"]])
@pytest.mark.parametrize(
    ("lengths", "shared"), [([11, 29, 29, 40, 300], 0), ([40, 21, 21, 57], 9), ([7], 0), ([30, 30], 20)]
)
def test_losses_states_and_gradients_are_those_of_the_plain_way(targets, lengths, shared, monkeypatch):
    batch = batch_of(lengths, shared)
    fast, plain = (
        model_of(targets=targets),
        model_of(targets=targets, plain=True, monkeypatch=monkeypatch),
    )
    assert load.fast_decoder(fast) is not None
    assert load.fast_decoder(plain) is None
    found, wanted = losses_and_gradients(fast, batch), losses_and_gradients(plain, batch)
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-5, atol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in wanted[2].values())
    assert largest > 0
    for name, gradient in wanted[2].items():
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-5, atol=1e-5 * largest, msg=name)


def test_a_bf16_base_stays_near_fp32():
    batch = batch_of([12, 40, 41], 0)
    wanted, found = (
        losses_and_gradients(model_of(), batch),
        losses_and_gradients(model_of(torch.bfloat16), batch),
    )
    torch.testing.assert_close(found[0], wanted[0], rtol=0.03, atol=0.03)
    for name, gradient in wanted[2].items():
        assert found[2][name].dtype == torch.float32
        one, two = found[2][name].flatten(), gradient.flatten()
        assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.98, name


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("shared", [0, 12])
def test_packed_rows_do_not_see_each_other(dtype, most, shared):
    """Logits of a packed row, with and without a shared prefix, are those of the row alone."""
    model = model_of(dtype).eval()
    head = load.output_head(model)
    batch = batch_of([20, 33, 33, 290], shared)
    lengths = batch.lengths.tolist()
    fast = load.fast_decoder(model)
    with torch.no_grad():
        packed = pack(batch.ids, lengths, shared)
        together = head(fast.states(packed))
        for row, length in enumerate(lengths):
            alone = head(fast.states(pack(batch.ids[row : row + 1], [length])))
            start = packed.starts[row]
            own = together[start : start + length - shared]
            assert (own - alone[shared:]).abs().max() <= most * alone.abs().max()


def test_activations_computed_again_give_the_same_gradients():
    batch = batch_of([12, 40, 41], 0)
    gradients = []
    for again in (False, True):
        model = model_of(dropout=0.3)
        if again:
            load.checkpoint_activations(model)
        model.dropout_masks.at(4, 2)
        gradients.append(losses_and_gradients(model, batch)[2])
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


def test_dropout_is_there_in_training_only_and_depends_on_the_place():
    batch = batch_of([12, 40], 0)
    model = model_of(dropout=0.5)
    with torch.no_grad():
        model.dropout_masks.at(0, 0)
        one = token_losses(model, batch)
        model.dropout_masks.at(0, 0)
        again = token_losses(model, batch)
        model.dropout_masks.at(0, 1)
        other = token_losses(model, batch)
        quiet = token_losses(model.eval(), batch)
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, quiet)
    torch.testing.assert_close(quiet, token_losses(model_of().eval(), batch).detach())


def test_with_the_adapter_off_it_is_the_base():
    batch = batch_of([12, 40], 0)
    model = model_of().eval()
    with torch.no_grad():
        tuned = mean_states(model, batch)
        with load.adapter_off(model):
            base = mean_states(model, batch)
        ids = batch.ids[1:, :40]
        with model.disable_adapter():
            wanted = model.get_base_model().model(ids).last_hidden_state[0].mean(dim=0)
    assert not torch.allclose(tuned, base)
    torch.testing.assert_close(base[1], wanted, rtol=1e-5, atol=1e-5)


def test_continuations_see_their_prompt_and_themselves_only():
    """States and gradients of a tree are those of each prompt with one continuation, one by one."""
    prompts = [[5, 9, 17, 4], [8, 3, 3, 12, 60, 61, 7]]
    branches = [[[21, 22], [23], [24, 25, 26]], [[31], [32, 33]]]
    model = model_of(torch.float64)
    fast = load.fast_decoder(model)
    packed = pack_trees(prompts, branches)
    states = fast.states(packed)
    places = iter(zip(packed.starts, packed.lengths, strict=True))
    together = []
    for following in branches:
        next(places)
        for _branch in following:
            start, length = next(places)
            together.append(states[start : start + length])
    torch.cat(together).square().sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    alone = []
    for prompt, following in zip(prompts, branches, strict=True):
        for branch in following:
            ids = torch.tensor([prompt + branch])
            alone.append(fast.states(pack(ids, [ids.shape[1]]))[len(prompt) :])
    torch.cat(alone).square().sum().backward()
    torch.testing.assert_close(torch.cat(together), torch.cat(alone), rtol=1e-9, atol=1e-9)
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-9 * largest)


def test_row_norms_are_those_of_each_row_alone():
    """What private training clips by: the gradient norm of each row's own loss."""
    batch = batch_of([14, 31, 31, 50], 0)
    model = model_of()
    packed = pack(batch.ids, batch.lengths.tolist())
    packed.row_norms = torch.zeros(4)
    states = load.fast_decoder(model).states(packed)
    states.square().sum().backward()
    for row, length in enumerate(batch.lengths.tolist()):
        model.zero_grad()
        alone = load.fast_decoder(model).states(pack(batch.ids[row : row + 1], [length]))
        alone.square().sum().backward()
        wanted = sum(float(p.grad.square().sum()) for p in model.parameters() if p.requires_grad)
        assert float(packed.row_norms[row]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_product_is_its_formula(rate):
    """y = x W' + s/(1 - rate) · (x ∘ mask) A' B', stacked layers with and without an adapter."""
    layers = [
        module
        for name, module in model_of(targets=["q_proj", "v_proj"]).named_modules()
        if name.endswith(
            ("layers.1.self_attn.q_proj", "layers.1.self_attn.k_proj", "1.self_attn.v_proj")
        )
    ]
    product = LoraProduct(layers, "key")
    masks = DropoutMasks(rate, 7)
    masks.at(3, 1)
    x = torch.randn(10, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    room = product.room(10)
    room[:, :64] = x.detach()
    residual = torch.randn(10, 128, generator=torch.Generator().manual_seed(2))
    y, kept = product.forward(room, masks, residual=residual)
    mask = masks.mask("key", x.shape, x.device) if rate else torch.ones(10, 64)
    parts = []
    for layer in layers:
        base = getattr(layer, "base_layer", layer)
        part = x @ base.weight.clone().T  # the product writes beside the weights
        if base is not layer:
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            part = part + 2 / (1 - rate) * ((x * mask) @ a.T) @ b.T
        parts.append(part)
    wanted = residual + torch.cat(parts, dim=1)
    torch.testing.assert_close(y, wanted.detach(), rtol=1e-5, atol=1e-5)
    up = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    grad_x, grads = product.backward(up, kept, rate, True, None)
    expected = torch.autograd.grad((wanted * up).sum(), [x, *product.trained])
    torch.testing.assert_close(grad_x, expected[0], rtol=1e-4, atol=1e-4)
    for one, two in zip(grads, expected[1:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_the_model_still_answers_through_transformers():
    """The stacked weights are the modules' own: generation and saving read the same numbers."""
    model = model_of().eval()
    batch = batch_of([9], 0)
    with torch.no_grad():
        states = load.fast_decoder(model).states(pack(batch.ids, [9]))
        wanted = model.get_base_model().model(batch.ids).last_hidden_state[0]
    torch.testing.assert_close(states, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", ["dora", "bias", "gelu", "dynamic"])
def test_what_it_does_not_cover_goes_the_plain_way(change):
    if change == "dora":
        assert load.fast_decoder(model_of(kind="dora")) is None
        return
    extra = {
        "bias": {"attention_bias": True},
        "gelu": {"hidden_act": "gelu"},
        "dynamic": {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
    }[change]
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=50,
        **extra,
    )
    model = LlamaForCausalLM(config)
    model.requires_grad_(False)
    assert not covers(model.model)


def test_a_base_that_is_trained_goes_the_plain_way():
    model = model_of()
    model.requires_grad_(True)
    assert load.fast_decoder(model) is None


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_packing_loses_and_repeats_nothing(own, prefix):
    lengths = [length + prefix for length in own]
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    ids[:, :prefix] = torch.arange(prefix)
    for row, length in enumerate(lengths):
        ids[row, prefix:length] = 100 * (row + 1) + torch.arange(length - prefix)
    packed = pack(ids, lengths, prefix)
    assert packed.tokens == prefix + sum(own)
    for row, length in enumerate(lengths):
        start = packed.starts[row]
        assert packed.ids[start : start + length - prefix].tolist() == ids[row, prefix:length].tolist()
    stops = [group.stop for group in packed.groups]
    assert [group.start for group in packed.groups] == [0, *stops[:-1]]
    assert stops[-1] == packed.tokens
    assert common_prefix(ids, prefix) == (prefix if prefix else 0)


@given(st.floats(0.0, 0.95), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_masks_drop_at_their_rate(rate, seed):
    """Within five standard deviations over 200,000 inputs; also between two whole bytes."""
    count = 200_000
    kept = DropoutMasks(rate, seed).mask("any", (count,), torch.device("cpu"))
    spread = (rate * (1 - rate) / count) ** 0.5
    assert abs(1 - float(kept.float().mean()) - rate) <= 5 * spread + 1e-9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_zeroed_is_a_product_with_the_mask(dtype):
    values = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    mask = torch.rand(7, 5, generator=torch.Generator().manual_seed(2)) > 0.4
    assert torch.equal(zeroed(values, mask), values * mask)
