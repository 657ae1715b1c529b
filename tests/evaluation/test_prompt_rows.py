"""Examples are balanced and drawn by the seed; the validation part has each label's share."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from afina.data.roles import Row
from afina.evaluation.prompt_rows import drawn_examples, stratified

ROWS = [Row(text=f"text {number}", label="a" if number % 10 else "b") for number in range(200)]


@pytest.mark.parametrize(("count", "counts"), [(4, {"a": 2, "b": 2}), (6, {"a": 3, "b": 3})])
def test_examples_are_balanced_whatever_the_rows_are(count, counts) -> None:
    found = drawn_examples(ROWS, ["a", "b"], count, 7)
    assert Counter(row.label for row in found) == counts
    assert len({row.text for row in found}) == count
    labels = [row.label for row in found]
    assert labels == labels[:2] * (count // 2)  # in turns


def test_examples_are_those_of_the_seed() -> None:
    texts = [[row.text for row in drawn_examples(ROWS, ["a", "b"], 4, seed)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_label_that_is_used_up_is_passed_over() -> None:
    few = [Row(text="1", label="a"), Row(text="2", label="b"), Row(text="3", label="b")]
    found = drawn_examples(few, ["a", "b"], 9, 1)
    assert sorted(row.text for row in found) == ["1", "2", "3"]
    assert len(drawn_examples(few, [], 2, 1)) == 2


def test_a_part_keeps_each_labels_share() -> None:
    truth = np.array([1] * 20 + [0] * 180)
    found = stratified(truth, 200, 50, 3)
    assert found.tolist() == sorted(set(found.tolist()))
    assert np.bincount(truth[found]).tolist() == [45, 5]
    assert np.array_equal(found, stratified(truth, 200, 50, 3))
    assert not np.array_equal(found, stratified(truth, 200, 50, 4))
    assert stratified(truth, 200, 500, 3).tolist() == list(range(200))
    assert len(stratified(np.array([]), 30, 10, 3)) == 10
