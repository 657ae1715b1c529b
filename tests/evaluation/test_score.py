"""From answers to figures: intervals over groups, what is left out, the baseline."""

from __future__ import annotations

import math

import numpy as np
import pytest

from afina.data.roles import Row
from afina.data.table import RowWriter
from afina.evaluation import answers
from afina.evaluation.answers import TestRows, predicted_bytes
from afina.evaluation.baseline import TfidfBaseline
from afina.evaluation.measure import _ranking
from afina.evaluation.score import (
    Measured,
    comparison_of,
    label_answers,
    label_metric,
    likelihood_metric,
    results_of,
)
from afina.metrics.statistics import wilson
from afina.recipe_file import parse_recipe
from afina.runs.folder import open_run
from tests.conftest import colour_rows

NAMES = ("accuracy", "macro_f1", "auc", "false_positive_rate", "recall", "precision")


def rows(count: int) -> list[Row]:
    found = []
    for number in range(count):
        row = Row(text=f"text {number}")
        found.append(row)
    return found


def measured(truth, said, score, groups=None, model="tuned") -> tuple[Measured, TestRows]:
    truth, said = np.array(truth), np.array(said)
    probabilities = np.stack([1 - np.array(score, dtype=float), np.array(score, dtype=float)], axis=1)
    metrics = {name: m for name in NAMES if (m := label_metric(name, truth, 2, 1))}
    test = TestRows("test", rows(len(truth)), truth, None if groups is None else np.array(groups))
    return Measured(model, label_answers(said, probabilities, 1), metrics), test


def by_metric(one: Measured, test: TestRows) -> dict[str, dict]:
    return {line["metric"]: line for line in results_of(one, test, 1, seed=3)}


def test_every_metric_rests_on_its_own_rows() -> None:
    found = by_metric(*measured([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], [0.1, 0.2, 0.9, 0.8, 0.3]))
    assert {name: line["n"] for name, line in found.items()} == {
        "accuracy": 5, "macro_f1": 5, "auc": 5, "false_positive_rate": 3, "recall": 2, "precision": 2,
    }  # fmt: skip
    assert found["false_positive_rate"]["value"] == pytest.approx(1 / 3)
    expected = wilson(1, 3)
    assert found["false_positive_rate"]["ci95"] == pytest.approx([expected.low, expected.high])
    assert found["precision"]["ci95"] == pytest.approx([wilson(1, 2).low, wilson(1, 2).high])
    assert found["accuracy"]["method"] == "Wilson score"
    assert found["macro_f1"]["method"] == "row bootstrap"
    assert found["auc"]["value"] == pytest.approx(4 / 6)


def test_groups_are_resampled_and_counted() -> None:
    random = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), 10)
    right = random.random(20)[groups] < 0.7  # whole groups are right or wrong
    truth = random.integers(0, 2, 200)
    said = np.where(right, truth, 1 - truth)
    found = by_metric(*measured(truth, said, said * 0.8 + 0.1, groups))
    line = found["accuracy"]
    assert (line["groups"], line["method"], line["n"]) == (20, "group bootstrap", 200)
    width = line["ci95"][1] - line["ci95"][0]
    alone = wilson(int(right.sum()), 200)
    assert width > 2 * (alone.high - alone.low)


