"""One released run on a base folder whose card and licence files a test can change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import afina.inference.engine as engine
from afina.runs.folder import Run, find_run
from tests.tiny import Tiny

AGREEMENT = {
    "llama3": "META LLAMA 3 COMMUNITY LICENSE AGREEMENT\n\nMeta Llama 3 Version Release Date: 2024\n",
    "llama3.1": "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n\n Llama 3.1 Version Release Date: July 23\n",
    "llama3.2": "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date: September 25\n",
    "llama3.3": "LLAMA 3.3 COMMUNITY LICENSE AGREEMENT\n Llama 3.3 Version Release Date: December 6\n",
    "llama2": "LLAMA 2 COMMUNITY LICENSE AGREEMENT\nLlama 2 Version Release Date: July 18, 2023\n",
}


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory, llama3_folder) -> Path:
    """The tiny Llama 3 in a folder of its own, by links."""
    folder = tmp_path_factory.mktemp("bases") / "base"
    folder.mkdir()
    for path in llama3_folder.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, base_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("releases"), base_folder, llama3)


@pytest.fixture(scope="session")
def made(tiny, llama3) -> Run:
    """A run with a release, which no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "load_tokens", lambda *_given: llama3)
        return tiny.run(
            "train.epochs=1",
            "evaluate.slices=[day]",
            "evaluate.metrics=[accuracy, macro_f1]",
            "gate=[{metric: accuracy, min: 0.0}]",
            stage="release",
        )


@pytest.fixture
def copied(made, base_folder, tmp_path, monkeypatch, llama3) -> Run:
    """A copy of it in tmp_path/runs, and a base folder without licence files."""
    shutil.copytree(made.root.parent.parent, tmp_path / "runs")
    monkeypatch.setattr(engine, "load_tokens", lambda *_given: llama3)
    yield find_run("tiny@1", str(tmp_path / "runs"))
    for path in base_folder.iterdir():
        if not path.is_symlink():
            path.unlink()


def say_licence(folder: Path, licence: str, *, files: bool = True, **head: str) -> None:
    """Writes a card, and the files of a Llama licence, into a base's folder."""
    lines = [f"license: {licence}", *(f"{name}: {value}" for name, value in head.items())]
    (folder / "README.md").write_text("---\n" + "\n".join(lines) + "\n---\n# A base\n", "utf-8")
    if files and licence in AGREEMENT:
        (folder / "LICENSE.txt").write_text(AGREEMENT[licence], "utf-8")
        (folder / "USE_POLICY.md").write_text(
            "# Acceptable use\nwrite to LlamaUseReport@meta.com\n", "utf-8"
        )
