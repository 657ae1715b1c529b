"""Personal data in texts: e-mail addresses, phones, cards, bank accounts, identity and tax numbers.

A number counts when its check digits are right (python-stdnum, phonenumbers) and either its form is one
that only such a number has, or a word beside it says what it is: of any ten digits one in ten passes a
check digit, and mail is full of order numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

# National numbers are looked up as those of these countries; others need their +prefix.
REGIONS = (
    "MX",
    "CO",
    "AR",
    "CL",
    "PE",
    "EC",
    "VE",
    "BO",
    "PY",
    "UY",
    "CR",
    "GT",
    "DO",
    "BR",
    "ES",
    "US",
)
# How far before a number the word that names it may stand, in characters.
NEAR = 30


@dataclass(frozen=True)
class Finding:
    """One piece of personal data: its kind, and its place in the text."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class _Kind:
    """How one kind is found.

    Attributes:
        form: what it looks like. sure: a form that needs no word beside it; None needs one always.
        word: the word that names it. valid: whether its check digits are right; None has none.
    """

    form: re.Pattern[str]
    sure: re.Pattern[str] | None = None
    word: re.Pattern[str] | None = None
    valid: Callable[[str], bool] | None = None


def _check(module: str) -> Callable[[str], bool]:
    """`is_valid` of one of stdnum's modules, read when it is first needed."""

    def valid(number: str) -> bool:
        from importlib import import_module

        return bool(import_module(f"stdnum.{module}").is_valid(number))

    return valid


def _rfc(number: str) -> bool:
    from stdnum.mx import rfc

    return bool(rfc.is_valid(number, validate_check_digits=True))


