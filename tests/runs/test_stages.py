"""Stages: done once, taken over from earlier runs, done again when what they depend on changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from afina.errors import StorageError
from afina.recipe_file import parse_recipe
from afina.runs.files import read_json, write_text
from afina.runs.folder import Run, open_run
from afina.runs.stages import Stage, code_hash, do, is_done, stage_key, state_of, state_path


class Work:
    """Two stages that count what they do: `first` writes its settings, `second` reads them."""

    def __init__(self, place: str, number: int = 1, first: str = "a", second: str = "b") -> None:
        recipe = parse_recipe(f"name: x\nseed: {number}\ndata: {{train: a}}")
        self.run: Run = open_run(recipe, place)
        self.done: list[str] = []
        self.settings = {"first": first, "second": second}
        self.stages = {
            "first": self._stage(
                "first", (), lambda: write_text(self.run.path("one/out.txt"), self.settings["first"])
            ),
            "second": self._stage("second", ("first",), self._second),
        }

    def _stage(self, name: str, after: tuple[str, ...], work) -> Stage:
        def noted() -> None:
            self.done.append(name)
            work()

        outputs = {"first": ("one",), "second": ("two.txt", "kept")}[name]
        return Stage(name, after, ("metrics",), lambda: self.settings[name], outputs, noted)

    def _second(self) -> None:
        before = self.run.path("one/out.txt").read_text()
        write_text(self.run.path("two.txt"), before + self.settings["second"])

    def __call__(self) -> list[str]:
        """Does both; the names of those that worked."""
        self.done.clear()
        for name in ("first", "second"):
            do(self.run, self.stages[name])
        return list(self.done)


def test_a_done_stage_is_not_done_again(tmp_path) -> None:
    work = Work(str(tmp_path))
    assert work() == ["first", "second"]
    assert work() == []
    state = state_of(work.run, "second")
    assert state is not None
    assert (state["schema"], state["state"]) == ("afina/stage/1", "done")
    assert list(state["outputs"]) == ["two.txt"]


def test_a_changed_stage_takes_along_those_that_read_it_and_no_other(tmp_path) -> None:
    work = Work(str(tmp_path))
    work()
    work.settings["second"] = "c"
    assert work() == ["second"]
    work.settings["first"] = "z"
    assert work() == ["first", "second"]
    assert work.run.path("two.txt").read_text() == "zc"


def test_a_missing_output_is_made_again_and_equal_outputs_keep_what_follows(tmp_path) -> None:
    work = Work(str(tmp_path))
    work()
    work.run.path("one/out.txt").unlink()
    assert work() == ["first"]


def test_changed_code_does_a_stage_again(tmp_path, monkeypatch) -> None:
    import afina.runs.stages as stages

    package = tmp_path / "package"
    (package / "metrics").mkdir(parents=True)
    (package / "metrics" / "a.py").write_text("1")
    (package / "metrics" / "page.html").write_text("1")
    monkeypatch.setattr(stages, "_PACKAGE", package)
    code_hash.cache_clear()
    work = Work(str(tmp_path / "runs"))
    assert work() == ["first", "second"]
    assert work() == []
    for name in ("a.py", "page.html"):
        (package / "metrics" / name).write_text("2")
        code_hash.cache_clear()  # as a new process would
        assert work() == ["first", "second"]
    (package / "nowhere").mkdir()
    with pytest.raises(ValueError, match="there is no code"):
        code_hash(("nowhere",))
    code_hash.cache_clear()


def test_a_stopped_stage_keeps_its_files_to_go_on_with_unless_its_key_changed(tmp_path) -> None:
    work = Work(str(tmp_path))
    do(work.run, work.stages["first"])

    def stop() -> None:
        write_text(work.run.path("kept/half.txt"), "half")
        raise KeyboardInterrupt

    broken = Stage(
        "second", ("first",), ("metrics",), lambda: work.settings["second"], ("two.txt", "kept"), stop
    )
    with pytest.raises(KeyboardInterrupt):
        do(work.run, broken)
    state = state_of(work.run, "second")
    assert state is not None
    assert state["state"] == "stopped"
    assert not is_done(work.run, "second")
    with pytest.raises(KeyboardInterrupt):
        do(work.run, broken)
    assert work.run.path("kept/half.txt").exists()
    assert work() == ["second"]
    assert work.run.path("kept/half.txt").exists()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - what happens inside is tested
        work.settings["second"] = "new"
        do(work.run, broken)
    work.settings["second"] = "newer"
    assert work() == ["second"]
    assert not work.run.path("kept/half.txt").exists()
    assert not work.run.path("kept").exists()


def test_a_later_run_takes_over_unchanged_stages(tmp_path) -> None:
    Work(str(tmp_path), 1)()
    later = Work(str(tmp_path), 2, second="c")
    assert later.run.number == 2
    assert later() == ["second"]
    state = state_of(later.run, "first")
    assert state is not None
    assert state["reused_from"] == "x@1"
    assert later.run.path("two.txt").read_text() == "ac"
    assert Path(tmp_path / "x/1/two.txt").read_text() == "ab"


def test_a_taken_over_file_is_not_shared_once_it_changes(tmp_path) -> None:
    first, later = Work(str(tmp_path), 1), Work(str(tmp_path), 2)
    first()
    assert later() == []
    later.settings["first"] = "z"
    later()
    assert first.run.path("one/out.txt").read_text() == "a"


def test_a_damaged_output_of_an_earlier_run_is_not_taken_over(tmp_path) -> None:
    first = Work(str(tmp_path), 1)
    first()
    first.run.path("one/out.txt").write_text("spoilt")
    assert Work(str(tmp_path), 2)() == ["first"]
    state_path(first.run, "first").write_text("{")
    assert Work(str(tmp_path), 3)() == []  # from run 2
    for number in (1, 2):
        (tmp_path / f"x/{number}/stages/first.json").write_text("[1]")
    (tmp_path / "x/3/stages/first.json").unlink()
    assert "first" in Work(str(tmp_path), 4)()


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"state": "done"}', "null"])
def test_a_damaged_stage_file_is_named_and_removing_it_helps(tmp_path, damage: str) -> None:
    work = Work(str(tmp_path))
    work()
    path = state_path(work.run, "first")
    path.write_text(damage)
    with pytest.raises(StorageError, match="damaged") as caught:
        work()
    assert caught.value.where == str(path)
    assert "remove the file" in (caught.value.fix or "")
    path.unlink()
    assert work() == ["first"]


def test_what_auto_became_is_taken_over_with_the_stage(tmp_path) -> None:
    first = Work(str(tmp_path), 1)
    first.run.resolve(train__precision="bf16")
    first()
    later = Work(str(tmp_path), 2)
    later()
    assert later.run.resolved() == {"train.precision": "bf16"}


def test_the_key_holds_settings_inputs_and_code(tmp_path) -> None:
    work = Work(str(tmp_path))
    empty = stage_key(work.run, work.stages["second"])
    work()
    assert stage_key(work.run, work.stages["second"]) != empty
    assert read_json(state_path(work.run, "second"))["key"] == stage_key(work.run, work.stages["second"])
