"""Run folders: whole files, numbers, names, locks, events, places behind a URI."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import fsspec
import pytest

from afina.errors import AfinaError, Interrupted, Stopped, StorageError
from afina.recipe import Recipe
from afina.recipe_file import parse_recipe
from afina.runs.files import (
    atomic,
    atomic_folder,
    read_json,
    remove_leftovers,
    sha256_of_value,
    storage_error,
    write_json,
    write_text,
)
from afina.runs.folder import find_run, list_runs, open_run
from afina.runs.signals import StopSignal
from afina.runs.store import Store


def recipe(name: str = "mails", epochs: int = 1) -> Recipe:
    return parse_recipe(f"name: {name}\ndata: {{train: a.csv}}\ntrain: {{epochs: {epochs}}}")


# --- files -------------------------------------------------------------------------------------


def test_a_fault_while_writing_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "f.json"
    write_json(path, {"a": 1})

    def spoil() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spoil()
    assert read_json(path) == {"a": 1}
    assert [child.name for child in tmp_path.iterdir()] == ["f.json"]


def test_a_full_disk_is_told_with_its_file(tmp_path) -> None:
    """The system names no file when a write finds no room, and a person wants to know which disk."""
    path = tmp_path / "value.json"
    with pytest.raises(OSError, match="space") as caught, atomic(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    told = storage_error(caught.value)
    assert told is not None
    assert (told.what, told.where) == ("the disk is full", str(path))


def test_a_killed_process_leaves_the_old_file_and_its_leftovers_are_removed(tmp_path) -> None:
    path, folder = tmp_path / "deep" / "f.txt", tmp_path / "folder"
    write_text(path, "old")
    with atomic_folder(folder) as made:
        (made / "one").write_text("old")
    code = f"""
        import os, signal
        from pathlib import Path
        from afina.runs.files import atomic, atomic_folder
        with atomic(Path({str(path)!r})) as a, atomic_folder(Path({str(folder)!r})) as b:
            a.write_text("new"), (b / "one").write_text("new")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    assert (folder / "one").read_text() == "old"
    assert len(list(tmp_path.rglob(".*.part"))) == 2
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["deep", "f.txt", "folder", "one"]


def test_a_folder_is_replaced_whole(tmp_path) -> None:
    folder = tmp_path / "folder"
    for name in ("one", "two"):
        with atomic_folder(folder) as made:
            (made / name).write_text(name)
    assert [child.name for child in folder.iterdir()] == ["two"]
    assert [child.name for child in tmp_path.iterdir()] == ["folder"]


def test_json_has_no_nan_and_damage_is_named(tmp_path) -> None:
    path = tmp_path / "f.json"
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, float("nan"))
    assert not path.exists()
    path.write_text('{"a": ')
    with pytest.raises(StorageError, match="damaged") as caught:
        read_json(path)
    assert caught.value.where == str(path)
    with pytest.raises(StorageError, match="missing"):
        read_json(tmp_path / "none.json")


def test_equal_values_have_equal_hashes() -> None:
    assert sha256_of_value({"a": 1, "b": [True]}) == sha256_of_value({"b": [True], "a": 1})
    assert sha256_of_value({"a": 1}) != sha256_of_value({"a": 2})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/x"), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(30, "Read-only file system"), "read-only"),
        (PermissionError(13, "Permission denied"), "no permission"),
        (NotADirectoryError(20, "Not a directory"), "a file is where a folder should be"),
    ],
)
def test_faults_of_the_disk_are_told_in_words(error: Exception, words: str) -> None:
    found = storage_error(error)
    assert found is not None
    assert words in found.what
    assert found.fix


def test_other_faults_are_not_taken_for_the_disks() -> None:
    assert storage_error(ValueError("os error 280 of them")) is None
    assert storage_error(KeyError("a")) is None


# --- numbers and names -------------------------------------------------------------------------


def test_the_same_recipe_goes_on_in_its_run_and_a_changed_one_makes_the_next(tmp_path) -> None:
    place = str(tmp_path)
    first = open_run(recipe(), place)
    assert (first.number, first.root) == (1, tmp_path / "mails" / "1")
    assert open_run(recipe(), place).number == 1
    assert open_run(recipe(epochs=2), place).number == 2
    assert open_run(recipe(), place).number == 1
    assert open_run(recipe("other"), place).number == 1
    assert first.recipe() == recipe()
    assert read_json(first.path("run.json"))["schema"] == "afina/run/1"
    assert not list(tmp_path.rglob(".*.part"))


