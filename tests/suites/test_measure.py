"""From a recipe to suites.json, on a tiny run."""

from __future__ import annotations

import json

import pytest

import afina
from afina.errors import AfinaError, DataError
from afina.suites.tasks import chosen_rows, load_tasks
from tests.suites.small_rows import ROWS, write_small_rows
from tests.tiny import Tiny, value


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3):
    return Tiny(tmp_path_factory.mktemp("suites"), llama3_folder, llama3)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_small_rows(tmp_path_factory.mktemp("rows"))


def suites(tiny, rows, tasks: str, *more: str):
    """suites.json of the tiny run."""
    changes = (f"evaluate.suites={{tasks: [{tasks}], data: '{rows}'}}", "train.epochs=0.5", *more)
    return value(tiny.run(*changes, stage="suites"), "suites.json")


def test_both_suites_have_every_task_and_their_one_figure(tiny, rows):
    found = suites(tiny, rows, "glue, superglue, xnli_es")
    assert {line["task"] for line in found["results"]} == set(ROWS) - {"xnli_es/xnli_es"} | {"xnli_es"}
    assert [line["suite"] for line in found["suites"]] == ["glue", "superglue", "xnli_es"]
    for line in found["suites"]:
        low, high = line["ci95"]
        assert low <= line["difference"] <= high
        assert line["difference"] == pytest.approx(
            line["models"]["tuned"]["value"] - line["models"]["base"]["value"]
        )
    for line in found["comparisons"]:
        values = {
            one["model"]: one["value"]
            for one in found["results"]
            if (one["task"], one["metric"]) == (line["task"], line["metric"])
        }
        if len(values) == 2:  # a correlation may be undefined
            assert line["difference"] == pytest.approx(values["tuned"] - values["base"])
    assert (found["chat_template"], found["shots"], found["data"]) == (False, 0, "folder")


def test_answers_that_are_there_are_not_asked_again(tiny, rows):
    flow = tiny.workflow(
        f"evaluate.suites={{tasks: [cola], data: '{rows}'}}", "train.epochs=0.5", runs="again"
    )
    flow.do("suites")
    path = flow.run.path("suites/glue.cola/base.json")
    asked = json.loads(path.read_text())
    asked["answers"]["mcc"] = [[1.0, 1.0], [0.0, 0.0]] * 2
    path.write_text(json.dumps(asked))
    flow.run.path("suites.json").unlink()
    state = json.loads(flow.run.path("stages/suites.json").read_text())
    flow.run.path("stages/suites.json").write_text(json.dumps({**state, "state": "stopped"}))
    again = tiny.workflow(
        f"evaluate.suites={{tasks: [cola], data: '{rows}'}}", "train.epochs=0.5", runs="again"
    )
    again.do("suites")
    lines = value(again.run, "suites.json")["results"]
    assert next(line["value"] for line in lines if line["model"] == "base") == 1.0


def test_shots_and_the_chat_format_change_what_is_asked(tiny, rows):
    plain = suites(tiny, rows, "sst2")
    shots = suites(tiny, rows, "sst2", "evaluate.suites.shots=2")
    chat = suites(tiny, rows, "sst2", "evaluate.suites.chat_template=true")
    assert (plain["shots"], shots["shots"], chat["chat_template"]) == (0, 2, True)


def test_own_tasks_are_made_of_the_test_rows(tiny):
    found = value(
        tiny.run(
            "evaluate.suites=[own]",
            "data.split={train: 0.4, validation: 0.2, test: 0.4}",
            stage="suites",
        ),
        "suites.json",
    )
    assert {line["suite"] for line in found["results"]} == {"own"}
    assert "own/label_en" in {line["task"] for line in found["results"]}


def test_a_part_of_the_rows_is_drawn_in_whole_groups(tiny, rows):
    recipe = tiny.recipe(f"evaluate.suites={{tasks: [multirc, axg, cola], data: '{rows}'}}")
    multirc, axg, cola = load_tasks(None, recipe)
    assert chosen_rows(multirc, 3, 13) in ([0, 1, 2, 3], [4, 5, 6, 7])
    assert all(row ^ 1 in chosen_rows(axg, 2, 13) for row in chosen_rows(axg, 2, 13))
    assert len(chosen_rows(cola, 2, 13)) == 2
    assert chosen_rows(cola, None, 13) == [0, 1, 2, 3]


def test_what_is_missing_is_named(tiny, rows, tmp_path):
    with pytest.raises(AfinaError, match="no suite or task named gluee") as error:
        load_tasks(None, tiny.recipe(f"evaluate.suites={{tasks: [gluee], data: '{rows}'}}"))
    assert "glue" in (error.value.fix or "")
    (tmp_path / "cola.jsonl").write_text('{"sentence": "x"}\n')
    with pytest.raises(DataError, match="no field label"):
        load_tasks(None, tiny.recipe(f"evaluate.suites={{tasks: [cola], data: '{tmp_path}'}}"))
    with pytest.raises(DataError, match="2 tasks have no file of rows here: glue/sst2, superglue/wic"):
        load_tasks(
            None, tiny.recipe(f"evaluate.suites={{tasks: [cola, sst2, wic], data: '{tmp_path}'}}")
        )


def test_any_task_of_the_harness_takes_rows_of_a_folder(tiny, tmp_path):
    row = {"id": "1", "goal": "To open a door", "sol1": "pull it", "sol2": "eat it", "label": 0}
    (tmp_path / "piqa.jsonl").write_text((json.dumps(row) + "\n") * 12)
    found = suites(tiny, tmp_path, "piqa")
    assert {line["metric"] for line in found["results"]} >= {"acc", "acc_norm"}
    assert [line["suite"] for line in found["suites"]] == ["piqa"]


def test_a_finished_run_can_be_asked_too(tiny, rows):
    run = tiny.run("train.epochs=0.5", stage="evaluate", runs="finished")
    found = afina.ask_suites(
        str(run.root), ["rte"], data=str(rows), rows=1, runs=str(run.root.parent.parent)
    )
    assert [line["n"] for line in found["results"]] == [1, 1]
    assert value(run, "suites.json") == found


def test_the_gate_decides_on_a_suites_figure(tiny, rows):
    limits = [
        {"metric": "suite_score", "set": "glue", "against": "base", "min_gain": -0.99},
        {"metric": "suite_score", "set": "xnli_es", "max": 0.0},
    ]
    run = tiny.run(
        f"evaluate.suites={{tasks: [glue, xnli_es], data: '{rows}'}}",
        f"gate={json.dumps(limits)}",
        "train.epochs=0.5",
        stage="gate",
    )
    first, second = value(run, "gate.json")["checks"]
    figure = value(run, "suites.json")["suites"][0]
    assert first["value"] == pytest.approx(figure["difference"])
    assert (first["verdict"], first["ci95"]) == ("pass", pytest.approx(figure["ci95"]))
    assert second["verdict"] in ("fail", "undecided")


def test_a_limit_on_a_suite_that_is_not_asked_is_refused(tiny):
    with pytest.raises(AfinaError, match=r"'glue' is not in evaluate\.suites\.tasks"):
        tiny.recipe('gate=[{"metric": "suite_score", "set": "glue", "min": 0.5}]')
