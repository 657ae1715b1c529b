"""Properties of the split: whole units, every label everywhere, shares, seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from afina.data.split import limit_rows, split_rows, units_of
from afina.errors import DataError

SHARES = (0.8, 0.1, 0.1)


def split(units, labels, seed=13, shares=SHARES):
    labels = np.asarray(labels)
    return split_rows(
        np.asarray(units), labels, shares, seed, [f"L{n}" for n in range(labels.max() + 1)]
    )


@given(st.data())
@settings(deadline=None)
def test_units_stay_whole_and_every_label_is_in_each_split(data):
    kinds = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, kinds - 1)), max_size=80))
    # three units of one row for each label: a split without gaps exists
    rows += [(100 + 3 * kind + n, kind) for kind in range(kinds) for n in range(3)]
    units, labels = np.array(rows).T
    chosen = split(units, labels, data.draw(st.integers(0, 9)))
    for unit in set(units.tolist()):
        assert len(set(chosen[units == unit].tolist())) == 1
    for side in range(3):
        assert set(labels[chosen == side].tolist()) == set(labels.tolist())


@given(st.integers(0, 1000), st.integers(300, 900), st.integers(1, 5), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_shares_are_near(seed, rows, largest, kinds):
    random = np.random.default_rng(seed)
    labels = random.integers(0, kinds, rows)
    units = random.integers(0, rows // largest, rows)
    chosen = split(units, labels, seed)
    shares = np.bincount(chosen, minlength=3) / rows
    assert np.abs(shares - SHARES).max() < 0.03
    for kind in range(kinds):
        of_kind = np.bincount(chosen[labels == kind], minlength=3) / (labels == kind).sum()
        assert np.abs(of_kind - SHARES).max() < 0.06


def test_single_rows_are_divided_exactly():
    labels = np.repeat([0, 1], [500, 100])
    chosen = split(np.arange(600), labels)
    assert np.bincount(chosen[labels == 0]).tolist() == [400, 50, 50]
    assert np.bincount(chosen[labels == 1]).tolist() == [80, 10, 10]


def test_seeded():
    labels = np.arange(200) % 2
    units = np.arange(200) // 2
    assert (split(units, labels, 1) == split(units, labels, 1)).all()
    assert (split(units, labels, 1) != split(units, labels, 2)).any()


@pytest.mark.parametrize(
    ("units", "labels", "what"),
    [
        ([0, 0, 1, 1], [0, 1, 0, 1], "only 2 groups"),
        (range(9), [0] * 8 + [1], "'L1'"),
        (range(8), [0] * 4 + [2] * 4, "'L1'"),
        ([0, 1, 2, 3, 4, 4, 4], [0, 0, 0, 0, 1, 1, 1], "no row with label 'L1'"),
    ],
)
def test_impossible_splits_say_why(units, labels, what):
    with pytest.raises(DataError, match=what) as caught:
        split(list(units), labels)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("units", "labels"), [([0] * 8, [0, 1] * 4), ([0, 1, 2, 3, 4, 4, 4], [0, 0, 0, 0, 1, 1, 1])]
)
def test_group_by_is_spoken_of_only_where_it_is_set(units, labels):
    for group_by in (None, "family"):
        with pytest.raises(DataError) as caught:
            split_rows(np.array(units), np.array(labels), SHARES, 1, ["a", "b"], group_by)
        assert ("group_by" in caught.value.fix) == (group_by is not None)
        assert "only 1 groups" not in caught.value.what


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_a_unit_joins_clusters_and_groups(pairs):
    clusters, groups = np.array(pairs).T
    units = units_of(clusters, groups)
    for one in range(len(pairs)):
        for two in range(one):
            if clusters[one] == clusters[two] or groups[one] == groups[two]:
                assert units[one] == units[two]
    assert (units_of(clusters, None) == clusters).all()
    alone = [n for n, (c, g) in enumerate(pairs) if (clusters == c).sum() == 1 == (groups == g).sum()]
    assert all((units == units[n]).sum() == 1 for n in alone)


@given(st.integers(0, 99), st.integers(20, 150), st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_limit_keeps_shares_and_all_test_rows(seed, limit, kinds, grouped):
    random = np.random.default_rng(seed)
    labels = random.integers(0, kinds, 400)
    splits = random.choice(3, 400, p=SHARES).astype(np.int8)
    units = random.integers(0, 20, 400) if grouped else np.arange(400)
    assume(min((splits < 2).sum(), 400) > limit)
    keep = limit_rows(splits, labels, units, limit, seed)
    assert keep[splits == 2].all()
    assert keep[splits < 2].sum() == limit
    share = limit / (splits < 2).sum()
    for side in (0, 1):
        for kind in range(kinds):
            stratum = (splits == side) & (labels == kind)
            if stratum.any():
                assert keep[stratum].sum() >= 1
                assert abs(keep[stratum].sum() - share * stratum.sum()) <= 2
    assert (limit_rows(splits, labels, units, limit, seed) == keep).all()
    assert (limit_rows(splits, labels, units, limit, seed + 1) != keep).any()


def test_limit_takes_from_every_group():
    splits, labels = np.zeros(400, dtype=np.int8), np.zeros(400, dtype=int)
    units = np.repeat([0, 1, 2, 3], [200, 100, 60, 40])
    keep = limit_rows(splits, labels, units, 40, 3)
    assert np.abs(np.bincount(units[keep]) - [20, 10, 6, 4]).max() <= 1
    assert limit_rows(splits, labels, units, 400, 3).all()
