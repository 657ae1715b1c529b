"""Groups within the budget, each row once; weights; seeded order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from afina.data.batches import epoch_order, every_row, group_by_length, make_batch
from afina.data.chat import Encoded

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=50)


@given(lengths, st.integers(16, 200))
def test_groups_hold_each_row_once_within_the_budget(sizes, budget):
    groups = group_by_length(sizes, range(len(sizes)), budget)
    assert sorted(row for group in groups for row in group) == list(range(len(sizes)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(sizes[row] for row in group) <= budget


def test_a_batch_is_right_padded():
    encoded = [Encoded([5, 6, 7], [False, True, True]), Encoded([8], [False])]
    batch = make_batch(encoded, [1, 0], 99, "cpu")
    assert batch.rows == [1, 0]
    assert batch.ids.tolist() == [[8, 99, 99], [5, 6, 7]]
    assert batch.trained.tolist() == [[False, False, False], [False, True, True]]
    assert batch.lengths.tolist() == [1, 3]
    assert batch.tokens == 4
    assert [b.rows for b in every_row(encoded, 99, "cpu", 3)] == [[1], [0]]


@given(lengths, st.integers(1, 8), st.integers(0, 9))
def test_an_epoch_shows_each_row_once(sizes, batch_rows, epoch):
    steps = epoch_order(sizes, [1.0] * len(sizes), batch_rows, 13, epoch)
    assert sorted(row for step in steps for row in step) == list(range(len(sizes)))
    assert all(1 <= len(step) <= batch_rows for step in steps)
    assert len(steps) == -(-len(sizes) // batch_rows)


def test_weights():
    sizes, weights = [5] * 3000, [2.0] * 1000 + [0.5] * 1000 + [1.0] * 1000
    shown = Counter(row for step in epoch_order(sizes, weights, 16, 13, 0) for row in step)
    assert {shown[row] for row in range(1000)} == {2}
    assert {shown[row] for row in range(2000, 3000)} == {1}
    half = [shown[row] for row in range(1000, 2000)]
    assert set(half) == {0, 1}
    assert 430 < sum(half) < 570
    mixed = Counter(row for step in epoch_order([5] * 2000, [2.25] * 2000, 16, 13, 0) for row in step)
    assert 4400 < sum(mixed.values()) < 4600
    assert set(mixed.values()) == {2, 3}


def test_the_order_is_seeded_and_changes_with_the_epoch():
    sizes = list(range(1, 101))
    ones = [1.0] * 100
    assert epoch_order(sizes, ones, 8, 1, 0) == epoch_order(sizes, ones, 8, 1, 0)
    assert epoch_order(sizes, ones, 8, 1, 0) != epoch_order(sizes, ones, 8, 1, 1)
    assert epoch_order(sizes, ones, 8, 1, 0) != epoch_order(sizes, ones, 8, 2, 0)


def test_rows_of_a_step_are_of_like_length():
    sizes = [(number * 37) % 500 + 1 for number in range(512)]
    steps = epoch_order(sizes, [1.0] * 512, 16, 3, 0)
    padded = sum(len(step) * max(sizes[row] for row in step) for step in steps)
    assert padded < 1.12 * sum(sizes)
