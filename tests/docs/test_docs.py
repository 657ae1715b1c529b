"""What README and docs tell to type can be typed; recipes parse, links have targets, the site builds."""

from __future__ import annotations

import ast
import csv
import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import afina
from afina.cli.app import build_app
from afina.language import choose
from afina.recipe import UNBUILT_KINDS
from afina.recipe_file import Yaml12Loader, all_fields, parse_recipe, read_recipe
from afina.recipe_section import Section
from tests.conftest import colour_rows
from tests.docs.reading import (
    NOT_RUN,
    OTHERS,
    PAGES,
    ROOT,
    blocks,
    commands,
    commands_in,
    links,
    not_run,
)

RUN = [command for command in commands() if command not in not_run()]
# Little training and few resamples: what is tested is that the command can be typed.
SMALL = ("train.epochs=1", "data.max_length=64", "evaluate.metrics=[macro_f1]", "evaluate.baselines=[]")
TAKES_RECIPE = ("run", "train", "evaluate", "gate", "release", "report", "build", "check", "estimate")


@pytest.fixture(scope="module")
def desk(tmp_path_factory, llama3_folder) -> Path:
    """A folder as a reader has it: my.csv, its recipe, the ready recipes, two finished runs."""
    folder = tmp_path_factory.mktemp("desk")
    rows = colour_rows(60)
    with (folder / "my.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        choose("en")
        afina.new_recipe("my.csv", "recipe.yaml")
        changes = [f"base.model={llama3_folder}", *SMALL]
        first = afina.run("recipe.yaml", overrides=changes)
        second = afina.run("recipe.yaml", overrides=[*changes, "gate.0.min_gain=0.2"])
    assert (first.name, first.number, second.number) == ("my", 1, 2)
    return folder


def call(arguments: list[str]) -> int:
    """The command in this process, as `afina` calls it. AfinaError and errors of use come through."""
    import click

    try:
        return int(build_app()(arguments, standalone_mode=False) or 0)
    except click.exceptions.Exit as leaving:
        return int(leaving.exit_code)


def on_the_tiny_base(words: list[str], base: Path) -> list[str]:
    """The command with the tiny base, where it is about a recipe file."""
    verbs = [word for word in words if not word.startswith("-")][:2]
    about_recipe = any(word.endswith(".yaml") for word in words) and set(verbs) & set(TAKES_RECIPE)
    if not about_recipe or "--help" in words:
        return words
    return words + [word for change in (f"base.model={base}", *SMALL) for word in ("--set", change)]


@pytest.mark.parametrize("command", RUN)
def test_command_can_be_typed(command, desk, tmp_path, llama3_folder, monkeypatch, capsys) -> None:
    words = shlex.split(command)[1:]
    place = desk
    if words[:2] == ["recipe", "new"]:  # it refuses to write over the recipe that is there
        place = tmp_path
        shutil.copy(desk / "my.csv", place)
    monkeypatch.chdir(place)
    choose("es" if "es" in words else "en")
    signers = prepare_signers(tmp_path / "trust", desk, words)
    monkeypatch.setenv("AFINA_TRUST", str(signers))
    monkeypatch.setenv("AFINA_SIGNER_PASSPHRASE", "a reader's own words")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Lot 9: the tin came\n"))
    before = recipe_of(place)
    code = call(on_the_tiny_base(words, llama3_folder))
    said = capsys.readouterr().out
    # The gate may say no to a tiny random base; nothing else may go wrong.
    assert code == 0 or (code == 1 and words[0] in ("run", "gate", "release")), said
    assert said.strip()
    if "--json" in words:
        json.loads(said)
    if before is not None:
        assert recipe_of(place) == before


def prepare_signers(folder: Path, desk: Path, words: list[str]) -> Path:
    """A trust store as the page has it at each of its commands: with ana's keys, once they are made."""
    if words[0] == "signer" and words[1] != "new":
        made = afina.new_signer("ana", protect=False, trusted=words[1] != "trust", trust=folder)
        assert made.file is not None
        shutil.copy(made.file, desk / "ana.json")
    return folder


def recipe_of(folder: Path) -> str | None:
    """The text of the reader's recipe; None before it is written."""
    path = folder / "recipe.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else None


def test_commands_are_found_in_a_block() -> None:
    text = "$ afina run a.yaml  # trains\nX=1 .venv/bin/afina doctor && make test\n"
    text += "echo a | afina chat my\nls\n"
    assert list(commands_in(text)) == ["afina run a.yaml", "afina doctor", "make test", "afina chat my"]
    assert len(RUN) > 20


def test_what_is_not_run_has_a_reason_and_stands_somewhere() -> None:
    known = commands()
    for command, reason in not_run().items():
        assert reason, f"{NOT_RUN.name}: {command} has no reason"
        assert command in known, f"{NOT_RUN.name}: no page has `{command}`; remove the line"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in [*PAGES, *OTHERS]:
        for target in re.findall(r"`make ([a-z][\w-]*)[^`]*`", page.read_text(encoding="utf-8")):
            assert target in targets, f"{page.name}: make {target}"
    assert {shlex.split(c)[1] for c in commands() if c.startswith("make ")} <= targets


def test_commands_inside_sentences_exist() -> None:
    app: Any = build_app()
    for page in [*PAGES, *OTHERS]:
        for words in re.findall(r"`afina ((?:[a-z]+ ?)+)", page.read_text(encoding="utf-8")):
            here = app
            for word in words.split():
                if not hasattr(here, "commands"):
                    break
                assert word in here.commands, f"{page.name}: afina {words}"
                here = here.commands[word]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_recipes_rows_and_python_of_a_page_are_right(page) -> None:
    for text in blocks(page, "yaml"):
        given = yaml.load(text, Loader=Yaml12Loader)
        if "name" not in given:  # a part of a recipe
            given = {"name": "part", "data": {"train": "my.csv"}, **given}
        given.get("data", {}).setdefault("train", "my.csv")
        parse_recipe(yaml.safe_dump(given), str(page))
    for text in blocks(page, "json"):
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            is_verb = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if is_verb and node.value.id == "afina" and node.attr != "errors":
                assert node.attr in afina.__all__


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_ready_recipes_parse(path) -> None:
    recipe = read_recipe(path)
    assert recipe.task.kind not in UNBUILT_KINDS
    assert recipe.gate


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page) -> None:
    for target in links(page):
        if not re.match(r"[a-z]+:|#", target):
            path, _hash, _anchor = target.partition("#")
            assert (page.parent / path).exists(), f"{page.name}: {target}"


