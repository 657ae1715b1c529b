"""Values left out: the models never see them, the drop is what the definition says, work goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from afina.data.table import read_rows
from afina.errors import AfinaError, Interrupted
from afina.evaluation import left_out as left_out_stage
from afina.evaluation.answers import kept_answers
from afina.evaluation.baseline import TfidfBaseline
from afina.evaluation.limits import gate
from afina.metrics.labels import macro_f1
from afina.recipe import Limit
from afina.reports.figures import collect
from afina.reports.left_out import left_out_view
from tests.tiny import Tiny, value

LABELS = ["fruit", "metal"]
SPLIT = "data.split={train: 0.5, validation: 0.2, test: 0.3}"
SETTINGS = (
    "train.epochs=0.2",
    SPLIT,
    "evaluate.leave_out=source",
    "evaluate.metrics=[macro_f1, auc, false_positive_rate]",
)
ALL = ("evaluate.leave_out_models=[probe, tfidf, tuned]", "evaluate.baselines=[tfidf, blend]")


SOURCES = {"forge": "metal", "market": "fruit", "mine": "metal", "orchard": "fruit"}


def source_rows(count: int = 160) -> list[dict]:
    """Sources of one label each; a model learns the words of one and finds others in the next."""
    words = {
        "orchard": ("fruit", "mango papaya guava"),
        "market": ("fruit", "banana lime peach"),
        "mine": ("metal", "iron copper silver"),
        "forge": ("metal", "zinc lead tin"),
    }
    rows = []
    for number in range(count):
        source = list(words)[number % 4]
        label, known = words[source]
        first, second = (known.split()[(number // 4 + step) % 3] for step in (0, 1))
        # What the sources of a label share, in some of the rows only.
        shared = {"fruit": "sweet", "metal": "hard"}[label] if number % 3 else "plain"
        text = f"Lot {number}: {shared} {first} and {second} on day {number * 7 % 31}"
        rows.append({"text": text, "label": label, "source": source})
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("left_out"), llama3_folder, llama3, source_rows())


@pytest.fixture(scope="module")
def run(place):
    return place.run(*SETTINGS, *ALL, stage="evaluate")


@pytest.fixture(scope="module")
def report(run):
    return value(run, "evaluation.json")


def line(report, model, metric, values=None):
    return next(
        one
        for one in report["left_out"]
        if (one["model"], one["metric"], one["values"]) == (model, metric, values)
    )


def test_one_source_of_each_label_is_left_out_at_a_time(report):
    folds = report["left_out_folds"]
    assert sorted(value for fold in folds["folds"] for value in fold["values"]) == list(SOURCES)
    for fold in folds["folds"]:
        assert sorted(SOURCES[value] for value in fold["values"]) == LABELS
        assert set(fold["labels"]) == set(LABELS)
    assert (folds["column"], folds["not_left_out"], folds["test_rows_without_value"]) == (
        "source",
        {},
        0,
    )


def test_no_row_of_a_left_out_source_is_in_a_child(run, report):
    for number, fold in enumerate(report["left_out_folds"]["folds"], start=1):
        child = run.path(f"children/left_out/{number}")
        for name in ("train", "validation"):
            rows = read_rows(child / f"data/{name}.parquet")
            whole = read_rows(run.path(f"data/{name}.parquet"))
            assert {row.extra["source"] for row in rows}.isdisjoint(fold["values"])
            assert [r.id for r in rows] == [
                r.id for r in whole if r.extra["source"] not in fold["values"]
            ]
        asked = read_rows(child / "data/test.parquet")
        assert {row.extra["source"] for row in asked} == set(fold["values"])
        assert fold["models"]["tuned"]["rows"] == fold["train_rows"] > 0


def test_tfidf_without_a_source_is_the_one_fitted_without_it(run, report):
    rows = {
        name: read_rows(run.path(f"data/{name}.parquet")) for name in ("train", "validation", "test")
    }
    out = report["left_out_folds"]["folds"][0]["values"]
    kept = [[r for r in rows[name] if r.extra["source"] not in out] for name in ("train", "validation")]
    wanted = TfidfBaseline(*kept, LABELS).probabilities(
        [row.text for row in rows["test"] if row.extra["source"] in out]
    )
    found = kept_answers(run.path("predictions/left_out/tfidf.1.parquet"))
    assert found is not None
    np.testing.assert_allclose(found[0], wanted)


def test_the_drop_is_the_ordinary_figure_less_that_of_the_fold(run, report):
    import pyarrow.parquet as pq

    rows = read_rows(run.path("data/test.parquet"))
    codes = {label: code for code, label in enumerate(LABELS)}
    ordinary = pq.read_table(str(run.path("predictions/test/tfidf.parquet"))).to_pylist()
    truth = np.array([codes[str(row.label)] for row in rows])
    all_said = np.array([codes[one["said"]] for one in ordinary])
    said = {}
    for number in (1, 2):
        found = pq.read_table(str(run.path(f"predictions/left_out/tfidf.{number}.parquet")))
        said |= {one["id"]: codes[one["said"]] for one in found.to_pylist()}
    left = np.array([said[row.id] for row in rows])
    whole = line(report, "tfidf", "macro_f1")
    assert whole["value"] == pytest.approx(macro_f1(truth, left, 2))
    assert whole["ordinary"] == pytest.approx(macro_f1(truth, all_said, 2))
    assert whole["drop"] == pytest.approx(whole["ordinary"] - whole["value"])
    assert whole["groups"] == 4
    low, high = whole["drop_ci95"]
    assert low <= whole["drop"] <= high
    out = report["left_out_folds"]["folds"][1]["values"]
    own = line(report, "tfidf", "macro_f1", out)
    inside = np.array([row.extra["source"] in out for row in rows])
    assert own["n"] == inside.sum()
    assert own["value"] == pytest.approx(macro_f1(truth[inside], left[inside], 2))


def test_more_false_alarms_are_a_drop_above_zero(report):
    for one in report["left_out"]:
        if one["metric"] == "false_positive_rate":
            assert one["drop"] == pytest.approx(one["value"] - one["ordinary"])


def test_it_is_a_set_as_any_other(report):
    assert report["sets"]["left_out"]["groups"] == 4
    assert set(report["ranking"]["left_out"]) == {"probe", "tfidf", "tuned"}
    whole = [one for one in report["results"] if one["set"] == "left_out"]
    assert {one["model"] for one in whole} == {"probe", "tfidf", "tuned"}
    assert {one["metric"] for one in whole} == {"macro_f1", "auc", "false_positive_rate"}
    pairs = {(one["a"], one["b"]) for one in report["comparisons"] if one["set"] == "left_out"}
    assert pairs == {("tuned", "probe"), ("tuned", "tfidf")}


def test_the_blend_is_a_model_of_its_own(run, report):
    assert set(report["ranking"]["test"]) == {"base", "probe", "tuned", "tfidf", "blend"}
    assert any((one["a"], one["b"]) == ("tuned", "blend") for one in report["comparisons"])
    assert value(run, "release/inference.json")["head"]["kind"] == "pooled"


def test_the_gate_decides_on_it(run, report):
    found = line(report, "tuned", "macro_f1")
    limit = Limit(metric="macro_f1", set="left_out", min=0.0)
    recipe = run.recipe().model_copy(update={"gate": [limit]})
    decided = gate(run, recipe)
    assert decided["checks"][0]["value"] == pytest.approx(found["value"])
    assert decided["checks"][0]["groups"] == 4


def test_the_page_and_the_terminal_say_it(run, report):
    from afina.cli.left_out import left_out_lines
    from afina.reports.page import write_report

    lines = left_out_lines(report)
    assert "source" in lines[0]
    assert any("tfidf" in text and "all of them" in text for text in lines)
    view = left_out_view(collect(run).evaluation, "en")
    assert view is not None
    assert {row.metric for row in view.main} == {"macro_f1", "false_positive_rate"}
    assert len(view.sentences) == 3
    for language, words in (("en", "never seen"), ("es", "nunca vistos")):
        page = write_report(run, language).read_text(encoding="utf-8")
        assert words in page
        assert 'id="left-out"' in page


def test_what_is_kept_is_not_made_again(place, run):
    """Children and answers stay when the evaluation is done anew; other rows begin a child anew."""
    before = {
        path: path.stat().st_mtime_ns for path in run.path("children").rglob("adapter_model.safetensors")
    }
    assert len(before) == 2
    again = place.workflow(*SETTINGS, *ALL)
    run.path("evaluation.json").unlink()
    again.do("evaluate")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_it_goes_on_where_it_stopped(place, monkeypatch):
    """A stop between two folds: the first is kept, the figures are those of an uninterrupted run."""
    real, asked = left_out_stage.answer_fold, []

    def stops_once(answers, model, *more):
        if len(asked) == 3:
            asked.append("stop")
            raise Interrupted("stopped here")
        asked.append(model)
        return real(answers, model, *more)

    monkeypatch.setattr(left_out_stage, "answer_fold", stops_once)
    overrides = (*SETTINGS, "seed=5")
    with pytest.raises(Interrupted):
        place.run(*overrides, stage="evaluate")
    stopped = place.run(*overrides, stage="evaluate")
    assert asked == ["probe", "probe", "tfidf", "stop", "tfidf"]
    monkeypatch.setattr(left_out_stage, "answer_fold", real)
    whole = place.run(*overrides, stage="evaluate", runs="whole")
    lines = [json.dumps(value(one, "evaluation.json")["left_out"]) for one in (stopped, whole)]
    assert lines[0] == lines[1]


def test_a_column_that_no_row_has_is_refused(place):
    flow = place.workflow("train.epochs=0.2", SPLIT, "evaluate.leave_out=country", "seed=5")
    with pytest.raises(AfinaError, match="no value of the column `country` can be left out"):
        flow.do("evaluate")
