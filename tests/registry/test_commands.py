"""`afina registry …`: what is printed, what is JSON, and exit code 1 when the answer is no."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from afina.runs.files import read_json, write_json


@pytest.fixture
def afina_says(place, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """The program in this process: its exit code, what it printed, what it said."""
    monkeypatch.chdir(place.folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        from afina.cli import main

        before = dict(os.environ)
        with pytest.raises(SystemExit) as left:
            main(["--lang", "en", *arguments])
        os.environ.clear()
        os.environ.update(before)
        read = capsys.readouterr()
        return int(left.value.code or 0), read.out, read.err

    return call


def test_a_whole_life(afina_says, place) -> None:
    assert afina_says("registry", "list")[1].startswith("nothing is registered")
    code, out, _err = afina_says("registry", "add", "tiny@1", "--why", "the first")
    assert (code, out.splitlines()[0]) == (0, "tiny@v1 is the release of tiny@1 (candidate)")
    code, out, _err = afina_says("registry", "promote", "tiny@candidate")
    assert (code, out) == (0, "champion of tiny: tiny@v1, the release of tiny@1\n")
    code, out, _err = afina_says("registry", "promote", "tiny@2", "--why", "more", "--json")
    value = json.loads(out)
    assert (code, value["version"]["title"], value["replaced"]) == (0, "tiny@v2", "tiny@v1")
    code, out, _err = afina_says("registry", "list")
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["VERSION", "RUN", "ALIASES"]
    assert lines[1].split()[:4] == ["tiny@v2", "tiny@2", "champion", "pass"]
    assert lines[2].split()[:4] == ["tiny@v1", "tiny@1", "previous", "pass"]
    assert all(line.endswith("intact") for line in lines[1:])
    code, out, _err = afina_says("registry", "show", "tiny")
    assert "champion: tiny@v2 (before: v1): more" in out
    assert "candidate: tiny@v1: the first" in out
    code, out, _err = afina_says("registry", "show", "tiny@champion")
    assert out.startswith("tiny@v2 (champion)\nrun: tiny@2, registered ")
    assert "  pass: accuracy of tuned on test" in out
    assert json.loads(afina_says("registry", "show", "tiny@v1", "--json")[1])["standing"] == "intact"
    assert json.loads(afina_says("registry", "show", "tiny", "--json")[1])["generation"] == 3
    assert json.loads(afina_says("registry", "list", "--json")[1])[0]["aliases"]["champion"] == 2
    code, out, _err = afina_says("registry", "compare", "tiny@champion", "tiny@previous")
    assert (code, out.splitlines()[0]) == (0, "A: tiny@v2, B: tiny@v1")
    assert "tiny@1" in afina_says("runs", "show", "tiny@previous")[1]
    code, out, _err = afina_says("registry", "rollback", "tiny", "--why", "complaints")
    assert (code, out) == (
        0,
        "champion of tiny: tiny@v1, the release of tiny@1\ntaken back: tiny@v2\n",
    )
    assert "rolled back to tiny@v1 (before: v2): complaints" in afina_says("registry", "show", "tiny")[1]


def test_no_is_exit_code_one_with_all_that_failed(afina_says, place) -> None:
    afina_says("registry", "add", "tiny@1")
    Path(place.path("tiny/1/gate.json")).unlink()
    code, out, err = afina_says("registry", "promote", "tiny@v1", "--require-signature")
    assert (code, out) == (1, "")
    assert err.count("error: ") == 1
    assert "  - the gate was not asked" in err
    assert "  - the release is not signed" in err
    code, out, _err = afina_says("registry", "promote", "tiny@v1", "--json")
    value = json.loads(out)
    assert (code, value["error"], value["exit_code"]) == (1, "PromotionRefused", 1)
    assert afina_says("registry", "rollback", "tiny")[0] == 1
    assert afina_says("registry", "promote", "tiny@v9")[0] == 2
    assert afina_says("registry", "promote", "tiny@v1", "--to", "king")[0] == 2
    assert afina_says("registry", "show", "nothing")[0] == 2


def test_a_release_that_is_gone_is_listed_as_gone(afina_says, place) -> None:
    afina_says("registry", "add", "tiny@1")
    manifest = place.path("tiny/1/release/manifest.json")
    write_json(manifest, {**read_json(manifest), "seed": 99})
    assert afina_says("registry", "list")[1].splitlines()[1].endswith("CHANGED")
    place.path("tiny/1").rename(place.path("away"))
    assert afina_says("registry", "list")[1].splitlines()[1].endswith("GONE")
    assert "the release was moved or deleted" in afina_says("registry", "show", "tiny")[1]
    code, _out, err = afina_says("chat", "tiny@candidate")
    assert (code, "moved or deleted" in err) == (2, True)
