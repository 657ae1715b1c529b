"""Models of other runs, and of fewer bits, on the same rows as the tuned one."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest

from afina.checking import check_recipe
from afina.data.table import read_rows
from afina.errors import AfinaError, MissingExtra
from afina.evaluation import others
from afina.evaluation.answers import read_column
from afina.inference.engine import Engine
from afina.metrics.statistics import mcnemar_mid_p
from afina.models.quantised import quantised_layers
from tests.conftest import colour_rows, write_jsonl
from tests.tiny import Tiny, value

SETTINGS = (
    "train.epochs=0.2",
    "evaluate.baselines=[]",
    "evaluate.metrics=[macro_f1, accuracy]",
    "data.split={train: 0.3, validation: 0.2, test: 0.5}",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("others"), llama3_folder, llama3, colour_rows(80))


@pytest.fixture(scope="module")
def earlier(tiny):
    """Two finished runs: one of the same rows in another split, one of other rows alone."""
    other = write_jsonl(
        tiny.folder / "other.jsonl",
        [{**row, "text": f"Elsewhere: {row['text']}"} for row in colour_rows(80)],
    )
    return {
        "seen": tiny.run(*SETTINGS, "name=seen", "seed=3"),
        "unseen": tiny.run(*SETTINGS, "name=unseen", f"data.train='{other}'"),
    }


@pytest.fixture(scope="module")
def run(tiny, earlier):
    path = earlier["unseen"].root
    return tiny.run(*SETTINGS, f"evaluate.compare=[seen@1, '{path}']", stage="report")


def truth_of(run, model: str) -> tuple[np.ndarray, list[str]]:
    path = run.path(f"predictions/test/{model}.parquet")
    said, label = (np.array(read_column(path, name)) for name in ("said", "label"))
    return said == label, read_column(path, "id")


def test_rows_that_an_earlier_model_saw_are_left_out_of_its_figures(run, earlier) -> None:
    report = value(run, "evaluation.json")
    texts = {
        row.text
        for name in ("train", "validation")
        for row in read_rows(earlier["seen"].path(f"data/{name}.parquet"))
    }
    seen = [row.text in texts for row in read_rows(run.path("data/test.parquet"))]
    notes = {one["model"]: one for one in report["compared"]}
    assert 0 < sum(seen) < len(seen) - 10
    assert notes["seen@1"]["rows_left_out"] == sum(seen)
    assert notes["seen@1"]["rows"] == len(seen) - sum(seen)
    assert notes["unseen@1"]["rows_left_out"] == 0
    lines = {
        (line["model"], line["metric"]): line for line in report["results"] if line["set"] == "test"
    }
    right, _ids = truth_of(run, "seen@1")
    kept = ~np.array(seen)
    assert lines["seen@1", "accuracy"]["n"] == kept.sum()
    assert lines["seen@1", "accuracy"]["value"] == pytest.approx(right[kept].mean())
    assert lines["unseen@1", "accuracy"]["n"] == len(seen)


def test_both_models_are_compared_on_the_same_rows(run) -> None:
    report = value(run, "evaluation.json")
    seen = next(one for one in report["compared"] if one["model"] == "seen@1")
    line = next(
        one for one in report["comparisons"] if (one["b"], one["metric"]) == ("seen@1", "accuracy")
    )
    tuned, ids = truth_of(run, "tuned")
    other, same_ids = truth_of(run, "seen@1")
    assert ids == same_ids
    hashes = others.texts_seen(others.find_run("seen@1", run.store.place))
    rows = read_rows(run.path("data/test.parquet"))
    kept = np.array([not others.among(others.content_hash(row.text), hashes) for row in rows])
    assert kept.sum() == seen["rows"]
    assert line["difference"] == pytest.approx(tuned[kept].mean() - other[kept].mean())
    assert line["p_value"] == pytest.approx(mcnemar_mid_p(tuned[kept], other[kept]))


def test_a_model_of_a_part_of_the_rows_is_not_ranked(run) -> None:
    report = value(run, "evaluation.json")
    assert sorted(report["ranking"]["test"]) == ["base", "probe", "tuned", "unseen@1"]
    page = run.path("report.html").read_text(encoding="utf-8")
    assert "seen@1 was trained or validated on" in page
    assert ">unseen@1<" in page


def test_answers_are_those_of_the_other_engine(run, earlier) -> None:
    rows = read_rows(run.path("data/test.parquet"))[:5]
    wanted = Engine(earlier["unseen"].path("release")).classify([row.text for row in rows])
    found = read_column(run.path("predictions/test/unseen@1.parquet"), "probabilities")[:5]
    assert np.allclose(wanted, found, atol=1e-6)


def test_labels_in_another_order_are_put_in_order(tiny, earlier) -> None:
    run = tiny.run(
        *SETTINGS,
        "name=turned",
        "task.labels=[metal, fruit]",
        "task.positive=fruit",
        "evaluate.compare=[unseen@1]",
        stage="evaluate",
    )
    found = np.array(read_column(run.path("predictions/test/unseen@1.parquet"), "probabilities"))
    rows = read_rows(run.path("data/test.parquet"))
    engine = Engine(earlier["unseen"].path("release"))
    assert engine.settings.labels == ["fruit", "metal"]
    assert np.allclose(found[:, ::-1], engine.classify([row.text for row in rows]), atol=1e-6)


def test_another_training_of_the_other_run_is_another_evaluation(tiny, run, earlier) -> None:
    flow = tiny.workflow(*SETTINGS, f"evaluate.compare=[seen@1, '{earlier['unseen'].root}']")
    before = others.compared_keys(flow.run, flow.recipe)
    assert before["seen@1"]["run"] == "seen@1"
    state = earlier["seen"].path("stages/train.json")
    kept = state.read_text(encoding="utf-8")
    try:
        changed = json.loads(kept)
        changed["outputs"]["release/inference.json"] = "0" * 64
        state.write_text(json.dumps(changed), encoding="utf-8")
        assert others.compared_keys(flow.run, flow.recipe) != before
    finally:
        state.write_text(kept, encoding="utf-8")


def test_a_run_whose_rows_are_gone_is_said_to_be_unsure(tiny, earlier, tmp_path) -> None:
    shutil.copytree(earlier["unseen"].root, tmp_path / "gone" / "1")
    (tmp_path / "gone" / "1" / "data" / "train.parquet").unlink()
    run = tiny.run(*SETTINGS, f"evaluate.compare=['{tmp_path}/gone/1']", stage="report")
    [note] = value(run, "evaluation.json")["compared"]
    assert (note["model"], note["training_rows_known"]) == ("gone@1", False)
    assert "The training rows of gone@1 are not here" in run.path("report.html").read_text("utf-8")


def test_a_model_that_saw_nearly_all_rows_is_not_measured(tiny, run) -> None:
    again = tiny.run(
        *SETTINGS,
        "data.split.train=0.2",
        "data.split.validation=0.7",
        "data.split.test=0.1",
        "name=again",
        "seed=4",
        "evaluate.compare=[seen@1]",
        stage="report",
    )
    report = value(again, "evaluation.json")
    assert [one["measured"] for one in report["compared"]] == [False]
    assert not any(line["model"] == "seen@1" for line in report["results"])
    assert "it was not measured there" in again.path("report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("evaluate.compare=[nobody@1]",), "there is no run `nobody@1`"),
        (("evaluate.compare=[odd@1]",), "has the labels blue, red, this recipe fruit, metal"),
        (("evaluate.compare=[empty@1]",), "empty@1 has no trained model yet"),
        (("evaluate.compare=[fresh@1]", "name=fresh"), "fresh@1 is this run itself"),
        (("evaluate.compare=[texts@1]",), "of kind text, this recipe of kind classify"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(tiny, earlier, overrides, why) -> None:
    for name, change in (("odd", {"labels": ["blue", "red"]}), ("texts", {"kind": "text"})):
        folder = tiny.runs / name / "1"
        if not folder.exists():
            shutil.copytree(earlier["unseen"].root, folder)
            settings = folder / "release" / "inference.json"
            given = json.loads(settings.read_text(encoding="utf-8"))
            settings.write_text(json.dumps({**given, **change}), encoding="utf-8")
    tiny.workflow(*SETTINGS, "name=empty")
    with pytest.raises(AfinaError, match=why.replace("@", ".")):
        tiny.run(*SETTINGS, "seed=41", *overrides)
    made = [path for path in tiny.runs.rglob("metrics.jsonl") if "tiny" in path.parts]
    assert len(made) <= 2  # those of the runs above


def test_bits_without_the_library_are_refused_at_the_check(tiny, monkeypatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        others.importlib.util,
        "find_spec",
        lambda name, *more: None if name == "bitsandbytes" else real(name, *more),
    )
    with pytest.raises(MissingExtra) as caught:
        check_recipe(tiny.recipe("evaluate.bits=[8]"), lambda _text: None)
    assert "afina[quantize]" in (caught.value.fix or "")


def test_the_check_looks_at_the_runs_that_are_there(tiny, earlier, monkeypatch) -> None:
    monkeypatch.chdir(tiny.folder)
    said: list[str] = []
    recipe = tiny.recipe(*SETTINGS, "evaluate.compare=[unseen@1, nobody@1]")
    check_recipe(recipe, said.append)
    assert any("there is no run nobody@1" in line for line in said)
    with pytest.raises(AfinaError, match="has the labels"):
        check_recipe(tiny.recipe(*SETTINGS, "evaluate.compare=[odd@1]"), said.append)


# Fewer bits

needs_bits = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory, wide_llama3, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("wide"), wide_llama3, llama3, colour_rows(80))


@pytest.fixture(scope="module")
def fewer(wide):
    return wide.run(*SETTINGS, "evaluate.bits=[8, 4]", stage="report")


@needs_bits
def test_what_fewer_bits_cost_stands_in_the_tables(fewer) -> None:
    report = value(fewer, "evaluation.json")
    assert {"tuned", "tuned_8bit", "tuned_4bit"} <= set(report["ranking"]["test"])
    for bits in (8, 4):
        lines = [one for one in report["comparisons"] if one["b"] == f"tuned_{bits}bit"]
        assert {one["metric"] for one in lines} == {"macro_f1", "accuracy"}
    page = fewer.path("report.html").read_text(encoding="utf-8")
    assert "The tuned model in 4 bits" in page


@needs_bits
@pytest.mark.parametrize("bits", [8, 4])
def test_they_are_the_same_release_on_a_quantised_base(fewer, bits) -> None:
    rows = read_rows(fewer.path("data/test.parquet"))[:6]
    texts = [row.text for row in rows]
    engine = Engine(fewer.path("release"), bits=bits)
    assert engine.settings.bits == bits
    assert len(quantised_layers(engine.model)) == 14
    assert type(next(iter(quantised_layers(engine.model).values())).weight).__name__ == (
        "Int8Params" if bits == 8 else "Params4bit"
    )
    found = read_column(fewer.path(f"predictions/test/tuned_{bits}bit.parquet"), "probabilities")[:6]
    assert np.allclose(found, engine.classify(texts), atol=1e-5)
    whole = Engine(fewer.path("release"))
    assert not quantised_layers(whole.model)
    difference = np.abs(np.array(found) - whole.classify(texts)).max()
    assert 0 < difference < 0.5


@needs_bits
def test_a_limit_may_bound_what_fewer_bits_cost(wide) -> None:
    limit = {"metric": "accuracy", "model": "tuned_8bit", "against": "tuned", "min_gain": -0.9}
    run = wide.run(*SETTINGS, "evaluate.bits=[8]", f"gate=[{json.dumps(limit)}]", stage="gate")
    [check] = value(run, "gate.json")["checks"]
    report = value(run, "evaluation.json")
    line = next(
        one for one in report["comparisons"] if (one["b"], one["metric"]) == ("tuned_8bit", "accuracy")
    )
    assert check["value"] == pytest.approx(-line["difference"])
    assert check["verdict"] == "pass"


# Generating models


def test_a_model_of_other_tokens_is_compared_by_bytes_alone(tmp_path_factory, tiny, llama3) -> None:
    folder = tmp_path_factory.mktemp("talk")
    rows = [{"prompt": f"Box {n}?", "response": f"It is box {n}."} for n in range(60)]
    talks = Tiny(folder, tiny.model, llama3, rows)
    settings = ("task.kind=generate", "train.epochs=0.2", SETTINGS[-1])
    more = [{**row, "prompt": f"Other {row['prompt']}"} for row in rows]
    other = write_jsonl(folder / "more.jsonl", more)
    talks.run(*settings, "name=old", f"data.train='{other}'")
    run = talks.run(*settings, "evaluate.compare=[old@1]", stage="evaluate")
    report = value(run, "evaluation.json")
    metrics = {line["metric"] for line in report["comparisons"] if line["b"] == "old@1"}
    assert metrics == {"perplexity", "bits_per_byte"}
    from afina.evaluation.measure import _other_tokens

    losses = np.array([[3.0, 2.0, 4.0], [1.0, 5.0, 6.0]])
    assert not _other_tokens(losses, losses)
    assert _other_tokens(losses, losses + np.array([0.0, 1.0, 0.0]))
