"""The forward pass against its definition, on the tiny Llama 3 in fp32."""

from __future__ import annotations

import pytest
import torch

from afina.data.batches import make_batch
from afina.data.chat import Encoded
from afina.inference.pooled import features_of
from afina.inference.states import mean_states, measuring, row_losses, token_losses
from afina.models.load import load_model


@pytest.fixture(scope="module")
def model(llama3_folder):
    return load_model(llama3_folder, "fp32")


@pytest.fixture(scope="module")
def rows() -> list[Encoded]:
    """Rows of many lengths; the loss is taken on a part of each."""
    random = torch.Generator().manual_seed(3)
    made = []
    for length in (2, 3, 9, 17, 40, 41, 5, 12):
        ids = [128000, *torch.randint(0, 128000, (length,), generator=random).tolist()]
        made.append(Encoded(ids, [False] + [place >= length // 2 for place in range(length)]))
    return made


def alone(model, ids: list[int]):
    """States of one row without any padding, and its logits."""
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    return out.hidden_states[-1][0], out.logits[0]


def test_mean_states_are_the_mean_over_each_rows_own_tokens(model, rows, llama3):
    batch = make_batch(rows, range(len(rows)), llama3.pad, "cpu")
    with torch.no_grad():
        found = mean_states(model, batch)
    for state, row in zip(found, rows, strict=True):
        torch.testing.assert_close(state, alone(model, row.ids)[0].mean(dim=0), atol=1e-5, rtol=1e-4)
    other = make_batch(rows, range(len(rows)), 17, "cpu")
    with torch.no_grad():
        torch.testing.assert_close(mean_states(model, other), found)


@pytest.mark.parametrize("budget", [1, 45, 10_000])
def test_features_keep_the_order_of_the_texts(model, rows, llama3, budget):
    found = features_of(model, rows, llama3.pad, budget)
    for feature, row in zip(found, rows, strict=True):
        wanted = alone(model, row.ids)[0].mean(dim=0)
        torch.testing.assert_close(torch.from_numpy(feature), wanted, atol=1e-5, rtol=1e-4)


def test_features_of_nothing(model, llama3):
    assert features_of(model, [], llama3.pad, 100).shape == (0, 32)


def test_features_tell_their_tokens(model, rows, llama3):
    seen: list[int] = []
    features_of(model, rows, llama3.pad, 60, seen.append)
    assert sum(seen) == sum(len(row.ids) for row in rows)


def full_losses(model, batch):
    """Cross-entropy of all logits at once, at the trained tokens."""
    logits = model(batch.ids).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none"
    ).view(batch.ids.shape[0], -1)
    return losses[batch.trained[:, 1:]]


@pytest.mark.parametrize("block", [3, 512])
def test_token_losses_and_their_gradient_equal_the_full_ones(
    llama3_folder, rows, llama3, block, monkeypatch
):
    monkeypatch.setattr("afina.inference.head_loss.LOGIT_BLOCK", block)
    batch = make_batch(rows, range(len(rows)), llama3.pad, "cpu")
    gradients = []
    for losses_of in (token_losses, full_losses):
        model = load_model(llama3_folder, "fp32")
        model.requires_grad_(True)
        losses = losses_of(model, batch)
        assert losses.shape == (int(batch.trained.sum()),)
        losses.mean().backward()
        gradients.append((losses.detach(), [p.grad for p in model.parameters()]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], atol=1e-5, rtol=1e-5)
    for one, two in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_row_losses_do_not_depend_on_the_budget(model, rows, llama3):
    wanted = [row_losses(model, rows, llama3.pad, budget) for budget in (1, 30, 100, 100_000)]
    for sums, counts in wanted:
        assert counts == [sum(row.trained) for row in rows]
        assert sums == pytest.approx(wanted[0][0], rel=1e-5)
    for row, total in zip(rows, wanted[0][0], strict=True):
        scores = torch.log_softmax(alone(model, row.ids)[1], dim=-1)
        by_hand = -sum(
            float(scores[place - 1, row.ids[place]])
            for place in range(len(row.ids))
            if row.trained[place]
        )
        assert total == pytest.approx(by_hand, rel=1e-5)


def test_measuring_restores_the_mode(model):
    for training in (True, False):
        model.train(training)
        with measuring(model):
            assert not model.training
            assert torch.is_inference_mode_enabled()
        with pytest.raises(ZeroDivisionError), measuring(model):
            _ = 1 / int(model.training)
        assert model.training is training
    assert torch.is_grad_enabled()
