"""Hostile input: one clear message, the right exit code, no traceback, and the run goes on later."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import Place, environment
from tests.conftest import colour_rows, write_jsonl


def refused(place: Place, *arguments: str, code: int = 2) -> str:
    """The message of a command that is refused."""
    answer = place.inside(*arguments)
    assert answer.clean, answer.err
    assert answer.code == code, answer.err
    assert answer.err.count("error: ") == 1
    return answer.err


def with_data(place: Place, name: str, content: bytes) -> str:
    """What `afina data build` says of such a file."""
    path = place.folder / name
    path.write_bytes(content)
    message = refused(place, "data", "build", "r.yaml", "--set", f"data.train={path}")
    assert str(path) in message
    return message


def test_a_misspelt_key_is_told_with_its_line(fresh) -> None:
    text = (fresh.folder / "r.yaml").read_text().replace("epochs: 1", "epochz: 1")
    (fresh.folder / "r.yaml").write_text(text)
    message = refused(fresh, "run", "r.yaml")
    assert "r.yaml:10: train.epochz: there is no such setting" in message
    assert "did you mean `train.epochs`?" in message
    value = fresh.inside("run", "r.yaml", "--json").json()
    assert value["problems"][0]["line"] == 10
    assert not (fresh.folder / "runs").exists()


def test_a_string_where_a_number_goes(fresh) -> None:
    message = refused(fresh, "run", "r.yaml", "--set", "train.batch_rows=many")
    assert (
        "train.batch_rows: a whole number belongs here; found 'many' (text) (given by --set)" in message
    )


def test_a_csv_without_the_column(fresh) -> None:
    message = with_data(fresh, "a.csv", b"title,date\nsome words,today\nmore words,later\n")
    assert "title" in message


def test_an_empty_file_and_one_with_only_a_header(fresh) -> None:
    assert "this file is empty" in with_data(fresh, "a.jsonl", b"")
    assert "the sources hold no rows" in with_data(fresh, "b.csv", b"text,label,day\n")


def test_a_line_of_17_megabytes(fresh) -> None:
    message = with_data(fresh, "a.jsonl", b'{"text": "' + b"a" * (17 << 20) + b'", "label": "fruit"}\n')
    assert "longer than 16 MiB" in message
    assert "a.jsonl:1" in message
    assert len(message) < 2000


def test_text_that_is_not_utf8(fresh) -> None:
    message = with_data(fresh, "a.csv", "text,label,day\nuna pi\xf1a,fruit,d1\n".encode("latin-1"))
    assert "is not UTF-8" in message
    assert "a.csv:2" in message
    assert "iconv" in message


def test_a_label_that_appears_once(fresh) -> None:
    rows = [*colour_rows(60), {"text": "a lone gas", "label": "gas", "day": "d1"}]
    path = write_jsonl(fresh.folder / "once.jsonl", rows)
    answer = fresh.inside(
        "data",
        "build",
        "r.yaml",
        "--set",
        f"data.train={path}",
        "--set",
        "task.labels=[fruit, metal, gas]",
    )
    assert answer.clean
    assert answer.code in (0, 2)
    if answer.code:
        assert "gas" in answer.err


def test_the_alarm_label_is_not_in_the_data(fresh) -> None:
    message = refused(
        fresh, "data", "build", "r.yaml", "--set", "task.labels=null", "--set", "task.positive=wood"
    )
    assert "'wood', which is not a label of the data" in message
    assert "fruit, metal" in message


@pytest.mark.parametrize("place", ["/proc/nowhere", "r.yaml", "r.yaml/below"])
def test_a_runs_folder_that_cannot_be_made(fresh, place: str) -> None:
    message = refused(fresh, "data", "build", "r.yaml", "--runs", place)
    assert "--runs" in message


def test_a_run_that_another_process_works_on(fresh) -> None:
    from filelock import FileLock

    assert fresh.inside("data", "build", "r.yaml").code == 0
    with FileLock(fresh.folder / "runs/colours/1/.lock"):
        assert "another process is working on this run" in refused(fresh, "run", "r.yaml")


def test_a_damaged_stage_file_is_named(fresh) -> None:
    assert fresh.inside("data", "build", "r.yaml").code == 0
    path = fresh.folder / "runs/colours/1/stages/data.json"
    path.write_text("{")
    assert "stages/data.json" in refused(fresh, "data", "build", "r.yaml")
    path.unlink()
    assert fresh.inside("data", "build", "r.yaml").code == 0


def test_a_run_without_a_model_cannot_be_talked_to(fresh) -> None:
    assert fresh.inside("data", "build", "r.yaml").code == 0
    assert "afina run" in refused(fresh, "chat", "colours")


def test_a_release_that_was_changed_is_told_and_made_again(finished, tmp_path) -> None:
    place, _first = finished
    shutil.copytree(place.folder / "runs", tmp_path / "runs")
    where = ("--runs", str(tmp_path / "runs"))
    adapter = tmp_path / "runs/colours/1/release/adapter/adapter_model.safetensors"
    whole = adapter.read_bytes()
    for damaged in (whole[:-50] + bytes(255 - byte for byte in whole[-50:]), whole[:1000]):
        adapter.write_bytes(damaged)
        message = refused(place, "chat", "colours", *where)
        assert str(adapter) in message
        assert "changed or damaged" in message
        assert "afina run " in message
    answer = place.inside("run", "colours", *where)
    assert answer.code == 0, answer.err
    assert adapter.read_bytes() == whole


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "runs list --json", "recipe explain"])
@pytest.mark.parametrize("output", ["> /dev/full", ">&-"])
def test_an_output_that_takes_nothing_is_one_line(fresh, command: str, output: str, unbuffered) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m afina {command} {output}"],
        cwd=fresh.folder,
        env=environment(fresh.cache, PYTHONUNBUFFERED=unbuffered),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    why = "closed" if "&" in output else "No space left"
    assert done.stderr.startswith("error: the standard output takes nothing: ")
    assert why in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_closed_input_and_closed_errors_are_no_fault(fresh) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m afina --version <&- 2>&-"],
        cwd=fresh.folder, env=environment(fresh.cache), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("afina ")


def test_ctrl_c_at_any_moment_of_the_start_leaves_no_traceback(fresh) -> None:
    for delay in range(20, 420, 20):
        # Ctrl-C reaches Python itself, before it knows of Afina, at the very beginning.
        process = fresh.start("recipe", "explain", "--all")
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay / 1000)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=600)
        assert "afina/" not in err or "Traceback" not in err, (delay, err)


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null"])
def test_a_cache_that_cannot_be_written_is_named(fresh, place: str) -> None:
    answer = Place(fresh.folder, Path(place)).inside("data", "build", "r.yaml")
    assert (answer.code, answer.clean) == (2, True)
    assert place in answer.err
    assert "AFINA_CACHE" in answer.err


def test_a_recipe_that_cannot_be_written_is_named(fresh) -> None:
    message = refused(fresh, "recipe", "new", "rows.jsonl", "--output", "/proc/x.yaml")
    assert "/proc/x.yaml" in message
    assert "--output" in message


@pytest.mark.parametrize("name", ["seed", "data.split.seed"])
def test_a_seed_that_no_generator_takes(fresh, name: str) -> None:
    for seed in (2**31, 99999999999999999999):
        assert f"{name}: " in refused(fresh, "run", "r.yaml", "--set", f"{name}={seed}")
    assert fresh.inside("data", "build", "r.yaml", "--set", f"{name}={2**31 - 1}").code == 0


def test_a_gate_that_needs_a_training_that_never_was_still_does_it(fresh) -> None:
    message = refused(fresh, "gate", "nothing@4")
    assert "there is no run `nothing@4`" in message


# --- disks -------------------------------------------------------------------------------------


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid():
        pytest.skip("only root can mount")
    _mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_disk(fresh, small_disk) -> None:
    _mount("-o", "remount,ro", str(small_disk))
    message = refused(fresh, "data", "build", "r.yaml", "--runs", str(small_disk))
    assert "the folder is read-only" in message
    _mount("-o", "remount,rw", str(small_disk))
    assert fresh.inside("data", "build", "r.yaml", "--runs", str(small_disk)).code == 0


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(fresh, small_disk) -> None:
    runs = ("--runs", str(small_disk))
    assert fresh.inside("data", "build", "r.yaml", *runs).code == 0
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    message = refused(fresh, "data", "build", "r.yaml", *runs, "--set", "seed=5")
    assert "the disk is full" in message
    assert "free some space" in message
    assert [path.name for path in (small_disk / "colours").iterdir()] == ["1"]
    filler.unlink()
    # The adapter's tokenizer alone needs 17 MB: training fills the disk by itself.
    message = refused(fresh, "train", "r.yaml", *runs)
    assert "the disk is full" in message
    state = json.loads((small_disk / "colours/1/stages/train.json").read_text())
    assert state["state"] == "stopped"
    _mount("-o", "remount,size=200m", str(small_disk))
    assert fresh.inside("train", "r.yaml", *runs).code == 0
