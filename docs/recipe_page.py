"""Writes the tables of settings in docs/recipe.md and docs/es/recipe.md from the recipe's own fields.

python docs/recipe_page.py
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from afina.cli.app import build_app
from afina.language import choose, current

HERE = Path(__file__).parent
PAGES = {"en": HERE / "recipe.md", "es": HERE / "es" / "recipe.md"}
HEADS = {
    "en": ("Setting", "Type", "Default", "Meaning"),
    "es": ("Opción", "Tipo", "Por defecto", "Significado"),
}
NEEDED = {"en": "needed", "es": "obligatorio"}
BEGIN, END = "<!-- fields -->", "<!-- /fields -->"


def settings(language: str) -> list[dict[str, Any]]:
    """What `afina recipe explain --json` says, in a language."""
    before, printed = current(), io.StringIO()
    choose(language)
    try:
        with redirect_stdout(printed):
            build_app()(["recipe", "explain", "--json"], standalone_mode=False)
    finally:
        choose(before)
    return list(json.loads(printed.getvalue()))


def tables(language: str) -> str:
    """The settings of the top level in one table, then one table for each section."""
    known = settings(language)
    by_name = {one["field"]: one for one in known}
    sections = list(dict.fromkeys(name.partition(".")[0] for name in by_name if "." in name))
    plain = settings_word(known)
    parts = []
    for section in ["", *sections]:
        inside = [
            one
            for one in known
            if _section(one["field"], sections) == section
            and one["field"] not in sections
            and one["type"] != plain
        ]
        if section:
            parts += [f"### `{section}`", "", by_name[section]["description"], ""]
        parts += ["| " + " | ".join(HEADS[language]) + " |", "|---|---|---|---|"]
        parts += [_line(one, language) for one in inside]
        parts.append("")
    return "\n".join(parts)


def settings_word(known: list[dict[str, Any]]) -> str:
    """What the type of a section is called: a section has no value of its own."""
    return str(next(one["type"] for one in known if one["field"] == "base"))


def _section(field: str, sections: list[str]) -> str:
    """The top section that a setting belongs to; empty for a setting of the recipe itself."""
    top = field.partition(".")[0]
    return top if top in sections else ""


def _line(one: dict[str, Any], language: str) -> str:
    default = f"**{NEEDED[language]}**" if one["required"] else f"`{_short(one['default'])}`"
    kind = ", ".join(
        [one["type"], *(f"`{limit}`" if "^" in limit else limit for limit in one["limits"])]
    )
    return (
        "| " + " | ".join([f"`{one['field']}`", _cell(kind), default, _cell(one["description"])]) + " |"
    )


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_tables(text: str, language: str) -> str:
    """The page with its marked part made anew."""
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(language)}\n{END}{after}"


def main() -> None:
    """Writes both pages."""
    for language, page in PAGES.items():
        page.write_text(with_tables(page.read_text(encoding="utf-8"), language), encoding="utf-8")


if __name__ == "__main__":
    main()
