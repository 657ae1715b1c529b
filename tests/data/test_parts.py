"""Parts of the training rows: nested, stratified, whole groups, every label, by the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.parts import nested_order, part_sizes


def part(labels, units, share, seed=3) -> set[int]:
    order = nested_order(labels, units, seed)
    return set(order[: part_sizes(order, units, labels, share)].tolist())


def test_single_rows_keep_the_labels_shares() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    units = np.arange(1000)
    for share in (0.1, 0.25, 0.5):
        chosen = sorted(part(labels, units, share))
        assert len(chosen) == 1000 * share
        counts = np.bincount(labels[chosen])
        assert counts == pytest.approx(np.array([600, 300, 100]) * share, abs=2)


def test_parts_lie_inside_each_other_and_follow_the_seed() -> None:
    labels, units = np.tile([0, 1], 50), np.arange(100)
    small, large = part(labels, units, 0.25), part(labels, units, 0.5)
    assert small < large
    assert part(labels, units, 0.25) == small
    assert part(labels, units, 0.25, seed=4) != small


def test_the_rarest_label_is_in_the_smallest_part() -> None:
    labels = np.array([0] * 99 + [1])
    assert 99 in part(labels, np.arange(100), 0.01)


@settings(max_examples=60, deadline=None)
@given(
    units=st.lists(st.integers(0, 12), min_size=2, max_size=60),
    shares=st.tuples(st.floats(0.05, 0.5), st.floats(0.5, 1)),
    seed=st.integers(0, 5),
)
def test_groups_stay_whole_whatever_their_sizes(units, shares, seed) -> None:
    codes = np.array(units)
    labels = (np.arange(len(codes)) * 7 % 5 > 2).astype(int)
    small, large = (part(labels, codes, share, seed) for share in shares)
    assert small <= large
    for chosen in (small, large):
        inside = {int(codes[row]) for row in chosen}
        assert chosen == {row for row in range(len(codes)) if codes[row] in inside}
        assert {labels[row] for row in chosen} == set(labels.tolist())
