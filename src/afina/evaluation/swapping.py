"""The same text with another name, country or form of address in it: what must not change a decision.

Counterfactual texts by word lists (swap_names.json, swap_countries.json, swap_address.json), as Garg et
al. 2019 (Counterfactual Fairness in Text Classification through Robustness) ask a classifier twice. A
list knows no grammar: agreement that is not listed is left as it was, so that a change of the answer can
also come of the odd sentence.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any


@dataclass(frozen=True)
class Swapped:
    """A changed text, and what was changed into what: `women` to `men`, `MX` to `PE`, `tú` to `vos`."""

    text: str
    source: str
    target: str


def swap(kind: str, text: str, seed: int, row: str) -> Swapped | None:
    """One variant of a text, drawn by the seed and the row's id; None when nothing in it can be swapped.

    Args:
        kind: names, countries or address.
    """
    # A seed that is text is hashed with SHA-512: the same on every machine.
    found = _SWAPPERS[kind](text, Random(f"{seed}:{kind}:{row}"))  # noqa: S311 - a draw, no secret
    return found if found is not None and found.text != text else None


@cache
def word_list(kind: str) -> dict[str, Any]:
    """What a list holds."""
    path = Path(__file__).with_name(f"swap_{kind}.json")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _like(written: str, word: str) -> str:
    """A word in capitals, or with a first capital, as another one was written."""
    if written.isupper() and len(written) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if written[:1].isupper() else word


def _plain(word: str) -> str:
    """Without case and accents."""
    parts = unicodedata.normalize("NFD", word.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _whole(forms: list[str]) -> str:
    """A pattern of whole words and phrases, the longest first; no part of an address or a link."""
    longest = sorted(set(forms), key=lambda form: (-len(form), form))
    return rf"(?<![\w@./\-])(?:{'|'.join(map(re.escape, longest))})(?![\w@/\-]|\.\w)"


# Names


@cache
def _names() -> tuple[dict[str, tuple[str, str]], dict[str, str], dict[str, str], dict[str, str]]:
    """First names with gender and origin, surnames with origin, titles of women and of men."""
    lists = word_list("names")
    first = {
        _plain(name): (gender, origin)
        for gender in ("women", "men")
        for origin, names in lists[gender].items()
        for name in names
    }
    last = {_plain(name): origin for origin, names in lists["surnames"].items() for name in names}
    to_men = dict(lists["agreement"])
    to_women: dict[str, str] = {}
    for woman, man in lists["agreement"]:
        to_women.setdefault(man, woman)
    return first, last, to_men, to_women


_NAME = re.compile(r"(?<![\w@./\-])[^\W\d_]+(?:-[^\W\d_]+)?(?![\w@/\-]|\.\w)")


def _swap_names(text: str, draw: Random) -> Swapped | None:
    """All first names of a text to the other gender, or with their surnames to another origin."""
    first, _last, _men, _women = _names()
    words = list(_NAME.finditer(text))
    places = [place for place in range(len(words)) if _is_name(text, words, place)]
    if not places:
        return None
    gender, origin = first[_plain(words[places[0]][0])]
    if draw.random() < 0.5:
        target = "men" if gender == "women" else "women"
        return Swapped(_renamed(text, words, places, None, draw), gender, target)
    others = [name for name in word_list("names")["women"] if name != origin]
    chosen = draw.choice(others)
    return Swapped(_renamed(text, words, places, chosen, draw), origin, chosen)


def _is_name(text: str, words: list[re.Match[str]], place: int) -> bool:
    """A listed first name with a capital, and not part of a place: San José, calle Juan."""
    word = words[place][0]
    if not word[0].isupper() or _plain(word) not in _names()[0]:
        return False
    if place == 0:
        return True
    before = words[place - 1]
    near = not text[before.end() : words[place].start()].strip(" .")
    return not (near and _plain(before[0]) in map(_plain, word_list("names")["never_before"]))


def _renamed(
    text: str, words: list[re.Match[str]], places: list[int], origin: str | None, draw: Random
) -> str:
    """The text with its names of another origin, or, without one, of the other gender."""
    first, last, to_men, to_women = _names()
    lists = word_list("names")
    known = {_plain(word[0]) for word in words}
    chosen: dict[str, str] = {}
    changed: dict[int, str] = {}

    def other(name: str, among: list[str]) -> str:
        key = _plain(name)
        if key not in chosen:
            free = [new for new in among if _plain(new) not in known | set(map(_plain, chosen.values()))]
            chosen[key] = draw.choice(free or among)
        return _like(name, chosen[key])

    for place in places:
        word = words[place][0]
        gender, own = first[_plain(word)]
        new_gender = gender if origin else ("men" if gender == "women" else "women")
        changed[place] = other(word, lists[new_gender][origin or own])
        if origin is None:
            title = words[place - 1][0] if place else ""
            titles = to_men if new_gender == "men" else to_women
            if title.casefold() in titles and place - 1 not in changed:
                changed[place - 1] = _like(title, titles[title.casefold()])
            continue
        after = place + 1
        while after < len(words) and _plain(words[after][0]) in last and words[after][0][0].isupper():
            if text[words[after - 1].end() : words[after].start()] != " ":
                break
            changed[after] = other(words[after][0], lists["surnames"][origin])
            after += 1
    parts, position = [], 0
    for place in sorted(changed):
        parts += [text[position : words[place].start()], changed[place]]
        position = words[place].end()
    return "".join([*parts, text[position:]])


# Countries


@dataclass(frozen=True)
class _Form:
    """What a form of a country is: its list, its place in it, the languages that write it so, and
    whether it is an acronym, whose capitals say nothing of the text's."""

    kind: str
    place: int
    languages: str
    acronym: bool = False


