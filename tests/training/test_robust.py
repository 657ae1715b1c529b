"""Group DRO and V-REx: the weights are those of the papers, the heads do what they are for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from afina.data.roles import Row
from afina.errors import Interrupted
from afina.runs.signals import StopSignal
from afina.training import tune
from afina.training.loop import Trainer
from afina.training.probe import fit_head
from afina.training.robust import (
    GroupWeights,
    _Fit,
    dro_weights,
    fit_robust_head,
    group_codes,
    vrex_weights,
)
from tests.conftest import colour_rows
from tests.tiny import Tiny, adapter_hash, metrics, value


def test_group_dro_multiplies_by_the_exponential_of_the_loss():
    """Sagawa et al. 2020, algorithm 1: q'_g = q_g exp(η l_g), then divided by their sum."""
    before, losses = np.array([0.2, 0.3, 0.5]), np.array([1.0, 2.0, 0.5])
    raised = before * np.exp(0.1 * losses)
    np.testing.assert_allclose(dro_weights(before, losses, 0.1), raised / raised.sum())


def test_a_group_without_rows_has_no_loss_to_follow():
    found = dro_weights(np.array([0.5, 0.5]), np.array([np.nan, 1.0]), 1.0)
    np.testing.assert_allclose(found, np.array([1, np.e]) / (1 + np.e))


def test_vrex_weights_are_the_gradient_of_mean_and_variance():
    losses, beta = np.array([0.2, 1.0, 0.7]), 1.5

    def cost(given):
        return given.mean() + beta * given.var()

    numeric = [
        (cost(losses + 1e-6 * np.eye(3)[g]) - cost(losses - 1e-6 * np.eye(3)[g])) / 2e-6
        for g in range(3)
    ]
    np.testing.assert_allclose(vrex_weights(losses, beta), numeric, rtol=1e-6)
    np.testing.assert_allclose(vrex_weights(np.full(4, np.nan), beta), np.full(4, 0.25))


def test_groups_are_values_with_labels():
    rows = [
        Row(label="x", extra={"from": "a"}),
        Row(label="y", extra={"from": "a"}),
        Row(label="x"),
    ]
    codes, names = group_codes(rows, "from")
    assert [names[code] for code in codes] == ["a · x", "a · y", "– · x"]


def test_even_weights_count_a_mean_over_groups():
    codes = np.array([0] * 6 + [1] * 2)
    groups = GroupWeights("group_dro", 0.5, codes, ["a", "b"])
    counts = groups.of(range(8))
    losses = np.array([1.0] * 6 + [3.0] * 2)
    # The step's sum over its rows: (mean of a + mean of b) / 2.
    assert (counts * losses).sum() / 8 == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize("kind", ["group_dro", "vrex"])
def test_weights_after_known_losses(kind):
    codes = np.array([0, 0, 1, 1])
    groups = GroupWeights(kind, 0.5, codes, ["a", "b"])
    groups.begin()
    groups.saw([0, 2], np.array([1.0, 4.0]))  # two micro-batches of one step
    groups.saw([1, 3], np.array([3.0, 2.0]))
    groups.end()
    wanted = np.exp([0.5 * 2, 0.5 * 3])
    wanted = wanted / wanted.sum() if kind == "group_dro" else (1 + np.array([-0.5, 0.5])) / 2
    np.testing.assert_allclose(groups.weights, wanted)
    # A step without group b: its weight is raised by nothing, its running loss stays.
    groups.begin()
    groups.saw([0], np.array([1.0]))
    groups.end()
    if kind == "group_dro":
        raised = wanted * np.exp([0.5, 0.0])
        np.testing.assert_allclose(groups.weights, raised / raised.sum())
    else:
        running = np.array([0.9 * 2 + 0.1 * 1, 3.0])
        np.testing.assert_allclose(groups.losses, running)
        np.testing.assert_allclose(groups.weights, (1 + running - running.mean()) / 2)


def test_a_step_that_begins_again_counts_once():
    groups = GroupWeights("group_dro", 1.0, np.array([0, 1]), ["a", "b"])
    groups.begin()
    groups.saw([0], np.array([9.0]))
    groups.begin()
    groups.saw([0, 1], np.array([1.0, 1.0]))
    groups.end()
    np.testing.assert_allclose(groups.weights, [0.5, 0.5])


