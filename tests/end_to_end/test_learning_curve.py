"""The learning curve of a tiny run: nested parts, the same split, interruptions, cleaning."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

import afina.inference.engine as engine
from afina.cli.overfitting_lines import overfitting_lines
from afina.cli.runs import leftovers, remove
from afina.data.table import read_rows
from afina.errors import Interrupted
from afina.evaluation.answers import TestRows
from afina.evaluation.learning_curve import Point, curve
from afina.evaluation.score import Measured, label_answers, label_metric
from afina.reports import write_report
from afina.reports.learning_curve import curve_view
from afina.run_result import result_of
from afina.runs.children import ChildRun
from afina.runs.folder import list_runs
from afina.runs.spending import entries_of
from tests.evaluation.test_score import rows
from tests.tiny import Tiny, adapter_hash, value

SETTINGS = (
    "data.split.group_by=day",
    "train.epochs=1",
    "train.evaluations_per_epoch=1",
    "evaluate.memorisation_rows=0",
    "evaluate.metrics=[accuracy]",
    "evaluate.baselines=[tfidf]",
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, llama3_folder, llama3) -> dict:
    """A run whose curve is interrupted in its second child, and finished by the same command."""
    place = Tiny(tmp_path_factory.mktemp("curve"), llama3_folder, llama3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_tokens", lambda *_given: llama3)
        run = place.run(*SETTINGS, stage="evaluate")
        flow, said = place.workflow(*SETTINGS), []

        def progress(text: str) -> None:
            begun = run.path("children/learning_curve").glob("*/stages/train.json")
            if text.startswith("step 1/") and len(list(begun)) == 2:
                os.kill(os.getpid(), signal.SIGINT)

        flow.run.say, flow.run.progress = said.append, progress
        with pytest.raises(Interrupted):
            flow.do("curve")
        first = min(run.path("children/learning_curve").iterdir(), key=lambda path: int(path.name))
        before = (first / "release/adapter/adapter_model.safetensors").stat().st_mtime_ns
        assert not run.path("learning_curve.json").exists()
        again = place.workflow(*SETTINGS)
        again.run.say = said.append
        assert again.do("curve")
        assert not place.workflow(*SETTINGS).do("curve"), "it is done"
        after = (first / "release/adapter/adapter_model.safetensors").stat().st_mtime_ns
    return {"run": run, "place": place, "said": said, "kept": before == after}


def children(run) -> list[ChildRun]:
    """The children, the one with the fewest rows first."""
    folders = sorted(run.path("children/learning_curve").iterdir(), key=lambda path: int(path.name))
    return [ChildRun(path, path.parent.name, int(path.name), run.store) for path in folders]


def test_it_went_on_where_it_was_interrupted(drawn) -> None:
    assert drawn["kept"], "the first child was not trained again"
    assert any("going on after step 1" in line for line in drawn["said"])
    found = value(drawn["run"], "learning_curve.json")
    assert [
        p["rows"] for p in found["points"] if p["model"] == "tuned" and p["metric"] == "macro_f1"
    ] == [
        *(child.number for child in children(drawn["run"])),
        value(drawn["run"], "data/audit.json")["splits"]["train"]["rows"],
    ]
    assert {point["model"] for point in found["points"]} == {"tuned", "probe", "tfidf"}
    assert {(gain["model"], gain["metric"]) for gain in found["gains"]} >= {("tuned", "macro_f1")}


def test_parts_are_nested_and_the_split_is_the_runs_own(drawn) -> None:
    run = drawn["run"]
    whole = {row.id: row.extra["day"] for row in read_rows(run.path("data/train.parquet"))}
    inside: set[str] = set()
    for child in children(run):
        ids = {row.id for row in read_rows(child.path("data/train.parquet"))}
        assert len(ids) == child.number
        assert inside < ids < set(whole)
        days = {whole[one] for one in ids}
        assert ids == {one for one, day in whole.items() if day in days}, "groups stay whole"
        inside = ids
        for name in ("validation", "test"):
            assert (
                child.path(f"data/{name}.parquet").read_bytes()
                == run.path(f"data/{name}.parquet").read_bytes()
            )
        assert child.resolved() == run.resolved()


def test_it_is_paid_by_the_run_and_is_no_run_of_its_own(drawn) -> None:
    run = drawn["run"]
    assert "curve" in {entry["stage"] for entry in entries_of(run)}
    assert not any(child.path("spent.json").exists() for child in children(run))
    assert [one.title for one in list_runs(str(drawn["place"].runs))] == [run.title]


def test_the_same_recipe_gives_the_same_children(drawn, llama3, monkeypatch) -> None:
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)
    run = drawn["place"].run(*SETTINGS, stage="curve", runs="again")
    assert [adapter_hash(one) for one in children(run)] == [
        adapter_hash(one) for one in children(drawn["run"])
    ]
    assert value(run, "learning_curve.json") == value(drawn["run"], "learning_curve.json")


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("Has it learned by heart?", "Would more data help?", "training rows")),
        ("es", ("¿Aprendió de memoria?", "¿Ayudarían más datos?", "filas de entrenamiento")),
    ],
)
def test_the_report_draws_it(drawn, language, said) -> None:
    text = write_report(drawn["run"], language).read_text(encoding="utf-8")
    for words in said:
        assert words in text
    drawing = text[text.index('id="learning"') :]
    assert drawing.index("<polyline") < drawing.index('id="models"')
    for row in read_rows(drawn["run"].path("data/train.parquet")):
        assert row.text not in text


def test_the_terminal_says_it(drawn) -> None:
    lines = "\n".join(overfitting_lines(result_of(drawn["run"], True)))
    assert "learned by heart?" in lines
    assert "more data?" in lines
    assert "40 rows: tuned" in lines


def test_cleaning_takes_the_children_of_a_curve_that_is_drawn(drawn) -> None:
    place, run = drawn["place"], drawn["run"]
    found = [path for path, _size in leftovers(str(place.folder / "again"))]
    other = place.folder / "again/tiny/1/children/learning_curve"
    assert found == [other]
    state = json.loads(run.path("stages/curve.json").read_text())
    run.path("stages/curve.json").write_text(json.dumps({**state, "state": "stopped"}))
    assert leftovers(str(place.runs)) == [], "a curve that is not drawn goes on from them"
    run.path("stages/curve.json").write_text(json.dumps(state))
    remove(other)
    assert not other.exists()


# --- the curve from answers ---------------------------------------------------------------------------


def points(*shares_wrong: tuple[int, float], count: int = 400) -> tuple[list[Point], TestRows]:
    """Models that are wrong in a growing part of the same rows."""
    truth = np.arange(count) % 2
    # The rows that are hard come in the same order for all, spread over both labels.
    hard = np.random.default_rng(0).permutation(count)
    found = []
    for number, wrong in shares_wrong:
        said = truth.copy()
        missed = hard[: round(wrong * count)]
        said[missed] = 1 - said[missed]
        answers = label_answers(said, np.stack([1.0 - said, said], axis=1), None)
        metrics = {
            name: metric
            for name in ("macro_f1", "accuracy")
            if (metric := label_metric(name, truth, 2, None))
        }
        found.append(Point(number / 400, number, {"tuned": Measured("tuned", answers, metrics)}))
    return found, TestRows("test", rows(count), truth, None)


def drawn_from(*given, **other) -> dict:
    made, test = points(*given, **other)
    from afina.recipe_file import parse_recipe

    return curve(parse_recipe("name: a\ndata: {train: a.csv}\n", "a.yaml"), made, [], test)


def test_an_error_that_falls_says_how_many_rows_would_lower_it() -> None:
    found = drawn_from((100, 0.4), (200, 0.2828), (400, 0.2))  # half for four times the rows
    fit = found["fit"]
    assert fit["meaningful"]
    assert fit["exponent"] == pytest.approx(0.5, abs=0.02)
    assert fit["rows_needed"] == pytest.approx(400 / 0.75**2, rel=0.05)
    low, high = fit["rows_needed_ci95"]
    assert low < fit["rows_needed"] < high
    gain = next(g for g in found["gains"] if g["metric"] == "accuracy")
    assert gain["difference"] == pytest.approx(0.0828, abs=0.002)
    assert gain["ci95"][0] > 0.05
    view = curve_view(found, "en")
    assert "More rows of this kind are likely to help." in view.headline.text
    assert "about 7" in view.sentences[0]
    assert view.svg.count("<circle") == 3


@pytest.mark.parametrize(
    ("given", "why", "said"),
    [
        (((200, 0.3), (400, 0.2)), "few_points", "takes three numbers"),
        (((100, 0.2), (200, 0.3), (400, 0.1)), "not_falling", "does not fall"),
        (((100, 0.1), (200, 0.05), (400, 0.0)), "no_error", "no error left"),
        (((100, 0.3), (200, 0.295), (400, 0.29)), "too_far", "more than ten times"),
    ],
)
def test_no_law_is_told_where_it_would_mean_nothing(given, why, said) -> None:
    found = drawn_from(*given)
    assert found["fit"]["why"] == why
    assert not found["fit"]["meaningful"]
    assert found["fit"]["rows_needed"] is None
    assert said in curve_view(found, "en").sentences[0]


def test_a_gain_within_chance_is_said_to_be_so() -> None:
    view = curve_view(drawn_from((200, 0.2), (400, 0.2)), "en")
    assert "cannot tell whether more training rows would help" in view.headline.text
    spanish = curve_view(drawn_from((200, 0.2), (400, 0.2)), "es")
    assert "no pueden decir" in spanish.headline.text
    assert curve_view(None, "en") is None