def test_a_number_that_another_process_took_is_passed_over(tmp_path, monkeypatch) -> None:
    open_run(recipe(), str(tmp_path))
    monkeypatch.setattr(Store, "numbers", lambda self, name: [])
    run = open_run(recipe(epochs=2), str(tmp_path))
    assert run.number == 2
    assert read_json(run.path("run.json"))["number"] == 2
    assert read_json(tmp_path / "mails/1/run.json")["number"] == 1


def test_a_run_is_found_by_every_name_it_has(tmp_path) -> None:
    place = str(tmp_path)
    for epochs in (1, 2, 3):
        open_run(recipe(epochs=epochs), place)
    names = {
        "mails": 3,
        "mails@2": 2,
        str(tmp_path / "mails" / "1"): 1,
        str(tmp_path / "mails"): 3,
        f"file://{tmp_path}/mails": 3,
        f"file://{tmp_path}/mails/2": 2,
        f"file://{tmp_path}/mails@1": 1,
    }
    for name, number in names.items():
        found = find_run(name, place)
        assert (found.name, found.number) == ("mails", number), name
        assert found.recipe().train.epochs == number
    assert [run.title for run in list_runs(place)] == ["mails@1", "mails@2", "mails@3"]


def test_a_relative_path_of_a_run_knows_its_place(tmp_path, monkeypatch) -> None:
    open_run(recipe(), str(tmp_path))
    monkeypatch.chdir(tmp_path / "mails" / "1")
    found = find_run(".", "elsewhere")
    assert found.store.folder == tmp_path
    assert found.title == "mails@1"


@pytest.mark.parametrize("name", ["none", "mails@7", "mails@x", "", "@1", "no/such/path"])
def test_a_run_that_is_not_there_is_told_with_those_that_are(tmp_path, name: str) -> None:
    open_run(recipe(), str(tmp_path))
    with pytest.raises(AfinaError) as caught:
        find_run(name, str(tmp_path))
    assert "mails@1" in str(caught.value)


@pytest.mark.parametrize("place", ["/proc/nowhere/runs", "{tmp}/file", "{tmp}/file/below"])
def test_a_place_that_cannot_be_written_is_told(tmp_path, place: str) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(StorageError) as caught:
        open_run(recipe(), place.format(tmp=tmp_path))
    assert "--runs" in (caught.value.fix or "")
    assert caught.value.where


def test_events_are_whole_lines_even_after_a_cut_one(tmp_path) -> None:
    run = open_run(recipe(), str(tmp_path))
    path = run.path("events.jsonl")
    with path.open("a") as file:
        file.write('{"event": "cut')
    run.event("after", stage="train")
    lines = path.read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "after"
    assert json.loads(lines[0])["event"] == "run made"
    assert len(lines) == 3


def test_what_auto_became_is_kept(tmp_path) -> None:
    run = open_run(recipe(), str(tmp_path))
    run.resolve(train__precision="bf16")
    run.resolve(base__bits=8)
    assert open_run(recipe(), str(tmp_path)).resolved() == {"train.precision": "bf16", "base.bits": 8}


