"""The texts of a release: licence files, cards in both languages, bill of materials."""

from __future__ import annotations

from pathlib import Path

from afina.language import LANGUAGES, current
from afina.recipe import Recipe
from afina.releases.bill import bill
from afina.releases.card import card
from afina.releases.facts import Facts, facts_of
from afina.runs.files import write_json, write_text
from afina.runs.folder import Run

# What the release stage writes besides the manifest; those that a release does not need are not there.
TEXTS = (
    "evaluation.json",
    "README.md",
    "README.en.md",
    "README.es.md",
    "LICENSE",
    "NOTICE",
    "USE_POLICY.md",
    "bom.json",
)


def write_texts(run: Run, recipe: Recipe) -> None:
    """Writes them into release/: README.md in the language in use, the other one beside it.

    Raises:
        AfinaError: when release.license cannot be had for the base.
    """
    folder = run.path("release")
    facts = facts_of(run, recipe)
    texts = licence_texts(facts)
    names = {one: "README.md" if one == current() else f"README.{one}.md" for one in LANGUAGES}
    for language, name in names.items():
        others = {one: path for one, path in names.items() if one != language}
        texts[name] = card(facts, language, others)
    for name in (*TEXTS[1:-1],):
        if name in texts:
            write_text(folder / name, texts[name])
        else:
            (folder / name).unlink(missing_ok=True)
    write_json(folder / "bom.json", bill(facts))


def licence_texts(facts: Facts) -> dict[str, str]:
    """LICENSE, NOTICE and USE_POLICY.md as the base has them, with the line that Llama's asks for.

    Apache's text is the same everywhere, so that it is there also where the base's folder lacks it.
    """
    texts = dict(facts.licence.texts)
    if "LICENSE" not in texts and "apache-2.0" in (facts.base_licence.id, facts.licence.id):
        texts["LICENSE"] = (Path(__file__).parent / "apache-2.0.txt").read_text(encoding="utf-8")
    duties = facts.licence.duties
    if duties is not None:
        notice = texts.get("NOTICE", "")
        if duties.notice not in notice:
            texts["NOTICE"] = f"{duties.notice}\n{notice}"
    return texts
