"""Answers in writing: what is counted is what the model says in the place of the last answer."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from afina.errors import RecipeError
from afina.evaluation.written import part_of
from afina.inference.engine import Engine
from afina.runs.signals import StopSignal
from tests.tiny import Tiny, value
from tests.training.test_kinds import conversations

sacrebleu = pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

NAMES = ["exact_match", "rouge1", "rouge_l", "bleu", "chrf"]
SETTINGS = (
    "task.kind=generate",
    "train.learning_rate=0.03",
    "train.samples=0",
    "evaluate.written_rows=3",
    "evaluate.max_new_tokens=12",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("written"), llama3_folder, llama3, conversations())


@pytest.fixture(scope="module")
def run(tiny):
    flow = tiny.workflow(*SETTINGS, f"evaluate.metrics={json.dumps(['perplexity', *NAMES])}")
    flow.do("evaluate")
    return flow.run


def test_the_figures_are_those_of_the_answers_that_are_kept(run) -> None:
    found = value(run, "evaluation.json")
    for model in ("base", "tuned"):
        kept = pq.read_table(run.path(f"predictions/test/{model}.written.parquet")).to_pylist()
        assert len(kept) == 3
        said, wanted = ([row[name] for row in kept] for name in ("said", "wanted"))
        lines = {line["metric"]: line for line in found["results"] if line["model"] == model}
        assert set(lines) == {"perplexity", *NAMES}
        assert {lines[name]["n"] for name in NAMES} == {3}
        assert lines["perplexity"]["n"] == found["sets"]["test"]["rows"] == 4
        assert lines["bleu"]["value"] == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score)
        assert lines["chrf"]["value"] == pytest.approx(sacrebleu.corpus_chrf(said, [wanted]).score)
        assert lines["exact_match"]["value"] == np.mean(
            [a.strip() == b.strip() for a, b in zip(said, wanted, strict=True)]
        )
    compared = {line["metric"] for line in found["comparisons"]}
    assert compared == {"perplexity", *NAMES}


def test_they_are_what_the_engine_answers_to_the_same_question(run, tiny) -> None:
    from afina.data.chat import last_exchange
    from afina.data.table import read_rows

    engine = Engine(run.path("release"))
    kept = pq.read_table(run.path("predictions/test/tuned.written.parquet")).to_pylist()
    rows = {row.id: row for row in read_rows(run.path("data/test.parquet"))}
    for line in kept:
        asked, wanted = last_exchange(rows[line["id"]])
        assert wanted == line["wanted"]
        assert "".join(engine.reply(asked, 12)) == line["said"]
        assert len(engine.tokens.encode(line["said"])) <= 14


def test_written_answers_are_measured_by_slices_too(run) -> None:
    from afina.evaluation.answers import TestRows
    from afina.evaluation.measure import _add_results, empty_report
    from afina.evaluation.score import Measured
    from afina.evaluation.written import _metric
    from tests.evaluation.test_score import rows

    found = np.zeros((40, 32))
    found[:, 0] = np.repeat([1.0, 0.0], 20)  # exact matches in one half alone
    test = TestRows("test", rows(40), np.array([]), None)
    for number, row in enumerate(test.rows):
        row.extra["half"] = "ab"[number >= 20]
    recipe = run.recipe().model_copy(
        update={"evaluate": run.recipe().evaluate.model_copy(update={"slices": ["half"]})}
    )
    report = empty_report("generate", [], None)
    measured = [Measured("tuned", found, {"exact_match": _metric("exact_match")})]
    with StopSignal() as stop:
        _add_results(report, recipe, test, measured, None, stop)
    assert [line["value"] for line in report["results"]] == [0.5, 1.0, 0.0]
    assert report["gaps"][0]["value"] == 1.0


def test_the_part_is_seeded_and_in_order(run, tiny) -> None:
    from afina.evaluation.answers import test_rows

    rows = test_rows(run, run.recipe(), [], "test")
    first, again, other = (part_of(rows, 2, seed) for seed in (1, 1, 5))
    places = [rows.rows.index(row) for row in first.rows]
    assert places == sorted(places)
    assert first.rows == again.rows
    assert part_of(rows, 4, 1) is rows
    assert len(other.rows) == 2


@pytest.mark.parametrize("setting", ["evaluate.metrics=[bleu]", "gate=[{metric: rouge_l, min: 0.2}]"])
def test_a_classifier_writes_nothing(tiny, setting) -> None:
    with pytest.raises(RecipeError, match="belongs to kind generate, not to classify"):
        tiny.recipe("task.kind=classify", setting)


def test_a_limit_beyond_a_metrics_range_is_refused(tiny) -> None:
    for limit, why in (
        ("{metric: bleu, min: 101}", "bleu lies between 0 and 100"),
        ("{metric: rouge_l, min: 20}", "is a share between 0 and 1"),
        ("{metric: bleu, against: base, min_gain: 120}", "between -100 and 100"),
    ):
        with pytest.raises(RecipeError, match=why):
            tiny.recipe(*SETTINGS, "evaluate.metrics=[bleu, rouge_l]", f"gate=[{limit}]")