def test_two_processes_cannot_work_on_one_run(tmp_path) -> None:
    run = open_run(recipe(), str(tmp_path))
    run.lock()
    code = """
        import sys
        from afina.errors import StorageError
        from afina.runs.folder import find_run
        try:
            find_run("mails", sys.argv[1]).lock()
        except StorageError as error:
            print(error.what)
            sys.exit(7)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 7
    assert "another process is working on this run" in refused.stdout
    run.unlock()
    assert subprocess.run(command, check=False).returncode == 0


# --- signals -----------------------------------------------------------------------------------


def test_a_signal_waits_for_a_safe_point_and_saves_first() -> None:
    import signal

    saved: list[str] = []
    with pytest.raises(Interrupted) as caught, StopSignal() as stop:  # noqa: PT012 - what happens inside is tested
        os.kill(os.getpid(), signal.SIGINT)
        saved.append("went on")
        stop.check(lambda: saved.append("saved"))
    assert saved == ["went on", "saved"]
    assert caught.value.exit_code == 130
    with pytest.raises(Stopped) as stopped, StopSignal() as stop:  # noqa: PT012 - what happens inside is tested
        os.kill(os.getpid(), signal.SIGTERM)
        stop.check()
    assert stopped.value.exit_code == 3


def test_a_signal_after_the_last_safe_point_is_not_lost() -> None:
    import signal

    with pytest.raises(Interrupted), StopSignal():
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_ends_at_once_and_handlers_come_back() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopSignal():  # noqa: PT012 - what happens inside is tested
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# --- places behind a URI -----------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path, monkeypatch):
    """A URI with nothing in it."""
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / "cache"))
    if request.param == "file":
        return f"file://{tmp_path}/far"
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    return "memory://far"


def move_to_another_machine(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.setenv("AFINA_CACHE", str(tmp_path / name))


def test_a_run_at_a_uri_is_the_same_on_another_machine(place, tmp_path, monkeypatch) -> None:
    run = open_run(recipe(), place)
    write_json(run.path("stages/data.json"), {"state": "done"})
    write_text(run.path("data/rows.parquet"), "rows")
    write_text(run.path("release/adapter/tokenizer.json"), "{}")
    run.publish()
    move_to_another_machine(tmp_path, monkeypatch, "second")
    listed = list_runs(place)
    assert [one.title for one in listed] == ["mails@1"]
    assert listed[0].path("stages/data.json").exists()
    assert not listed[0].path("data/rows.parquet").exists()
    assert not listed[0].path("release/adapter/tokenizer.json").exists()
    again = open_run(recipe(), place)
    assert again.number == 1
    assert again.root != run.root
    assert again.path("data/rows.parquet").read_text() == "rows"
    assert find_run(f"{place}/mails", "x").path("stages/data.json").exists()


def test_what_changed_at_the_place_is_taken_even_when_its_size_did_not(
    place, tmp_path, monkeypatch
) -> None:
    first = open_run(recipe(), place)
    write_text(first.path("a.json"), '{"a": 1}')
    write_text(first.path("gone.txt"), "x")
    first.publish()
    here = first.root
    move_to_another_machine(tmp_path, monkeypatch, "second")
    second = open_run(recipe(), place)
    write_text(second.path("a.json"), '{"a": 2}')
    second.path("gone.txt").unlink()
    second.publish()
    move_to_another_machine(tmp_path, monkeypatch, "cache")
    again = open_run(recipe(), place)
    assert again.root == here
    assert read_json(again.path("a.json")) == {"a": 2}
    assert not again.path("gone.txt").exists()


def test_what_was_not_sent_before_a_crash_is_kept(place) -> None:
    run = open_run(recipe(), place)
    write_text(run.path("stages/data.json"), '{"state": "stopped"}')
    run.publish()
    write_text(run.path("stages/data.json"), '{"state": "done"}')
    write_text(run.path("new.txt"), "not sent")
    again = open_run(recipe(), place)
    assert read_json(again.path("stages/data.json")) == {"state": "done"}
    assert again.path("new.txt").read_text() == "not sent"


def test_the_files_that_say_done_are_sent_last(place, monkeypatch) -> None:
    run = open_run(recipe(), place)
    for name in ("stages/data.json", "zzz.txt", "data/rows.txt", "stages/train.json"):
        write_text(run.path(name), name)
    sent: list[str] = []
    put = run.store.remote.put_file

    def note(local: str, far: str, **more) -> None:
        sent.append(str(Path(local).relative_to(run.root)))
        put(local, far, **more)

    monkeypatch.setattr(run.store.remote, "put_file", note)
    run.publish()
    assert sent[-2:] == ["stages/data.json", "stages/train.json"]
    assert "run.json" in sent
    sent.clear()
    run.publish()
    assert sent == []
    write_text(run.path("zzz.txt"), "ZZZ.txt")
    run.path("data/rows.txt").unlink()
    run.publish()
    assert sent == ["zzz.txt"]
    assert not any("rows.txt" in name for name in run.store._listed("mails/1"))


def test_hidden_and_half_written_files_stay_here(place) -> None:
    run = open_run(recipe(), place)
    run.path(".lock").write_text("")
    run.path(".f.part").write_text("half")
    run.publish()
    assert not [name for name in run.store._listed("mails/1") if name.startswith(".")]


def test_a_place_that_cannot_be_is_told() -> None:
    with pytest.raises(StorageError, match="this place cannot be used"):
        Store("nosuchkind://bucket")


def test_a_place_that_does_not_answer_is_told(monkeypatch) -> None:
    store = Store("memory://far")

    def refuse(*_args, **_more):
        raise RuntimeError("token expired")

    monkeypatch.setattr(store.remote, "exists", refuse)
    with pytest.raises(StorageError, match="token expired"):
        store.numbers("mails")