def _card(number: str) -> bool:
    """Luhn's digit, and the beginning and length of a card that is issued (ISO/IEC 7812)."""
    from stdnum import luhn

    digits = re.sub(r"\D", "", number)
    length, first = len(digits), int(digits[:4])
    issued = (
        (digits[0] == "4" and length in (13, 16, 19))
        or ((5100 <= first <= 5599 or 2221 <= first <= 2720) and length == 16)
        or (first // 100 in (34, 37) and length == 15)
        or ((first == 6011 or first // 100 == 65 or 6440 <= first <= 6499) and length in (16, 19))
        or (3528 <= first <= 3589 and length == 16)
        or (first // 100 in (36, 38, 39, 30) and length == 14)
    )
    return issued and bool(luhn.is_valid(digits))


def _words(*names: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)", re.I)


def _form(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w\-/])(?<!\d\.)(?:{pattern})(?![\w\-]|[.,/]\d)", flags)


# The surest first: where two overlap, the earlier kind has it.
KINDS: dict[str, _Kind] = {
    "email": _Kind(
        re.compile(r"(?<![\w.+\-])[\w.+\-]{1,64}@(?:[\w\-]{1,63}\.)+[^\W\d_]{2,24}(?![\w@\-])"),
        re.compile(""),
    ),
    "iban": _Kind(
        _form(r"[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{4}){2,7}(?:[ \-]?[A-Z0-9]{1,3})?"),
        re.compile(""),
        valid=_check("iban"),
    ),
    "curp": _Kind(
        _form(r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d", re.I), re.compile(""), valid=_check("mx.curp")
    ),
    "card": _Kind(_form(r"\d(?:[ \-]?\d){12,18}"), re.compile(""), valid=_card),
    "cpf": _Kind(
        _form(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}"),
        re.compile(r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
        _words("cpf"),
        _check("br.cpf"),
    ),
    "cnpj": _Kind(
        _form(r"\d{2}\.?\d{3}\.?\d{3}/?\d{4}-?\d{2}"),
        re.compile(r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}"),
        _words("cnpj"),
        _check("br.cnpj"),
    ),
    "cuit": _Kind(
        _form(r"\d{2}-?\d{8}-?\d"),
        re.compile(r"\d{2}-\d{8}-\d"),
        _words("cuit", "cuil", "cdi"),
        _check("ar.cuit"),
    ),
    "cbu": _Kind(_form(r"\d{22}|\d{8} \d{14}"), re.compile(""), valid=_check("ar.cbu")),
    "rut": _Kind(
        _form(r"\d{1,2}\.?\d{3}\.?\d{3}-[\dkK]"),
        re.compile(r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]"),
        _words("rut", "run", r"r\.u\.t\.?"),
        _check("cl.rut"),
    ),
    "nit": _Kind(
        _form(r"\d{3}\.?\d{3}\.?\d{3}-?\d"),
        re.compile(r"\d{3}\.\d{3}\.\d{3}-\d"),
        _words("nit", r"n\.i\.t\.?"),
        _check("co.nit"),
    ),
    "rfc": _Kind(_form(r"[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}", re.I), re.compile(""), valid=_rfc),
    "ruc": _Kind(
        _form(r"\d{13}|\d{11}"),
        None,
        _words("ruc", r"r\.u\.c\.?"),
        lambda number: _check("ec.ruc")(number) or _check("pe.ruc")(number),
    ),
    # Colombia's has no check digit, so that the word alone decides.
    "cedula": _Kind(
        _form(r"\d{3}-\d{7}-\d|\d{1,3}(?:\.\d{3}){2,3}|\d{6,11}|\d\.?\d{3}\.?\d{3}-\d"),
        None,
        _words("c[ée]dula(?: de (?:identidad|ciudadan[ií]a))?", r"c\.\s?c\.", r"c\.\s?i\.", "cc", "ci"),
    ),
    "dni": _Kind(_form(r"\d{1,2}\.?\d{3}\.?\d{3}[A-Z]?"), None, _words("dni", r"d\.n\.i\.?")),
}
_PHONE = _form(r"(?:\+|00)?\s?\(?\d(?:[\s.()\-]{0,2}\d){6,14}")
# As people group a number that is to be called; thousands and dates are grouped otherwise.
_WRITTEN = re.compile(
    r"\(\d{2,4}\)[ \-]?\d{3,4}[ \-]?\d{4}|\d{2,3}([ \-])\d{3,4}\1\d{4}|\d{2}(?: \d{2,4}){3,4}"
)
_PHONE_WORD = _words(
    *(
        "tel",
        "tels",
        "tel[ée]fonos?",
        "cel",
        "celulares?",
        "celular",
        "m[óo]vil(?:es)?",
        "whats?app",
        "fono",
    ),
    *(
        "ll[aá]m[a-zéáí]*",
        "phones?",
        "call",
        "mobile",
        "fax",
        "marque",
        "comun[ií]quese",
        "contacto",
        "ligue",
    ),
)


def find_personal(text: str) -> list[Finding]:
    """The personal data of a text, in its order, without overlaps."""
    found: list[Finding] = []
    digits = sum(letter.isdigit() for letter in text)
    kinds = KINDS if digits >= 6 else ("email",) if "@" in text else ()
    candidates = chain.from_iterable(_of_kind(text, kind) for kind in kinds)
    for one in chain(candidates, _phones(text) if digits >= 7 else ()):
        if all(one.end <= other.start or other.end <= one.start for other in found):
            found.append(one)
    return sorted(found, key=lambda finding: finding.start)


def _of_kind(text: str, name: str) -> Iterator[Finding]:
    kind = KINDS[name]
    for match in kind.form.finditer(text):
        sure = kind.sure is not None and kind.sure.match(match[0]) is not None
        if not sure and not (kind.word and _named(text, match.start(), kind.word)):
            continue
        if kind.valid is None or kind.valid(match[0]):
            yield Finding(name, match.start(), match.end())


def _named(text: str, start: int, word: re.Pattern[str]) -> bool:
    """Whether the word stands close before a place."""
    return word.search(text, max(0, start - NEAR), start) is not None


def _phones(text: str) -> Iterator[Finding]:
    """Numbers that can be called: with their prefix, or when written or named as one."""
    import phonenumbers

    for match in _PHONE.finditer(text):
        number = match[0].strip()
        start = match.start() + match[0].index(number)
        abroad = number.startswith(("+", "00"))
        if abroad:
            number = "+" + number.removeprefix("00").removeprefix("+")
        written = _WRITTEN.fullmatch(number) is not None
        if not abroad and not written and not _named(text, match.start(), _PHONE_WORD):
            continue
        for region in (None,) if abroad else REGIONS:
            try:
                parsed = phonenumbers.parse(number, region)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(parsed):
                yield Finding("phone", start, match.start() + len(match[0].rstrip()))
                break
