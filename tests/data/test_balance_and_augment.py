"""Weights that balance, and rows changed by lot: known answers, and what the data stage writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.augment import KINDS, SHORTEST, Augmenter, addresses, casing, headers, truncation, typos
from afina.data.balance import MOST, balance
from afina.data.batches import epoch_order
from afina.data.roles import Row
from afina.errors import AfinaError, DataError
from afina.recipe import Augment
from afina.recipe_file import parse_recipe
from tests.conftest import colour_rows

RANDOM = np.random.default_rng


def test_each_cell_is_seen_as_often():
    values = ["a"] * 6 + ["b"] * 2
    labels = ["x", "x", "x", "y", "y", "y", "x", "x"]
    factors, said = balance(values, labels, "source")
    # Three cells (a x, a y, b x) of 3, 3 and 2 rows: 8/3 rows each.
    assert factors.tolist() == pytest.approx([8 / 9] * 6 + [8 / 6] * 2)
    assert factors.sum() == pytest.approx(8)
    assert [cell["times"] for cell in said["cells"]] == [0.8889, 0.8889, 1.3333]


def test_a_row_of_a_tiny_source_is_not_repeated_without_end():
    factors, said = balance(["big"] * 999 + ["tiny"], ["x"] * 1000, "source")
    assert factors[-1] == MOST
    assert [cell["cut_to_most"] for cell in said["cells"]] == [False, True]


def test_a_column_that_no_row_has():
    with pytest.raises(DataError, match="no training row has a value in `where`"):
        balance(["", ""], ["x", "y"], "where")


def test_the_rows_of_an_epoch_follow_the_weights():
    values, labels = ["a"] * 90 + ["b"] * 10, ["x", "y"] * 50
    factors, _said = balance(values, labels, "source")
    seen = np.zeros(100)
    for epoch in range(20):
        for step in epoch_order([1] * 100, factors.tolist(), 8, 13, epoch):
            np.add.at(seen, step, 1)
    assert seen[:90].sum() == pytest.approx(seen[90:].sum(), rel=0.05)


def test_the_data_stage_writes_the_weights(made):
    rows = [{**row, "place": "ab"[number % 10 < 2]} for number, row in enumerate(colour_rows(120))]
    done = made(rows, balance="place")
    by_cell: dict[tuple[str, str], list[float]] = {}
    for row in done.rows["train"]:
        by_cell.setdefault((row.extra["place"], row.label), []).append(row.weight)
    sums = [sum(weights) for weights in by_cell.values()]
    assert len(by_cell) == 4
    assert sums == pytest.approx([len(done.rows["train"]) / 4] * 4)
    assert {row.weight for name in ("validation", "test") for row in done.rows[name]} == {1.0}
    assert done.audit["balance"]["column"] == "place"
    assert sum(cell["rows"] for cell in done.audit["balance"]["cells"]) == len(done.rows["train"])


# Augmentation


def test_header_lines_go_and_a_subject_comes():
    mail = "From: Ana <a@b.cl>\nSubject: hola\n\nSu paquete llega hoy."
    assert headers(mail, RANDOM(0)) == "Su paquete llega hoy."
    bare = headers("Su paquete llega hoy a casa de Ana.", RANDOM(0))
    assert bare.split("\n") in (
        ["Subject: Su paquete llega hoy a casa", "Su paquete llega hoy a casa de Ana."],
        ["Asunto: Su paquete llega hoy a casa", "Su paquete llega hoy a casa de Ana."],
    )


@pytest.mark.parametrize(
    "text", ["write to ana.p@correo.com.mx", "see https://bit.ly/x?y=1 now", "call +52 55 1234 5678"]
)
def test_addresses_are_others(text):
    changed = addresses(text, RANDOM(1))
    assert changed.split()[0] == text.split()[0]
    assert not any(part in changed for part in ("correo.com", "bit.ly", "1234"))


def test_masks_of_addresses_are_changed_too():
    found = {addresses("go to <URL> or <email>", RANDOM(seed)) for seed in range(12)}
    assert len(found) > 3


def test_a_typo_changes_few_letters():
    text = " ".join(["palabra"] * 50)
    changed = typos(text, RANDOM(2))
    wrong = [word for word in changed.split() if word != "palabra"]
    assert len(wrong) <= 3
    assert all(abs(len(word) - 7) <= 1 for word in wrong)
    assert typos("1 2 3", RANDOM(0)) == "1 2 3"


def test_truncation_leaves_whole_words():
    text = " ".join(map(str, range(100)))
    for seed in range(20):
        kept = truncation(text, RANDOM(seed))
        assert text.startswith(kept)
        assert SHORTEST * 100 - 1 <= len(kept.split()) <= 100


def test_casing():
    assert {casing("Uno dos", RANDOM(seed)) for seed in range(20)} == {"uno dos", "UNO DOS", "Uno Dos"}


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300), st.integers(0, 99), st.sampled_from(sorted(KINDS)))
def test_any_text_gives_text(text, seed, kind):
    assert isinstance(KINDS[kind](text, RANDOM(seed)), str)


def rows_of(count: int) -> list[Row]:
    rows = [Row(text=f"Lot {n}: mango came to a@b.cl in box {n} today", label="x") for n in range(count)]
    for row in rows:
        row.make_id()
    return rows


def test_the_share_is_the_rate_and_the_same_seed_gives_the_same_rows():
    rows = rows_of(600)
    one, again = Augmenter(Augment(typos=0.3), 13), Augmenter(Augment(typos=0.3), 13)
    texts = [one(row).text for row in rows]
    # In another order, as after a stop.
    back = [again(row).text for row in reversed(rows)]
    assert texts == back[::-1]
    assert one.counts["typos"] == pytest.approx(180, abs=40)
    assert one.as_json() == {
        "rows": 600,
        "changed": one.counts["typos"],
        "by_kind": {"typos": one.counts["typos"]},
    }
    assert [Augmenter(Augment(typos=0.3), 14)(row).text for row in rows] != texts


def test_another_rate_changes_no_other_row():
    rows = rows_of(200)
    alone = [Augmenter(Augment(typos=0.5), 13)(row).text for row in rows]
    both = [Augmenter(Augment(typos=0.5, headers=0.1), 13)(row) for row in rows]
    same = [a == row.text for a, row in zip(alone, both, strict=True) if "headers" not in str(row.extra)]
    assert all(same)


def test_the_data_stage_changes_training_rows_alone(made):
    rows = colour_rows(80)
    plain = made(rows)
    done = made(rows, augment={"casing": 0.5, "typos": 0.5})
    for name in ("validation", "test"):
        assert [row.text for row in done.rows[name]] == [row.text for row in plain.rows[name]]
    before = {row.id: row.text for row in plain.rows["train"]}
    changed = [row for row in done.rows["train"] if row.text != before[row.id]]
    assert {row.id for row in done.rows["train"]} == set(before)
    assert done.audit["augment"]["changed"] == len(changed) > 20
    assert all(row.extra["augmented"] for row in changed)
    assert plain.audit["augment"] is None


def test_addresses_are_not_put_into_rows_that_are_masked():
    with pytest.raises(AfinaError, match=r"data\.augment\.addresses: puts addresses into texts"):
        parse_recipe(
            "name: a\ndata: {train: a.csv, personal: mask, augment: {addresses: 0.2}}", "recipe.yaml"
        )
