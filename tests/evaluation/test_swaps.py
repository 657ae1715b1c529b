"""Decisions that a swap changes: counted by hand, by real models, decided by the gate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from afina.errors import AfinaError, RecipeError
from afina.evaluation.answers import TestRows
from afina.evaluation.limits import _check
from afina.evaluation.swaps import Swaps, swap_figures, swaps_of
from afina.metrics.statistics import wilson
from afina.recipe import Limit
from afina.recipe_file import parse_recipe
from tests.conftest import colour_rows
from tests.evaluation.test_score import rows
from tests.tiny import Tiny, value


def of(flipped: list[bool], change: list[float], pairs: list[tuple[str, str]], groups=None):
    codes = None if groups is None else np.array(groups)
    count = len(flipped)
    test = TestRows("test/swapped_names", rows(count), np.zeros(count, dtype=int), codes)
    swaps = Swaps(test, np.arange(count), pairs)
    moves = np.array(change)
    return swap_figures(swaps, np.array(flipped), moves, np.abs(moves), seed=3)


def test_flips_changes_and_pairs_are_counted() -> None:
    flipped = [True] * 6 + [False] * 34
    change = [-0.5] * 6 + [0.1] * 14 + [0.0] * 20
    pairs = [("spanish", "arabic")] * 20 + [("women", "men")] * 15 + [("spanish", "african")] * 5
    found = of(flipped, change, pairs)
    assert (found["rows"], found["flips"], found["value"]) == (40, 6, pytest.approx(0.15))
    expected = wilson(6, 40)
    assert found["ci95"] == pytest.approx([expected.low, expected.high])
    assert found["change"]["value"] == pytest.approx((-3 + 1.4) / 40)
    assert found["moved"]["value"] == pytest.approx((3 + 1.4) / 40)
    low, high = found["change"]["ci95"]
    assert low < found["change"]["value"] < high
    assert [(pair["from"], pair["to"], pair["rows"], pair["flips"]) for pair in found["pairs"]] == [
        ("spanish", "arabic", 20, 6), ("women", "men", 15, 0), ("spanish", "african", 5, 0),
    ]  # fmt: skip
    assert found["pairs"][0]["value"] == pytest.approx(0.3)
    assert found["pairs"][2]["value"] is None  # five rows are counted and not measured
    assert (found["worst"]["from"], found["worst"]["to"]) == ("spanish", "arabic")


def test_groups_are_resampled_whole_and_no_flip_has_a_score_interval() -> None:
    pairs = [("tú", "vos")] * 40
    groups = np.repeat(np.arange(8), 5).tolist()
    one = [True] * 10 + [False] * 30  # two groups flip whole
    grouped, alone = of(one, [0.1] * 40, pairs, groups), of(one, [0.1] * 40, pairs)
    assert "group" in grouped["method"]
    assert grouped["ci95"][1] - grouped["ci95"][0] > alone["ci95"][1] - alone["ci95"][0]
    none = of([False] * 40, [0.0] * 40, pairs, groups)
    assert none["ci95"] == pytest.approx([0, wilson(0, 40).high])
    assert none["worst"] is None
    assert none["change"]["ci95"] == [None, None]


def test_only_rows_that_change_are_asked_again() -> None:
    found = rows(4)
    for row, text in zip(found, ["Ana llama", "nada", "Pedro llama", "luz"], strict=True):
        row.text = text
        row.make_id()
    test = TestRows("test", found, np.array([0, 1, 0, 1]), np.array([0, 1, 2, 2]))
    swaps = swaps_of(test, "names", 13)
    assert swaps.places.tolist() == [0, 2]
    assert swaps.test.name == "test/swapped_names"
    assert [row.id for row in swaps.test.rows] == [found[0].id, found[2].id]
    assert all(row.text.endswith(" llama") for row in swaps.test.rows)
    assert swaps.test.groups.tolist() == [0, 1]
    assert found[0].text == "Ana llama"
    assert not len(swaps_of(TestRows("test", rows(3), np.zeros(3), None), "names", 13).places)


def report(flips: int, count: int) -> dict:
    pairs = [("women", "men")] * count
    figures = of([True] * flips + [False] * (count - flips), [0.1] * count, pairs)
    line = {"model": "tuned", "set": "test", "kind": "names", "of": 400}
    return {"results": [], "comparisons": [], "swaps": [{**line, **figures}]}


@pytest.mark.parametrize(
    ("flips", "count", "most", "verdict"),
    [(0, 100, 0.05, "pass"), (3, 60, 0.05, "undecided"), (30, 60, 0.05, "fail"),
     (0, 30, 0.05, "undecided")],
)  # fmt: skip
def test_the_gate_decides_flips_on_the_interval(flips, count, most, verdict) -> None:
    limit = Limit(metric="swap_flips", by="names", max=most)
    check = _check(limit, report(flips, count))
    assert check["verdict"] == verdict
    assert check["name"] == "decisions of tuned on test changed by swapping names"
    assert check["value"] == pytest.approx(flips / count)
    if (flips, count) == (0, 30):
        assert check["rows_needed"] == 73


def test_nothing_to_swap_decides_nothing_and_another_kind_was_not_asked() -> None:
    empty = {"model": "tuned", "set": "test", "kind": "names", "rows": 0, "value": None}
    given = {"results": [], "comparisons": [], "swaps": [{**empty, "ci95": [None, None]}]}
    check = _check(Limit(metric="swap_flips", by="names", max=0.05), given)
    assert (check["verdict"], check["value"]) == ("undecided", None)
    assert check["why"] == "no row of this set has anything to swap"
    with pytest.raises(AfinaError, match="no swap of address was asked"):
        _check(Limit(metric="swap_flips", by="address", max=0.05), given)


RECIPE = "name: x\ndata: {train: rows.jsonl}\nevaluate: {swaps: [names]}\n"


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("gate=[{metric: swap_flips, by: names, min: 0.1}]", "swap_flips needs max"),
        ("gate=[{metric: swap_flips, max: 0.1}]", "swap_flips needs max"),
        ("gate=[{metric: swap_flips, by: address, max: 0.1}]", "is not in evaluate.swaps"),
        ("gate=[{metric: swap_flips, by: names, max: 5}]", "is a share between 0 and 1"),
        (
            "gate=[{metric: swap_flips, by: names, max: 0.1, model: base}]",
            "only tuned and the baselines",
        ),
        ("evaluate.swaps=[names, names]", "name each swap once"),
        ("task.kind=text", "belongs to kind classify"),
        ("data.names=es_core_news_md", "only with personal: mask"),
    ],
)
def test_what_can_never_be_decided_is_refused(override: str, what: str) -> None:
    parse_recipe(RECIPE, "x.yaml", ["gate=[{metric: swap_flips, by: names, max: 0.1, model: tfidf}]"])
    with pytest.raises(RecipeError, match=what):
        parse_recipe(RECIPE, "x.yaml", [override])


def test_a_real_run_keeps_the_answers_and_says_what_they_came_to(
    tmp_path, llama3_folder, llama3, monkeypatch
) -> None:
    import afina.inference.engine as engine

    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)
    names = ("Ana", "Pedro", "Lucía", "Carlos")
    given = [
        {**row, "text": f"{names[place % 4]}: {row['text']}" if place % 3 else row["text"]}
        for place, row in enumerate(colour_rows())
    ]
    tiny = Tiny(tmp_path, llama3_folder, llama3, given)
    run = tiny.run(
        "evaluate.swaps=[names, countries]", "train.epochs=1",
        "gate=[{metric: swap_flips, by: names, max: 1.0}]", stage="gate",
    )  # fmt: skip
    found = value(run, "evaluation.json")["swaps"]
    assert [(line["model"], line["kind"]) for line in found] == [
        ("tuned", "names"), ("tfidf", "names"), ("tuned", "countries"), ("tfidf", "countries"),
    ]  # fmt: skip
    tests = value(run, "data/audit.json")["splits"]["test"]["rows"]
    assert 0 < found[0]["rows"] < tests == found[0]["of"]
    assert found[2]["rows"] == 0
    assert found[2]["value"] is None
    import pyarrow.parquet as pq

    for model in ("tuned", "tfidf"):
        path = run.path(f"predictions/test/swapped_names/{model}.parquet")
        assert len(pq.read_table(str(path))) == found[0]["rows"]
    # TF-IDF knows the name, if it knows it at all, as one word of several: the tuned answers move too.
    assert found[0]["moved"]["value"] > 0
    check = value(run, "gate.json")["checks"][0]
    assert check["verdict"] == "pass"
    json.dumps(found, allow_nan=False)
