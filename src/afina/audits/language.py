"""Which language a text is in; for Spanish, which address and which country its words point to.

By function words and by words that people of one country use, listed in words.json: no model, nothing
downloaded. It is made for counting over many rows: of one short text it often knows nothing, and says
so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

_WORD = re.compile(r"[^\W\d_]+")

FEWEST_WORDS = 2

# Voseo: the pronoun, and verb forms that only vos takes (present and imperative, and common clitics).
_VOSEO = re.compile(
    r"\b(?:vos|sos|tenés|podés|querés|sabés|hacés|decís|venís|vivís|debés|necesitás|recibís|perdés|"
    r"ingresá|hacé|entrá|mirá|llamá|verificá|confirmá|completá|actualizá|respondé|escribí(?:nos|me)|"
    r"vení|tené|poné|andá|fijate|acordate|comunicate|contactanos|hacelo|avisame|esperá|"
    r"pagá|enviá|mandá|descargá|aprovechá|elegí|seguí|abrí)\b",
    re.I,
)
_USTED = re.compile(
    r"\b(?:usted|ustedes|estimad[oa]s?|señor[a]?|sr|sra|ingrese|verifique|confirme|haga|llame|comuníquese|"
    r"actualice|responda|escriba|descargue|complete|evite|revise|envíe|acuda|consulte|permita|disculpe)\b",
    re.I,
)
_TU = re.compile(
    r"\b(?:tú|tienes|puedes|quieres|sabes|haces|dices|vienes|debes|necesitas|recibes|eres|estás|contigo|"
    r"tuyo|tuya|ti|ingresa|verifica|confirma|haz|llama|actualiza|responde|escríbenos|descarga|completa|"
    r"evita|revisa|envía|consulta|aprovecha|comunícate|contáctanos)\b",
    re.I,
)


@cache
def _lists() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    """Words of one language alone, and words, institutions and money of one country, from words.json."""
    languages = {name: set(words.split()) for name, words in word_lists()["function_words"].items()}
    counts = Counter(word for words in languages.values() for word in words)
    countries = word_lists()["country_words"]
    return (
        {name: frozenset(w for w in words if counts[w] == 1) for name, words in languages.items()},
        {name: frozenset(words.split()) for name, words in countries.items()},
    )


@cache
def word_lists() -> dict[str, Any]:
    """What words.json holds."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("words.json").read_text("utf-8"))
    return found


def language_of(text: str) -> str | None:
    """`es`, `en` or `pt`; None when fewer than two words tell, or two languages are level."""
    words = [word.casefold() for word in _WORD.findall(text)]
    counts = {name: sum(word in known for word in words) for name, known in _lists()[0].items()}
    ranked = sorted(counts, key=lambda name: -counts[name])
    if counts[ranked[0]] < FEWEST_WORDS or counts[ranked[0]] == counts[ranked[1]]:
        return None
    return ranked[0]


def address_of(text: str) -> str | None:
    """How a Spanish text speaks to its reader: `vos`, `tú` or `usted`; None when it shows none, or
    several alike."""
    counts = {
        "vos": len(_VOSEO.findall(text)),
        "tú": len(_TU.findall(text)),
        "usted": len(_USTED.findall(text)),
    }
    ranked = sorted(counts, key=lambda name: -counts[name])
    if not counts[ranked[0]] or counts[ranked[0]] == counts[ranked[1]]:
        return None
    return ranked[0]


def country_of(text: str) -> str | None:
    """The country that most words of a Spanish text point to; None when none does, or two alike."""
    words = Counter(word.casefold() for word in _WORD.findall(text))
    counts = {name: sum(words[word] for word in known) for name, known in _lists()[1].items()}
    ranked = sorted(counts, key=lambda name: -counts[name])
    if not counts[ranked[0]] or counts[ranked[0]] == counts[ranked[1]]:
        return None
    return ranked[0]
