"""The Spanish catalogue holds every text that Afina says, with the same placeholders."""

from __future__ import annotations

import ast
import inspect
import re
import string
from pathlib import Path

import pytest

from afina import language
from afina.language import _, choose, from_arguments
from afina.recipe_file import all_fields
from afina.workflow import STAGES

SOURCE = Path(language.__file__).parents[1]


def said_in_code() -> dict[str, str]:
    """Every literal given to `_(`, with the file and line it is in."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_"
            ):
                continue
            where = f"{path.relative_to(SOURCE)}:{node.lineno}"
            text = node.args[0] if node.args else None
            for part in [text.body, text.orelse] if isinstance(text, ast.IfExp) else [text]:
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found.setdefault(part.value, where)
    return found


def said_in_templates() -> dict[str, str]:
    """Every literal given to `t(` in the report's templates."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"""\bt\(\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", text):
            found.setdefault(ast.literal_eval(match.group(1)), path.name)
    return found


def said_of_settings() -> dict[str, str]:
    """The explanation of every setting, and of the sections that have none of their own."""
    from afina.recipe import Section

    found = {field.description: name for name, field in all_fields() if field.description}
    sections = {
        "Base",
        "Task",
        "Data",
        "Columns",
        "Split",
        "Adapter",
        "Train",
        "Evaluate",
        "Distributed",
    }
    for kind in Section.__subclasses__():
        if kind.__name__ in sections:
            found[" ".join((inspect.getdoc(kind) or "").split())] = kind.__name__
    return found


ALL = {
    **said_in_code(),
    **said_in_templates(),
    **said_of_settings(),
    **dict.fromkeys(STAGES, "workflow.py"),
}


def placeholders(text: str) -> list[tuple[str, str | None, str | None]]:
    """The names between braces, with their formats."""
    parts = string.Formatter().parse(text)
    return sorted(
        (name, spec, conversion) for _text, name, spec, conversion in parts if name is not None
    )


def test_every_text_has_its_spanish() -> None:
    catalogue = language._catalogue()
    missing = [f"{where}: {text}" for text, where in ALL.items() if text not in catalogue]
    assert not missing, f"{len(missing)} texts have no Spanish:\n" + "\n".join(missing)


def test_the_catalogue_holds_nothing_that_is_not_said() -> None:
    # Texts in tables of words (metrics, reasons) reach `_` through a variable.
    literals = {
        node.value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [text for text in language._catalogue() if text not in ALL and text not in literals] == []


@pytest.mark.parametrize(("english", "spanish"), list(language._catalogue().items()) or [("", "")])
def test_placeholders_are_the_same(english: str, spanish: str) -> None:
    assert spanish.strip() or not english.strip()
    if "{" in english:
        assert placeholders(spanish) == placeholders(english)
    assert (
        english[: len(english) - len(english.lstrip())]
        == spanish[: len(spanish) - len(spanish.lstrip())]
    )


# Orders to `usted`. Left out are words that are something else as well: use, pase, suba, nombre, quite,
# diga ("una base que diga…"), haga, cierre.
USTED = re.compile(
    r"\b(?:usted|ponga|guarde|elija|escriba|revise|corrija|agregue|vuelva a|instale|ejecute|borre|"
    r"repita|pruebe|compruebe|comparta|copie|quiso decir)\b"
    r"|\b(?:pónga|escríba|pruébe|agrégue|quíte|revíse|cópie|nómbre|guárde|corríja|instále)l[aeo]s?\b",
    re.IGNORECASE,
)
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.es.md", *sorted((ROOT / "docs" / "es").glob("*.md"))]


def test_the_spanish_says_tu() -> None:
    assert USTED.search("Ponga la fila, o escríbala de nuevo.")
    assert not USTED.search("Pon la fila, o escríbela de nuevo.")
    wrong = [spanish for spanish in language._catalogue().values() if USTED.search(spanish)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_say_tu(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # What stands between backquotes or in code may be an example of a row.
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    assert [found[0] for found in USTED.finditer(prose)] == []


def test_no_text_is_put_together_before_it_is_translated() -> None:
    """`_(f"…")` and `_("a" + b)` can never be found in a catalogue."""
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == "_" and node.args and isinstance(node.args[0], ast.JoinedStr | ast.BinOp):
                wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert wrong == []


def test_a_text_without_an_entry_stays_english() -> None:
    choose("es")
    assert _("a text that nobody wrote") == "a text that nobody wrote"


@pytest.mark.parametrize(
    ("arguments", "locale", "expected"),
    [
        (["run", "a"], None, "en"),
        (["--lang", "es", "run"], None, "es"),
        (["run", "a", "--lang=es"], None, "es"),
        (["run", "a", "--lang", "en"], "es_AR.UTF-8", "en"),
        (["run"], "es_MX.UTF-8", "es"),
        (["run"], "es", "es"),
        (["run"], "et_EE.UTF-8", "en"),
        (["run"], "C", "en"),
        (["run", "--lang"], None, "en"),
        (["run", "--lang", "fr"], None, "en"),
    ],
)
def test_the_language_of_a_command_line(monkeypatch, arguments, locale, expected) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    if locale:
        monkeypatch.setenv("LANG", locale)
    assert from_arguments(arguments) == expected


def test_a_language_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        choose("fr")
