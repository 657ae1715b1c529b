"""Which values are left out together."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.folds import FEW_ROWS, FEWEST_ROWS, NOTHING_LEFT, counts_of, make_folds, value_of
from afina.data.roles import Row

LABELS = ["legitimate", "phishing"]


def folds(counts, bare=None):
    table = {value: Counter(rows) for value, rows in counts.items()}
    return make_folds(table, table, Counter(bare or {}), LABELS)


def test_a_value_with_both_labels_is_left_out_alone():
    both = {"legitimate": 30, "phishing": 30}
    found = folds({"sms": both, "email": both, "chat": both})
    assert found.folds == [("chat",), ("email",), ("sms",)]
    assert found.not_left_out == {}


def test_sources_of_one_label_are_paired_the_largest_first():
    """SpamAssassin has no phishing, Nazario nothing else: alone neither has a macro-F1."""
    found = folds(
        {
            "spamassassin": {"legitimate": 300},
            "lingspam": {"legitimate": 100},
            "nazario": {"phishing": 200},
            "phishing_pot": {"phishing": 250},
        }
    )
    assert found.folds == [("lingspam", "nazario"), ("phishing_pot", "spamassassin")]


def test_the_longer_list_is_dealt_out_so_that_each_value_is_left_out_once():
    found = folds(
        {
            **{f"l{n}": {"legitimate": 100 - n} for n in range(3)},
            **{f"p{n}": {"phishing": 100 - n} for n in range(2)},
        }
    )
    assert found.folds == [("l0", "l2", "p0"), ("l1", "p1")]


def test_the_only_source_of_a_label_stays():
    found = folds({"a": {"legitimate": 50}, "b": {"legitimate": 50}, "c": {"phishing": 50}})
    assert found.folds == [("a",), ("b",)]
    assert found.not_left_out == {"c": NOTHING_LEFT}


def test_rows_without_a_value_are_trained_on_and_may_save_a_fold():
    found = folds(
        {"a": {"legitimate": 50}, "b": {"legitimate": 50}, "c": {"phishing": 50}}, {"phishing": 9}
    )
    assert found.folds == [("a",), ("b",), ("c",)]


def test_a_value_of_few_rows_is_counted():
    both = {"legitimate": 30, "phishing": 30}
    found = folds({"a": both, "b": both, "c": {"legitimate": 4, "phishing": 4}})
    assert found.not_left_out == {"c": FEW_ROWS}


def test_values_of_rows():
    row = Row(text="t", extra={"channel": 3}, source="a.csv")
    assert (value_of(row, "channel"), value_of(row, "country")) == ("3", None)
    assert value_of(row, "source") == "a.csv"
    assert value_of(Row(extra={"source": "pot"}, source="a.csv"), "source") == "pot"


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.tuples(st.integers(0, 20), st.integers(0, 20)),
        min_size=1,
    )
)
def test_every_value_has_one_place_and_every_fold_leaves_enough(table):
    counts = {
        value: Counter(legitimate=first, phishing=second) for value, (first, second) in table.items()
    }
    found = make_folds(counts, counts, Counter(), LABELS)
    placed = [value for fold in found.folds for value in fold]
    assert sorted([*placed, *found.not_left_out]) == sorted(table)
    for fold in found.folds:
        for label in LABELS:
            assert sum(c[label] for value, c in counts.items() if value not in fold) >= FEWEST_ROWS


def test_counts_leave_out_rows_without_a_value():
    assert counts_of(["a", None, "a"], ["x", "x", "y"]) == {"a": Counter(x=1, y=1)}