def test_a_model_without_errors_is_not_certain() -> None:
    truth = [0] * 30 + [1] * 20
    for groups in (None, np.arange(50) // 5):
        found = by_metric(*measured(truth, truth, np.array(truth) * 0.9, groups))
        for name in ("accuracy", "macro_f1", "auc", "recall", "precision", "false_positive_rate"):
            low, high = found[name]["ci95"]
            assert low < high, name
            assert low <= found[name]["value"] <= high, name
        assert found["accuracy"]["ci95"][0] == pytest.approx(wilson(50, 50).low)
        assert found["auc"]["ci95"][0] == pytest.approx((wilson(30, 30).low + wilson(20, 20).low) / 2)
        # 30 and 20 rows with recalls .8865 and .8389: 3.22 and 3.40 rows on the wrong side.
        a, b, x, y = 30 * wilson(30, 30).low, 20 * wilson(20, 20).low, 3.2218, 3.4057
        expected = (2 * a / (2 * a + x + y) + 2 * b / (2 * b + x + y)) / 2
        assert found["macro_f1"]["ci95"][0] == pytest.approx(expected, abs=0.01)


def test_what_is_undefined_is_left_out_and_never_nan() -> None:
    found = by_metric(*measured([0, 0, 0, 0], [0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]))
    assert "recall" not in found
    assert "precision" not in found
    assert "auc" not in found
    assert found["accuracy"]["value"] == 1
    for line in found.values():
        assert all(bound is None or math.isfinite(bound) for bound in line["ci95"])


def test_metrics_of_alarms_need_a_positive_label() -> None:
    truth = np.array([0, 1, 2])
    assert label_metric("auc", truth, 3, None) is None
    assert label_metric("recall", truth, 3, None) is None
    assert label_metric("accuracy", truth, 3, None) is not None


def test_two_models_are_compared_on_the_same_rows() -> None:
    truth = [0, 1] * 50
    good, test = measured(truth, truth, np.array(truth) * 0.9)
    poor, _test = measured(truth, [0] * 100, [0.5] * 100, model="base")
    line = comparison_of(good, poor, "accuracy", test, seed=1)
    assert (line["a"], line["b"]) == ("tuned", "base")
    assert line["difference"] == 0.5
    assert line["p_value"] < 1e-6
    assert line["ci95"][0] > 0.3
    assert line["test"] == "mid-p McNemar; interval by row bootstrap"
    back = comparison_of(poor, good, "accuracy", test, seed=1)
    assert back["difference"] == -0.5


def test_perplexity_of_rows_is_weighted_by_token() -> None:
    losses = np.array([[math.log(8), 1.0], [3 * math.log(2), 3.0]])
    metric = likelihood_metric("perplexity")
    assert metric(losses, np.array([0, 1])) == pytest.approx(2**1.5)
    assert metric(losses, np.array([1])) == pytest.approx(2)
    test = TestRows("test", rows(2), np.array([]), None)
    found = results_of(Measured("base", losses, {"perplexity": metric}), test, None, 1)
    assert found[0]["value"] == pytest.approx(2**1.5)
    assert found[0]["n"] == 2


def test_bits_per_byte_are_spread_over_all_bytes() -> None:
    """Six bits in all (three of one row, three of another) over four bytes."""
    losses = np.array([[math.log(8), 1.0, 1.0], [3 * math.log(2), 3.0, 3.0]])
    metric = likelihood_metric("bits_per_byte")
    assert metric(losses, np.array([0, 1])) == pytest.approx(1.5)
    beside = np.concatenate([np.zeros((2, 2)), losses], axis=1)
    assert likelihood_metric("bits_per_byte", first=2)(beside, np.array([1])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("task", "row", "size"),
    [
        ("{kind: text}", Row(text="año"), 4),
        ("{kind: classify, head: tokens}", Row(text="long text", label="spam"), 4),
        (
            "{kind: generate}",
            Row(
                text="",
                messages=[
                    {"role": "user", "content": "hello", "train": False},
                    {"role": "assistant", "content": "día", "train": True},
                    {"role": "assistant", "content": "not trained", "train": False},
                ],
            ),
            4,
        ),
    ],
)
def test_bytes_are_those_of_the_text_that_is_predicted(task, row, size) -> None:
    recipe = parse_recipe(f"name: a\ntask: {task}\ndata: {{train: a.jsonl}}\n", "a.yaml", [])
    assert predicted_bytes(recipe, row) == size


def test_the_best_model_is_named_first() -> None:
    def lines(metric: str, **values: float) -> list[dict]:
        return [{"model": model, "metric": metric, "value": value} for model, value in values.items()]

    f1 = lines("macro_f1", base=0.3, tuned=0.8, tfidf=0.9)
    assert _ranking([*f1, *lines("accuracy", base=1.0)]) == ["tfidf", "tuned", "base"]
    assert _ranking(lines("perplexity", base=9.0, tuned=3.0)) == ["tuned", "base"]
    assert _ranking(lines("false_positive_rate", base=0.0, tuned=0.1)) == ["base", "tuned"]
    assert _ranking([]) == []


def test_the_baseline_learns_words_and_keeps_the_order_of_the_labels() -> None:
    made = []
    for given in colour_rows(60):
        row = Row(text=given["text"], label=given["label"])
        made.append(row)
    baseline = TfidfBaseline(made[:40], made[40:], ["metal", "unseen", "fruit"])
    found = baseline.probabilities(["the mango and the papaya", "the iron and the zinc"])
    assert found.shape == (2, 3)
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert list(found.argmax(axis=1)) == [2, 0]
    assert found[:, 1] == pytest.approx([0, 0])


def test_one_group_is_kept_and_marked_in_every_line() -> None:
    truth = np.array([0, 1] * 20)
    said = np.where(np.arange(40) < 30, truth, 1 - truth)
    found = by_metric(*measured(truth, said, said * 0.8 + 0.1, np.zeros(40, dtype=int)))
    for name, line in found.items():
        assert line["groups"] == 1, name
        assert line["method"].endswith("over rows: one group only"), name
    assert found["accuracy"]["ci95"] == pytest.approx([wilson(30, 40).low, wilson(30, 40).high])
    right = by_metric(*measured(truth, truth, truth * 0.9, np.zeros(40, dtype=int)))
    assert all(line["method"].endswith("one group only") for line in right.values())


def test_a_share_over_few_groups_holds_its_score_interval() -> None:
    truth = np.array([0, 1] * 20)
    said = truth.copy()
    said[[0, 1, 10]] = 1 - said[[0, 1, 10]]
    found = by_metric(*measured(truth, said, said * 0.8 + 0.1, np.arange(40) // 10))
    line, plain = found["accuracy"], wilson(37, 40)
    assert (line["groups"], line["method"]) == (4, "group bootstrap joined with Wilson score")
    assert line["ci95"][0] <= plain.low
    assert line["ci95"][1] >= plain.high


def test_a_test_set_of_one_group_keeps_its_groups(tmp_path) -> None:
    column = "data: {train: a, split: {group_by: family}}\n"
    recipe = parse_recipe(f"name: x\n{column}task: {{labels: [ham, spam], positive: spam}}\n")
    run = open_run(recipe, str(tmp_path))
    for families, expected in ((["b", "b"], [0, 0]), (["b", "a"], [1, 0])):
        path = run.path("data/test.parquet")
        path.parent.mkdir(exist_ok=True)
        with RowWriter(path) as writer:
            for name in families:
                writer.write(Row(text="t", label="ham", extra={"family": name}))
        found = answers.test_rows(run, recipe, ["ham", "spam"], "test")
        assert found.groups is not None
        assert found.groups.tolist() == expected
