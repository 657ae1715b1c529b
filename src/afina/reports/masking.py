"""Hides what could point at a person in the rows that a report shows."""

from __future__ import annotations

import re
import unicodedata

from afina.language import _

LONGEST = 400

_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"']+@[^\s@<>()\[\],;:\"']+")
_SCHEME = re.compile(r"(?:\b(?:https?|hxxps?|ftp)\s?:\s?/{0,2}|\bwww\.)[^\s<>\"]+", re.I)
# Hosts without a scheme: known endings in any case, two-letter endings in lower case or before a
# slash, so that "fin.El" (a missing space) stays readable.
_ENDINGS = (
    "com|net|org|info|biz|edu|gov|gob|mil|int|app|dev|xyz|online|site|shop|store|top|club|link|click|live|"
    "tech|cloud|web|page|pro|mobi|name|example|test|invalid|local|onion|eth|finance|bank|support|help"
)
_HOST = re.compile(
    rf"(?<![\w@.-])(?:[\w-]+(?:\.|\[\.\]))+(?:(?i:{_ENDINGS})|[a-z]{{2}}|[A-Za-z]{{2}}(?=(?::\d+)?/))"
    r"(?!\w)(?::\d+)?(?:[/?#][^\s<>\"]*)?"
)
_SEPARATED = re.compile(r"(?<!\d)(?:\+\s?)?\(?\d(?:[\s.()\-]{0,3}\d){5,}")
# An IBAN in groups of four: the groups hold digits, but for one of four letters before another group.
_IBAN = re.compile(
    r"\b[A-Z]{2}\d{2}(?:[\s.\-](?:[A-Z]{4}(?=[\s.\-]\w*\d)|(?=[A-Z]*\d)[A-Z\d]{4}\b)){2,}"
    r"(?:[\s.\-]\d[A-Z\d]{0,3}\b)?",
    re.I,
)
# A word of letters and at least four digits: a tax or personal number, a number plate, a reference.
_CODE = re.compile(r"(?<!\w)(?=\d*[^\W\d])[^\W\d]*(?:\d[^\W\d]*){4,}")
_NUMBER = re.compile(
    r"\d{1,3}(?:[,.'\u00a0\u202f]\d{3})+(?:[.,]\d+)?(?!\w)"
    r"|(?<![^\W\d])[^\W\d]*(?:\d[^\W\d]*){4,}(?:[.,]\d+)?"
)
_TRAILING = ".,;:!?)»”"


def mask(text: str, language: str, longest: int = LONGEST) -> str:
    """`text` without e-mail addresses, links, phone numbers and words with four or more digits.

    The text is masked before it is cut, so that a cut never leaves half of an address behind.
    """
    text = "".join(map(_plain, text))
    link, phone, number = _("[link]", language), _("[phone]", language), _("[number]", language)
    text = _SCHEME.sub(lambda found: link + _tail(found[0]), text)
    text = _EMAIL.sub(lambda found: _("[e-mail]", language) + _tail(found[0]), text)
    text = _HOST.sub(link, text)
    text = _CODE.sub(number, _IBAN.sub(number, text))
    text = _SEPARATED.sub(lambda found: _phone_or_number(found[0], phone, number), text)
    return shorten(_NUMBER.sub(number, text), longest)


def shorten(text: str, longest: int = LONGEST) -> str:
    """At most `longest` characters; an ellipsis stands for the rest."""
    text = text.strip()
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _plain(letter: str) -> str:
    """A letter as the patterns know it; "" for an invisible one, which would hide an address from them.

    Full-width and other forms of a letter or digit become that letter (NFKC); the letters of Latin-1,
    such as º, and marks of several characters, such as …, stay as they are.
    """
    if unicodedata.category(letter) == "Cf":
        return ""
    if ord(letter) < 256 or letter.isspace():
        return letter
    form = unicodedata.normalize("NFKC", letter)
    return form if len(form) == 1 or any(map(str.isalnum, form)) else letter


def _tail(found: str) -> str:
    """Punctuation that ends the sentence rather than the address."""
    return found[len(found.rstrip(_TRAILING)) :]


def _phone_or_number(found: str, phone: str, number: str) -> str:
    digits = sum(letter.isdigit() for letter in found)
    return phone if 7 <= digits <= 15 and not found.isdigit() else number
