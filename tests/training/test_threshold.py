"""The threshold: the best of all by trying them, and without the values that it is asked about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import DataError
from afina.metrics.labels import false_positive_rate, macro_f1
from afina.training.probe import fit_head
from afina.training.threshold import Held, answers_left_out, best_threshold, choose, choose_left_out
from tests.conftest import colour_rows
from tests.tiny import Tiny, value

scored = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({label for _score, label in rows}) == 2
)


@settings(deadline=None)
@given(scored)
def test_no_other_threshold_has_a_better_macro_f1(rows):
    score = np.array([number / 20 for number, _label in rows])
    truth = np.array([int(label) for _score, label in rows])
    found = best_threshold(score, truth, 1, None)
    best = max(macro_f1(truth, (score >= t).astype(int), 2) for t in [*np.unique(score), 1.1])
    assert macro_f1(truth, (score >= found).astype(int), 2) == pytest.approx(best)


@settings(deadline=None)
@given(scored, st.sampled_from([0.01, 0.1, 0.5]))
def test_with_a_limit_it_is_the_lowest_that_keeps_it(rows, most):
    score = np.array([number / 20 for number, _label in rows])
    truth = np.array([int(label) for _score, label in rows])
    found = best_threshold(score, truth, 1, most)
    assert false_positive_rate(truth, (score >= found).astype(int), 1) <= most
    lower = np.unique(score)[np.unique(score) < found]
    if len(lower):
        assert false_positive_rate(truth, (score >= lower[-1]).astype(int), 1) > most


def test_of_equally_good_ones_it_is_the_one_nearest_to_half():
    assert best_threshold(np.array([0.1, 0.8, 0.9]), np.array([0, 1, 1]), 1, None) == pytest.approx(0.45)


def test_one_label_has_no_threshold():
    with pytest.raises(ValueError, match="both labels"):
        best_threshold(np.array([0.1, 0.2]), np.array([1, 1]), 1, None)


def test_the_temperature_of_a_choice_is_that_of_its_rows():
    random = np.random.default_rng(0)
    truth = random.integers(2, size=2000)
    z = 4 * np.where(truth == 1, 1.0, -1.0) * 0.5 + random.normal(size=2000) * 2
    # Log-odds of two normals of distance 4 and deviation 2 are z itself; half a label each, three times.
    logits = 3 * np.stack([-z / 2, z / 2], axis=1)
    choice = choose(logits, truth, 1, None)
    assert choice.temperature == pytest.approx(3, rel=0.15)
    assert choice.threshold == pytest.approx(0.5, abs=0.12)


def held(groups=None):
    """Two columns: the first tells the label everywhere, the second in each source another way."""
    random = np.random.default_rng(1)
    truth = np.arange(120) % 2
    values = [f"s{number // 2 % 3}" for number in range(120)]
    features = random.normal(size=(120, 4)).astype(np.float32)
    features[:, 0] += 2 * truth
    return Held(features, truth, list(values), np.ones(120), groups)


def test_a_row_is_answered_by_a_head_that_never_saw_its_value():
    rows = held()
    logits, folds = answers_left_out(rows, ["no", "yes"], 0.01, 13)
    assert folds.folds == [("s0",), ("s1",), ("s2",)]
    for fold in folds.folds:
        out = np.isin(rows.values, fold)
        head = fit_head(rows.features[~out], rows.truth[~out], 2, 0.01, 13)
        np.testing.assert_allclose(logits[out], head.logits(rows.features[out]), atol=1e-6)


def test_rows_of_a_group_with_rows_in_the_fold_are_not_fitted_on():
    groups = np.arange(120) // 6  # rows of all three sources in each group of six
    _logits, folds = answers_left_out(held(groups), ["no", "yes"], 0.01, 13)
    assert folds.folds == []
    assert set(folds.not_left_out.values()) == {"groups_leave_no_rows_of_a_label"}


def test_two_single_label_sources_choose_nothing():
    rows = held()
    alone = Held(rows.features, rows.truth, ["ab"[code] for code in rows.truth], rows.weights)
    with pytest.raises(DataError, match="fewer than two folds") as fault:
        choose_left_out(alone, ["no", "yes"], 1, 0.01, None, 13, "source")
    assert "threshold_from: validation" in str(fault.value.fix)


# In a run


@pytest.fixture(scope="module")
def place(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    rows = [{**row, "half": "ab"[number // 3 % 2]} for number, row in enumerate(colour_rows(160))]
    return Tiny(tmp_path_factory.mktemp("threshold"), llama3_folder, llama3, rows)


BRIEF = ("train.epochs=0.2", "data.split={train: 0.6, validation: 0.2, test: 0.2}")


def test_the_release_has_the_threshold_of_left_out_halves(place):
    """The words of each half are others: what the probe learns on one says little of the other."""
    plain = place.run(*BRIEF)
    run = place.run("train.threshold_from=left_out", "train.threshold_by=half", *BRIEF)
    usual, chosen = (value(one, "release/inference.json") for one in (plain, run))
    note = value(run, "probe/probe.json")
    assert (usual["threshold"], chosen["threshold"]) == (0.5, note["threshold"])
    assert note["choice"]["folds"] == [["a"], ["b"]]
    assert note["choice"]["rows"] == 128
    softer = note["temperature"] / note["validation_temperature"]
    wanted = min(20, max(0.2, usual["temperature"] * softer))
    assert chosen["temperature"] == pytest.approx(wanted, rel=1e-6)
    assert softer > 2
    trained = value(run, "train.json")
    assert trained["threshold"] == chosen["threshold"]
    assert trained["threshold_choice"]["rates"].keys() == {"macro_f1", "recall", "false_positive_rate"}


def test_the_validation_rows_choose_it_for_a_false_positive_rate(place):
    run = place.run("train.threshold_from=validation", "train.max_false_positive_rate=0.1", *BRIEF)
    trained = value(run, "train.json")
    assert trained["threshold_choice"]["folds"] is None
    assert trained["threshold_choice"]["rows"] == 32
    assert trained["threshold_choice"]["rates"]["false_positive_rate"] <= 0.1
    assert value(run, "release/inference.json")["threshold"] == trained["threshold"] != 0.5


def test_a_few_validation_rows_choose_nothing(place):
    said: list[str] = []
    flow = place.workflow(
        "train.threshold_from=validation",
        "train.epochs=0.2",
        "data.split={train: 0.6, validation: 0.1, test: 0.3}",
    )
    flow.run.say = said.append
    flow.do("train")
    assert value(flow.run, "release/inference.json")["threshold"] == 0.5
    assert any("16 validation rows are too few" in line for line in said)