@dataclass(frozen=True)
class _Country:
    """The forms of one country, the pattern of them all, and that of its phone prefix."""

    forms: dict[str, _Form]
    pattern: re.Pattern[str]
    prefix: re.Pattern[str] | None


@cache
def _countries() -> dict[str, _Country]:
    found = {}
    for code, entry in word_list("countries")["countries"].items():
        forms = {entry["code"]: _Form("code", 0, "es en")}
        for language in ("es", "en"):
            _add_forms(forms, "name", entry[language], language)
            _add_forms(forms, "demonym", entry[f"demonym_{language}"], language)
            _add_forms(forms, "money", entry[f"money_{language}"], language)
        of = [name.replace("el ", "del ", 1) for name in entry["es"] if name.startswith("el ")]
        _add_forms(forms, "of", of, "es")
        prefix = entry["prefix"]
        number = re.compile(rf"(?<![\w+]){re.escape(prefix)}(?=[\s(\-]?\d)") if prefix else None
        found[code] = _Country(forms, re.compile(_whole(list(forms))), number)
    return found


def _add_forms(forms: dict[str, _Form], kind: str, words: list[str], language: str) -> None:
    """Adds forms as they are listed, in capitals, and names without their accents."""
    for place, word in enumerate(words):
        spelt = {word, _bare(word)} if kind in ("name", "of") else {word}
        for written in sorted(spelt | {one.upper() for one in spelt}):
            known = forms.get(written)
            if known is None:
                forms[written] = _Form(kind, place, language, word.isupper())
            elif known.kind == kind and language not in known.languages:
                forms[written] = replace(known, languages=f"{known.languages} {language}")


def _bare(word: str) -> str:
    """A word without the accents of its vowels; ñ and ü stay."""
    return word.translate(str.maketrans("áéíóúÁÉÍÓÚ", "aeiouAEIOU"))


_ENGLISH = re.compile(r"\b(?:the|and|of|to|your|you|for|is|in)\b", re.I)
_SPANISH = re.compile(r"\b(?:el|la|los|las|de|que|su|tu|y|en|por|para)\b", re.I)


def _swap_countries(text: str, draw: Random) -> Swapped | None:
    """The country that a text names most, to one that it does not name: all its forms."""
    lists = word_list("countries")
    kept = [match.span() for match in re.finditer(_whole(lists["left_alone"]), text)]
    found = {code: _found(country, text, kept) for code, country in _countries().items()}
    shared = set(lists["shared"])
    counts = {
        code: sum(written not in shared for written, _start, _end in places)
        for code, places in found.items()
    }
    source = max(counts, key=lambda code: counts[code])  # of two alike, the first in the list
    if not counts[source]:
        return None
    target = draw.choice([code for code in counts if not counts[code]])
    english = len(_ENGLISH.findall(text)) > len(_SPANISH.findall(text))
    parts, position = [], 0
    for written, start, end in found[source]:
        form = _countries()[source].forms.get(written)
        new = _of_country(written, form, lists["countries"][target], english)
        if new:
            parts += [text[position:start], new]
            position = end
    return Swapped("".join([*parts, text[position:]]), source, target)


