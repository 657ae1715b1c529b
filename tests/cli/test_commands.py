"""The commands on a real run of a tiny Llama 3: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import environment

COMMANDS = (
    "run", "train", "evaluate", "gate", "release", "report", "chat", "doctor", "data audit", "export",
    "data build", "recipe check", "recipe new", "recipe explain", "recipe estimate", "runs list",
    "runs show", "runs compare", "runs clean", "base install", "base show", "prices list", "prices copy",
    "suites", "sign", "verify", "signer new", "signer list", "signer trust", "signer revoke",
    "signer rotate", "seal", "open", "recipient new", "recipient list", "recipient add",
    "registry add", "registry list", "registry show", "registry compare", "registry promote",
    "registry rollback", "publish", "quantize",
)  # fmt: skip
HEAVY = ("torch", "transformers", "pydantic", "numpy", "sklearn", "pyarrow", "afina.recipe")


def test_the_first_run_does_every_stage_and_shows_only_afinas_lines(finished) -> None:
    place, answer = finished
    assert answer.clean
    for stage in ("data", "train", "evaluate", "gate", "release", "report"):
        assert f"· {stage}\n" in answer.err
        state = json.loads((place.folder / f"runs/colours/1/stages/{stage}.json").read_text())
        assert state["state"] == "done"
    for foreign in ("Warning", "warn(", "it/s", "%|", "huggingface", "site-packages"):
        assert foreign not in answer.err
    assert re.search(r"test \(\d+ rows in \d+ groups never trained on\): best is \w+", answer.out)
    assert "gate: passed" in answer.out
    assert "report: runs/colours/1/report.html" in answer.out
    assert "next: afina chat colours@1" in answer.out


def test_the_second_run_does_nothing_and_says_so(finished) -> None:
    place, _answer = finished
    page = place.folder / "runs/colours/1/report.html"
    before = page.stat().st_mtime_ns
    answer = place.afina("run", "r.yaml")
    assert answer.code == 0
    assert answer.out.startswith("nothing to do: everything was done already\n")
    assert "·" not in answer.err
    assert page.stat().st_mtime_ns == before
    assert "nothing to do" in place.afina("run", "colours@1").out
    assert "nothing to do" in place.afina("run", "runs/colours").out


def test_json_is_one_value_and_nothing_else(finished) -> None:
    place, _answer = finished
    for verb in ("run", "train", "evaluate", "gate", "release", "report"):
        value = place.afina(verb, "colours", "--json").json()
        assert value["run"] == "colours@1"
        assert value["did_work"] is False
        assert value["passed"] is True
    assert value["evaluation"]["schema"] == "afina/evaluation/1"
    models = {line["model"] for line in value["evaluation"]["results"]}
    assert models == {"base", "probe", "tuned", "tfidf"}
    assert place.afina("data", "build", "r.yaml", "--json").json()["schema"] == "afina/audit/1"
    assert place.afina("runs", "show", "colours", "--json").json()["title"] == "colours@1"


def test_only_what_depends_on_an_edit_is_done_again(finished, tmp_path) -> None:
    """Editing the gate redoes the gate and what reads it; editing evaluate leaves the training alone."""
    import shutil

    place, _answer = finished
    runs = str(tmp_path / "runs")
    shutil.copytree(place.folder / "runs", runs)
    done = place.afina("run", "r.yaml", "--runs", runs, "--set", "gate=[{metric: accuracy, max: 0.0}]")
    assert done.code == 1
    assert "gate: FAIL" in done.out
    assert "no release was made" in done.out
    assert not (tmp_path / "runs/colours/2/release/manifest.json").exists()
    assert (tmp_path / "runs/colours/2/report.html").exists()
    assert _started(tmp_path / "runs/colours/2") == ["gate", "report"]
    assert place.afina("gate", "colours@2", "--runs", runs).code == 1
    done = place.afina("gate", "r.yaml", "--runs", runs, "--set", "evaluate.metrics=[accuracy]")
    assert done.code == 0
    assert _started(tmp_path / "runs/colours/3") == ["evaluate", "gate"]
    results = json.loads((tmp_path / "runs/colours/3/evaluation.json").read_text())["results"]
    assert {line["metric"] for line in results} == {"accuracy"}


def _started(folder) -> list[str]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event["stage"] for event in events if event["event"] == "stage started"]


def test_spanish_is_spoken_before_and_after_the_command(finished) -> None:
    place, _answer = finished
    english = place.afina("gate", "colours").out
    before = place.afina("--lang", "es", "gate", "colours").out
    after = place.afina("gate", "colours", "--lang=es").out
    by_locale = place.afina("gate", "colours", LANG="es_MX.UTF-8").out
    assert before == after == by_locale
    wrong = place.afina("gate", "colours", "--lang", "fr")
    assert (wrong.code, wrong.clean) == (2, True)
    assert "en" in wrong.err

    assert before != english


def test_chat_answers_each_line(finished) -> None:
    place, _answer = finished
    answer = place.afina(
        "chat", "colours", stdin="the mango and the lime came\n\nthe iron and the zinc came\n"
    )
    assert (answer.code, answer.clean) == (0, True)
    lines = answer.out.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(
            r"(fruit|metal)  \((fruit|metal) [01]\.\d{3}, (fruit|metal) [01]\.\d{3}\)", line
        )


def test_chat_takes_the_newest_run_that_has_a_model(finished, tmp_path) -> None:
    import shutil

    place, _answer = finished
    shutil.copytree(place.folder / "runs", tmp_path / "runs")
    where = ("--runs", str(tmp_path / "runs"))
    assert place.afina("data", "build", "r.yaml", "--set", "seed=7", *where).code == 0
    assert (tmp_path / "runs/colours/2/run.json").exists()
    answer = place.afina("chat", "colours", *where, stdin="the mango came\n")
    assert (answer.code, len(answer.out.splitlines())) == (0, 1)
    assert "has no model yet: colours@1 answers" in answer.err
    assert place.afina("chat", "colours@2", *where).code == 2


def test_chat_reads_bytes_that_are_no_text(finished) -> None:
    place, _answer = finished
    done = subprocess.run(
        [sys.executable, "-m", "afina", "chat", "colours"],
        cwd=place.folder, env=environment(place.cache), capture_output=True, check=False,
        input=b"\xff\xfe the mango\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, fresh) -> None:
    answer = fresh.afina(*command.split(), "--help")
    assert (answer.code, answer.clean) == (0, True)
    assert f"Example: afina {command}" in " ".join(answer.out.split())
    assert fresh.afina(*command.split(), "--lang", "es", "--help").code == 0


def test_the_spanish_help_page_is_spanish_throughout(fresh) -> None:
    page = fresh.afina("run", "--help", "--lang", "es").out
    assert "Uso: afina run [OPCIONES] RECETA-o-EJECUCIÓN" in page
    assert "CAMPO=VALOR" in page
    assert "CARPETA-o-URI" in page
    for english in ("Usage", "OPTIONS", "RECIPE", "FOLDER", "VALUE"):
        assert english not in page
    assert "Ejemplo: afina run" in fresh.afina("--help", "--lang", "es").out


def test_no_command_is_forgotten_here() -> None:
    from afina.cli.app import build_app

    app = build_app()
    found = []
    for name, command in app.commands.items():
        found += (
            [f"{name} {inner}" for inner in command.commands] if hasattr(command, "commands") else [name]
        )
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize(
    "code",
    [
        "import afina",
        "import afina.cli; afina.cli.main(['--help'])",
        "import afina.cli; afina.cli.main(['run', '--help'])",
        "import afina.cli; afina.cli.main(['--version'])",
    ],
)
def test_help_loads_nothing_heavy(code: str, tmp_path) -> None:
    script = f"""
