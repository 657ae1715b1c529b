"""Afina from Python: the page docs/python.md as it stands, and what each function returns."""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest

import afina
import afina.checking as checking
import afina.inference.engine as engine
import afina.workflow as workflow
from afina.api import RunResult
from afina.errors import AfinaError, RecipeError
from tests.conftest import colour_rows, write_jsonl
from tests.tiny import Tiny, value
from tests.training.test_kinds import conversations

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer(llama3):
    """The real tokenizer, read once: it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (engine, workflow, checking):
            patch.setattr(module, "load_tokens", lambda *_given: llama3)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    place = Tiny(tmp_path_factory.mktemp("api"), llama3_folder, llama3)
    (place.folder / "tiny.yaml").write_text(place.text(), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def result(tiny) -> RunResult:
    return afina.run(tiny.folder / "tiny.yaml", runs=str(tiny.runs))


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, llama3_folder, llama3, capsys):
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    # The page begins in a folder with the user's own recipe.
    place = Tiny(tmp_path / "own", llama3_folder, llama3)
    (tmp_path / "recipe.yaml").write_text(place.text(), encoding="utf-8")
    names: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    assert "did you mean `train.epochs`?" in printed
    assert "12 steps" in printed
    assert f"{names['result'].value('accuracy')}" in printed
    assert isinstance(names["result"], RunResult)
    assert Path("runs/tiny/1/report.html").exists()


def test_a_run_returns_its_paths_and_figures(result, tiny):
    assert isinstance(result, RunResult)
    assert (result.name, result.number, result.did_work) == ("tiny", 1, True)
    assert result.folder == tiny.runs / "tiny/1"
    assert result.report == result.folder / "report.html"
    assert result.passed is True  # a gate without limits lets through
    assert (result.release / "manifest.json").exists()
    assert result.audit["splits"]["train"]["rows"] == result.training["rows"] == 48
    lines = {
        (line["metric"], line["model"], line["set"]): line["value"]
        for line in result.evaluation["results"]
    }
    for (metric, model, test_set), expected in lines.items():
        assert result.value(metric, model, test_set) == expected
    assert result.value("accuracy") == lines["accuracy", "tuned", "test"]
    with pytest.raises(KeyError, match="perplexity of tuned on test"):
        result.value("perplexity")
    with pytest.raises(KeyError, match="accuracy of tuned on nowhere"):
        result.value("accuracy", test_set="nowhere")


def test_again_there_is_nothing_to_do(result, tiny):
    said: list[str] = []
    again = afina.run(str(tiny.folder / "tiny.yaml"), runs=str(tiny.runs), say=said.append)
    assert not again.did_work
    assert (again.number, again.evaluation) == (1, result.evaluation)
    # By its name as well, and by its path.
    for name in ("tiny", "tiny@1", str(result.folder)):
        assert not afina.run(name, runs=str(tiny.runs)).did_work


def test_a_run_is_shown_listed_and_compared(result, tiny):
    shown = afina.show_run("tiny", runs=str(tiny.runs))
    assert (shown.did_work, shown.evaluation) == (False, result.evaluation)
    listed = afina.list_runs(runs=str(tiny.runs))
    assert len(listed) >= 1
    assert is_dataclass(listed[0])
    assert is_dataclass(afina.compare_runs(["tiny@1", "tiny@1"], runs=str(tiny.runs)))


def test_one_stage_at_a_time(tiny):
    recipe = str(tiny.folder / "tiny.yaml")
    given = {"runs": str(tiny.folder / "stages"), "overrides": ["train.epochs=1"]}
    data = afina.build_data(recipe, **given)
    assert (data.audit["rows_read"], data.training, data.evaluation, data.passed) == (60, {}, {}, None)
    trained = afina.train(recipe, **given)
    assert (trained.number, trained.training["steps"], trained.report) == (1, 6, None)
    assert afina.evaluate(recipe, **given).value("accuracy") >= 0
    assert afina.gate(recipe, **given).passed is True
    assert (afina.release(recipe, **given).release / "README.md").exists()
    report = afina.report(recipe, **given, language="es")
    assert report.report is not None
    assert 'lang="es"' in report.report.read_text(encoding="utf-8")


def test_a_gate_that_says_no_keeps_the_model_in(tiny):
    limit = 'gate=[{"metric": "accuracy", "max": 0.0}]'
    refused = afina.run(str(tiny.folder / "tiny.yaml"), runs=str(tiny.runs), overrides=[limit])
    assert refused.passed is False
    assert not (refused.release / "manifest.json").exists()
    assert refused.report is not None


def test_a_model_answers_with_the_probability_of_each_label(result, tiny):
    model = afina.open_model("tiny@1", runs=str(tiny.runs))
    texts = ["Lot 1: the iron and the zinc came on day 3", "Lot 2: the mango and the lime came on day 4"]
    answers = model.classify(texts)
    assert [list(answer) for answer in answers] == [["fruit", "metal"]] * 2
    for answer in answers:
        assert sum(answer.values()) == pytest.approx(1, abs=1e-6)
    # One by one or together, the answer is the same: padding changes nothing.
    alone = [model.classify([text])[0] for text in texts]
    np.testing.assert_allclose(
        [list(a.values()) for a in alone], [list(a.values()) for a in answers], atol=1e-5
    )
    assert value(tiny.workflow().run, "release/inference.json")["labels"] == ["fruit", "metal"]


def test_a_model_that_writes_has_no_labels_and_replies(tmp_path, llama3_folder, llama3):
    talk = Tiny(tmp_path, llama3_folder, llama3, conversations())
    talk.run("task.kind=generate", "train.epochs=1")
    model = afina.open_model("tiny", runs=str(talk.runs))
    with pytest.raises(AfinaError, match="writes text"):
        model.classify(["a text"])
    assert isinstance("".join(model.reply([{"role": "user", "content": "Which colour?"}])), str)


def test_faults_are_errors_with_what_to_do(tiny, tmp_path):
    recipe = str(tiny.folder / "tiny.yaml")
    with pytest.raises(RecipeError, match=r"did you mean `train\.epochs`"):
        afina.run(recipe, runs=str(tiny.runs), overrides=["train.epoch=3"])
    with pytest.raises(AfinaError, match="no run `nothing`"):
        afina.show_run("nothing", runs=str(tiny.runs))
    with pytest.raises(AfinaError, match="is a run"):
        afina.train("tiny", runs=str(tiny.runs), overrides=["train.epochs=1"])
    with pytest.raises(AfinaError, match="no such file"):
        afina.check_recipe(tmp_path / "no.yaml")
    afina.build_data(recipe, runs=str(tmp_path / "half"))
    with pytest.raises(AfinaError, match="no trained model yet"):
        afina.open_model("tiny", runs=str(tmp_path / "half"))


def test_wrong_arguments_are_refused_at_the_door(result, tiny):
    recipe, runs = str(tiny.folder / "tiny.yaml"), str(tiny.runs)
    before = sorted(tiny.runs.rglob("*"))
    for wrong in (None, 3, "", [recipe]):
        with pytest.raises(AfinaError, match="`recipe` must be a path or the name of a run"):
            afina.run(wrong, runs=runs)
        with pytest.raises(AfinaError, match="`recipe` must be"):
            afina.check_recipe(wrong)
        with pytest.raises(AfinaError, match="`name` must be"):
            afina.open_model(wrong, runs=runs)
    for wrong in ("train.epochs=1", {"train.epochs": 1}, 5):
        with pytest.raises(AfinaError, match="`overrides` must be a list of texts") as caught:
            afina.train(recipe, runs=runs, overrides=wrong)
        assert caught.value.fix == 'for example overrides=["train.epochs=5"]'
    with pytest.raises(AfinaError, match=r"`overrides\[1\]` must be text; found a whole number"):
        afina.check_recipe(recipe, overrides=["train.epochs=1", 5])
    with pytest.raises(AfinaError, match="no language 'fr'"):
        afina.run(recipe, runs=runs, language="fr")
    with pytest.raises(AfinaError, match="`names` must be a list of texts; found text"):
        afina.compare_runs("tiny", runs=runs)
    assert sorted(tiny.runs.rglob("*")) == before


def test_a_model_refuses_one_text_and_what_is_no_text(result, tiny):
    model = afina.open_model("tiny@1", runs=str(tiny.runs))
    with pytest.raises(AfinaError, match="`texts` must be a list of texts; found text"):
        model.classify("one text")
    with pytest.raises(AfinaError, match=r"`texts\[1\]` must be text; found nothing"):
        model.classify(["one", None])
    assert model.classify(()) == []
    assert model.classify(text for text in ["one"]) == model.classify(["one"])
    for wrong in ("hello", [], ["hello"], [{"role": "user"}], {"role": "user", "content": "x"}):
        with pytest.raises(AfinaError, match="`messages` must be a list of messages"):
            model.reply(wrong)


def test_a_recipe_is_written_for_rows(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", colour_rows())
    path = afina.new_recipe(str(rows), tmp_path / "new.yaml", name="colours")
    assert path == tmp_path / "new.yaml"
    assert "colours" in path.read_text(encoding="utf-8")


def test_every_verb_is_a_typed_function_with_a_docstring():
    for name in afina.__all__:
        verb = getattr(afina, name)
        assert verb.__doc__, name
        if inspect.isfunction(verb):
            hints = inspect.signature(verb)
            assert hints.return_annotation is not inspect.Signature.empty, name
            assert all(p.annotation is not inspect.Parameter.empty for p in hints.parameters.values()), (
                name
            )
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        afina.fly  # noqa: B018