def test_the_state_survives_a_checkpoint():
    groups = GroupWeights("vrex", 1.0, np.array([0, 1, 2]), ["a", "b", "c"])
    groups.begin()
    groups.saw([0, 1], np.array([1.0, 2.0]))
    groups.end()
    other = GroupWeights("vrex", 1.0, np.array([0, 1, 2]), ["a", "b", "c"])
    other.put(json.loads(json.dumps(groups.state())))
    np.testing.assert_array_equal(other.weights, groups.weights)
    np.testing.assert_array_equal(other.losses, groups.losses)


# The head


def spurious(seed=0):
    """A weak column that tells the label everywhere, a strong one that does in the large groups only."""
    random = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 0, 1], [400, 400, 40, 40])
    codes = np.repeat([0, 1, 2, 3], [400, 400, 40, 40])
    tell = np.where(codes < 2, truth, 1 - truth)
    rows = np.stack([truth + random.normal(size=880), tell + 0.3 * random.normal(size=880)], axis=1)
    return rows.astype(np.float32), truth, codes


@pytest.mark.parametrize(("kind", "step"), [("group_dro", 1.0), ("vrex", 10.0)])
def test_the_worst_group_is_better_than_by_the_mean(kind, step):
    rows, truth, codes = spurious()
    plain = fit_head(rows, truth, 2, 1.0, 13)
    robust = fit_robust_head(rows, truth, 2, 1.0, codes, kind, step)

    def worst(head):
        right = head.logits(rows).argmax(axis=1) == truth
        return min(right[codes == group].mean() for group in range(4))

    assert worst(plain) < 0.2
    assert worst(robust) > worst(plain) + 0.3


def test_equal_groups_change_nothing():
    """With a variance that counts nothing and groups of a size, it is the plain head."""
    rows, truth, _codes = spurious()
    codes = np.arange(880) % 2
    plain = fit_head(rows, truth, 2, 0.1, 13)
    same = fit_robust_head(rows, truth, 2, 0.05, codes, "vrex", 1e-9)
    # Two rows of weights, w and -w, share the penalty that one had: half the inverse strength.
    odds = [one.logits(rows)[:, 1] - one.logits(rows)[:, 0] for one in (same, plain)]
    np.testing.assert_allclose(*odds, atol=0.02)


def test_the_gradient_is_that_of_the_cost():
    from scipy.optimize import check_grad

    rows, truth, codes = spurious()
    fit = _Fit(
        rows[::20].astype(float), truth[::20], 2, np.unique(codes[::20], return_inverse=True)[1], 1.0
    )
    start = np.random.default_rng(1).normal(size=6)
    for weights, beta in ((None, 2.0), (np.array([0.1, 0.2, 0.3, 0.4]), 0.0)):
        wrong = check_grad(
            lambda x, w=weights, b=beta: fit.value(x, w, b)[0],
            lambda x, w=weights, b=beta: fit.value(x, w, b)[1],
            start,
        )
        assert wrong < 1e-5


# In a run


@pytest.fixture(scope="module")
def place(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    rows = [{**row, "half": "ab"[number % 6 < 2]} for number, row in enumerate(colour_rows())]
    return Tiny(tmp_path_factory.mktemp("robust"), llama3_folder, llama3, rows)


DRO = ("train.robust=group_dro", "train.robust_by=half", "train.robust_strength=0.5")


def test_training_follows_the_groups(place):
    run = place.run(*DRO)
    groups = value(run, "train.json")["robust"]["groups"]
    assert set(groups) == {"a · fruit", "a · metal", "b · fruit", "b · metal"}
    weights = np.array([group["weight"] for group in groups.values()])
    assert weights.sum() == pytest.approx(1, abs=1e-4)
    assert weights.max() > 0.26
    assert adapter_hash(run) != adapter_hash(place.run())


class StopsAtFive(Trainer):
    """Asked to stop before the fifth step, once."""

    stopped = False

    def _step(self, stop: StopSignal) -> None:
        if self.progress.step == 5 and not StopsAtFive.stopped:
            StopsAtFive.stopped = True
            self._save()
            raise Interrupted("stopped here")
        super()._step(stop)


def test_a_stopped_training_goes_on_with_the_same_weights(place, monkeypatch):
    overrides = (*DRO, "train.evaluations_per_epoch=1", "seed=31")
    whole = place.run(*overrides, runs="whole")
    monkeypatch.setattr(tune, "Trainer", StopsAtFive)
    with pytest.raises(Interrupted):
        place.run(*overrides, runs="stopped")
    again = place.run(*overrides, runs="stopped")
    assert value(again, "train.json")["robust"] == value(whole, "train.json")["robust"]
    assert adapter_hash(again) == adapter_hash(whole)
    losses = [[line["loss"] for line in metrics(run)] for run in (again, whole)]
    assert losses[0] == losses[1]
