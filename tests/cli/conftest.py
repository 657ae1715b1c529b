"""The program in its own process, and one finished run for every test of commands."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import colour_rows, write_jsonl

RECIPE = """version: 1
name: colours
base: {base}
task: {{kind: classify, labels: [fruit, metal], positive: metal}}
data:
  train: {rows}
  split: {{group_by: day}}
  near_duplicate: null
adapter: {{rank: 2, alpha: 4}}
train: {{epochs: 1, batch_rows: 8, precision: fp32}}
gate:
  - {{metric: accuracy, min: 0.1}}
"""


@dataclass
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self):
        """The one JSON value on the standard output."""
        return json.loads(self.out)

    @property
    def clean(self) -> bool:
        """Whether there is no traceback anywhere."""
        return "Traceback" not in self.out + self.err and "inside Afina" not in self.out + self.err


def environment(cache: Path, **more: str) -> dict[str, str]:
    """The process's environment with a cache of its own and no language."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LANG", "LC_ALL", "LC_MESSAGES")
    }
    return {**kept, "AFINA_CACHE": str(cache), "OMP_NUM_THREADS": "1", **more}


@dataclass
class Place:
    """A folder with a recipe, its data and the runs made from it."""

    folder: Path
    cache: Path

    def afina(self, *arguments: str, stdin: str = "", **more: str) -> Answer:
        """`python -m afina …` in this folder."""
        done = subprocess.run(
            [sys.executable, "-m", "afina", *arguments],
            cwd=self.folder,
            env=environment(self.cache, **more),
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=600,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def inside(self, *arguments: str) -> Answer:
        """The same in this process: quicker, for commands that end at once."""
        from afina.cli import main

        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before, place = dict(os.environ), Path.cwd()
        out, err = io.StringIO(), io.StringIO()
        given = [*arguments] if "--lang" in arguments[:1] else ["--lang", "en", *arguments]
        os.environ["AFINA_CACHE"] = str(self.cache)
        os.chdir(self.folder)
        try:
            with (
                redirect_stdout(out),
                redirect_stderr(err),
                warnings.catch_warnings(),
                pytest.raises(SystemExit) as left,
            ):
                main(given)
        finally:
            os.chdir(place)
            os.environ.clear()
            os.environ.update(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Answer(int(left.value.code or 0), out.getvalue(), err.getvalue())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, going on beside the test."""
        return subprocess.Popen(
            [sys.executable, "-m", "afina", *arguments],
            cwd=self.folder,
            env=environment(self.cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def fresh(tmp_path, llama3_folder, cache) -> Place:
    """A folder with a recipe and its data, and nothing done."""
    return prepared(tmp_path, llama3_folder, cache)


def prepared(folder: Path, base: Path, cache: Path, rows: int = 120) -> Place:
    """Writes recipe and data into a folder."""
    path = write_jsonl(folder / "rows.jsonl", colour_rows(rows))
    (folder / "r.yaml").write_text(RECIPE.format(base=base, rows=path), encoding="utf-8")
    return Place(folder, cache)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, llama3_folder, cache) -> tuple[Place, Answer]:
    """A place with one finished run, and what the command said."""
    place = prepared(tmp_path_factory.mktemp("finished"), llama3_folder, cache)
    answer = place.afina("run", "r.yaml")
    assert answer.code == 0, answer.err
    return place, answer