def _found(country: _Country, text: str, kept: list[tuple[int, int]]) -> list[tuple[str, int, int]]:
    """Where a country's forms and phone prefix stand, in order."""
    matches = [*country.pattern.finditer(text)]
    matches += country.prefix.finditer(text) if country.prefix else []
    return sorted(
        (
            (match[0], *match.span())
            for match in matches
            if all(match.end() <= start or end <= match.start() for start, end in kept)
        ),
        key=lambda found: found[1],
    )


def _of_country(written: str, form: _Form | None, target: dict[str, Any], english: bool) -> str:
    """The form of the target for one of the source; empty where the target has none."""
    if form is None:
        return str(target["prefix"])
    if form.kind == "code":
        return str(target["code"])
    in_english = english if form.languages == "es en" else form.languages == "en"
    language = "en" if in_english else "es"
    if form.kind in ("name", "of"):
        new = ("de " if form.kind == "of" else "") + str(target[language][0])
        return new.upper() if written.isupper() and not form.acronym else new
    new = str(target[f"{form.kind}_{language}"][form.place])
    return new if in_english and not written.isupper() else _like(written, new)


# Forms of address


@dataclass(frozen=True)
class _Address:
    """The forms of one address, with their row; and those that show that a text speaks so."""

    rows: dict[str, int]
    shown_by: frozenset[str]
    pattern: re.Pattern[str]


@cache
def _addresses() -> dict[str, _Address]:
    lists = word_list("address")
    table = _forms()
    unclear, never = set(lists["unclear"].split()), set(lists["never_from"].split())
    found = {}
    for column, name in enumerate(lists["order"]):
        rows: dict[str, int] = {}
        for row, forms in enumerate(table):
            if forms[column] not in never:
                rows.setdefault(forms[column], row)
        others = {forms[other] for forms in table for other in range(3) if other != column}
        shown_by = frozenset(form for form in rows if form not in others and form not in unclear)
        found[name] = _Address(rows, shown_by, re.compile(_whole(list(rows)), re.I))
    return found


@cache
def _forms() -> list[list[str]]:
    return [row.split(" | ") for row in word_list("address")["forms"]]


def address_shown(text: str) -> str | None:
    """How a text speaks to its reader; None when it shows none, or several alike."""
    counts = Counter(
        {
            name: sum(form.casefold() in address.shown_by for form in address.pattern.findall(text))
            for name, address in _addresses().items()
        }
    )
    (first, most), (_second, next_most), _third = counts.most_common()
    if most > next_most:
        return first
    # "ingresa a tu cuenta": tu is said with vos too, but vos says ingresá.
    words = {form.casefold() for form in _addresses()["tú"].pattern.findall(text)}
    unclear = set(word_list("address")["unclear"].split())
    return "tú" if not most and words & {"tu", "tus", "te"} and words & unclear else None


def _swap_address(text: str, draw: Random) -> Swapped | None:
    """A text that speaks to its reader as tú, vos or usted, in one of the two other ways."""
    source = address_shown(text)
    if source is None:
        return None
    order = word_list("address")["order"]
    target = draw.choice([name for name in order if name != source])
    return Swapped(_spoken(text, source, order.index(target)), source, target)


def _spoken(text: str, source: str, column: int) -> str:
    """The text with every listed form of one address in another one."""
    lists, address = word_list("address"), _addresses()[source]
    unclear, not_after = set(lists["unclear"].split()), set(lists["not_after"].split())

    def new(found: re.Match[str]) -> str:
        form = found[0].casefold()
        before = text[: found.start()].split()[-1:] if form in unclear else []
        if form not in ("su", "sus", "le") and before and before[0].casefold() in not_after:
            return found[0]
        return _like(found[0], _forms()[address.rows[form]][column])

    return address.pattern.sub(new, text)


_SWAPPERS: dict[str, Callable[[str, Random], Swapped | None]] = {
    "names": _swap_names,
    "countries": _swap_countries,
    "address": _swap_address,
}