def _recipe_page() -> Any:
    spec = importlib.util.spec_from_file_location("recipe_page", ROOT / "docs" / "recipe_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["en", "es"])
def test_tables_of_settings_are_up_to_date(language) -> None:
    maker = _recipe_page()
    text = maker.PAGES[language].read_text(encoding="utf-8")
    made = maker.with_tables(text, language)
    assert made == text, "run: .venv/bin/python docs/recipe_page.py"
    for name, field in all_fields():
        shown = f"| `{name}` |" in text or f"### `{name}`" in text
        assert shown or issubclass(field.annotation, Section), name


@pytest.mark.parametrize("name", ["README.md", "README.es.md", "docs/data.md", "docs/es/data.md"])
def test_size_of_the_corpus_is_said_right(name) -> None:
    path = ROOT / "src/afina/domains/phishing/corpus.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert f"{len(rows):,} " in text
    assert re.search(rf"\b{len({row['family'] for row in rows})} (scenario )?famil", text)


def test_both_readmes_have_the_same_commands_and_marks() -> None:
    english, spanish = (ROOT / name for name in ("README.md", "README.es.md"))
    assert blocks(english, "sh") == blocks(spanish, "sh")
    assert blocks(english, "yaml") == blocks(spanish, "yaml")
    for page in (english, spanish):
        text = page.read_text(encoding="utf-8")
        assert text.index("make demo") < text.index("make test") < text.index("<!-- figures -->")
        assert "<!-- /figures -->" in text


def test_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_hooks_call_tools_of_the_project_only() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = {"ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter"}
    value = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    for repo in value["repos"]:
        assert repo["repo"] == "local"  # a remote hook would be downloaded
        for hook in repo["hooks"]:
            folder, _slash, program = hook["entry"].split()[0].rpartition("/")
            assert (folder, hook["language"]) == (".venv/bin", "system")
            assert f'"{packages[program]}>=' in pyproject


def test_the_site_builds_without_a_warning(tmp_path) -> None:
    site = tmp_path / "site"
    # Not --quiet: it keeps warnings from --strict too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in site.rglob("*.html"):
        # Nothing is loaded from elsewhere: links may lead out, fonts, scripts and styles may not.
        loaded = re.findall(
            r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?://[^"]+)', page.read_text()
        )
        assert not loaded, f"{page.name}: {loaded}"