import sys
try:
    {code}
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path),
    )
    assert done.stderr.strip() == "[]"


def test_wrong_use_has_exit_code_two(fresh) -> None:
    for arguments in (
        ("nonsense",),
        ("run",),
        ("run", "r.yaml", "--nonsense"),
        ("runs", "show", "nothing"),
    ):
        answer = fresh.afina(*arguments)
        assert (answer.code, answer.clean) == (2, True), arguments
        assert answer.err.strip()
    value = fresh.afina("run", "r.yaml", "--nonsense", "--json").json()
    assert value["exit_code"] == 2
    value = fresh.afina("runs", "show", "nothing", "--json").json()
    assert value["error"] == "AfinaError"


def test_a_reader_that_leaves_early_is_no_fault(fresh) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m afina recipe explain | head -n 1"],
        cwd=fresh.folder, env=environment(fresh.cache), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_terminal_without_arrows_shows_the_rest(finished) -> None:
    place, _answer = finished
    answer = place.afina("data", "build", "r.yaml", PYTHONIOENCODING="ascii")
    assert (answer.code, answer.clean) == (0, True)
    assert "audit:" in answer.out


def test_a_recipe_from_a_file_made_by_afina_is_sound(fresh) -> None:
    made = fresh.afina("recipe", "new", "rows.jsonl", "--output", "new.yaml")
    assert made.code == 0
    assert "epochs" in fresh.afina("recipe", "explain", "train.epochs").out
