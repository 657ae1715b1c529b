"""Each kind of metric against scikit-learn and SciPy; whole groups against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from afina.suites.catalogue import official
from afina.suites.definitions import plain_words, word_f1
from afina.suites.scores import KINDS, by_group, same_by_group


@pytest.fixture(params=range(5))
def pairs(request) -> np.ndarray:
    random = np.random.default_rng(request.param)
    return random.integers(0, 3, (40, 2)).astype(float)


def test_label_kinds_equal_scikit_learn(pairs):
    two = np.minimum(pairs, 1)
    assert KINDS["matthews"](two) == pytest.approx(metrics.matthews_corrcoef(two[:, 0], two[:, 1]))
    assert KINDS["f1"](two) == pytest.approx(metrics.f1_score(two[:, 0], two[:, 1]))
    assert KINDS["macro_f1"](pairs) == pytest.approx(
        metrics.f1_score(pairs[:, 0], pairs[:, 1], average="macro")
    )


def test_correlations_equal_scipy(pairs):
    values = pairs + np.random.default_rng(9).normal(size=pairs.shape)
    values[:5] = values[0]  # ties
    assert KINDS["pearson"](values) == pytest.approx(stats.pearsonr(*values.T).statistic)
    assert KINDS["spearman"](values) == pytest.approx(stats.spearmanr(*values.T).statistic)


def test_kinds_at_their_ends():
    assert KINDS["f1"](np.zeros((3, 2))) == 0
    assert KINDS["matthews"](np.array([[1.0, 1], [1, 1]])) == 0
    assert math.isnan(KINDS["pearson"](np.array([[1.0, 1], [1, 2]])))
    assert KINDS["mean"](np.array([[1.0], [0], [1], [1]])) == 0.75


def test_a_question_is_right_when_all_its_answers_are():
    rows = by_group(["a", "a", "b", "b", "b", "c"], [True, True, True, False, True, False])
    assert KINDS["weighted_mean"](np.array(rows)) == pytest.approx(1 / 3)


def test_parity_is_the_share_of_pairs_answered_alike():
    rows = same_by_group([0, 0, 1, 1], [1, 1, 0, 1])
    assert KINDS["weighted_mean"](np.array(rows)) == pytest.approx(1 / 2)


def test_squad_words_and_f1():
    assert plain_words("The Bank, of Lima!") == ["bank", "of", "lima"]
    assert word_f1("the Bank of Lima", "Bank") == pytest.approx(2 * 1 / (3 + 1))
    assert word_f1("Quito", "Lima") == 0
    assert word_f1("the", "a") == 1  # nothing is left of either


def test_the_official_figure_averages_metrics_first_and_mnli_as_one():
    one = dict.fromkeys(("acc", "f1", "mcc", "pearson", "spearman"), 1.0)
    names = ("cola", "sst2", "mrpc", "stsb", "qqp", "qnli", "rte", "wnli")
    found = {f"glue/{name}": dict(one) for name in names}
    found["glue/mnli_matched"], found["glue/mnli_mismatched"] = {"acc": 0.5}, {"acc": 0.3}
    assert official("glue", found) == pytest.approx((8 + 0.4) / 9)
    found["glue/mrpc"]["f1"] = 0.5
    assert official("glue", found) == pytest.approx((7 + 0.75 + 0.4) / 9)
    del found["glue/wnli"]
    assert official("glue", found) is None
