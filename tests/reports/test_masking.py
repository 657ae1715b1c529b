"""What is hidden in a row, and what stays readable."""

from __future__ import annotations

import pytest

from afina.reports.masking import LONGEST, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ana.perez+x@banco.example.", "write to [e-mail]."),
        ("go to https://a.example/b?c=1, now", "go to [link], now"),
        ("go to www.parcel.example/pay!", "go to [link]!"),
        ("hxxp://bad.example/x and evil[.]com/y", "[link] and [link]"),
        ("visit bit.ly/3xYz or BANCO.COM today", "visit [link] or [link] today"),
        ("call +52 55 1234 5678 today", "call [phone] today"),
        ("call (555) 123-4567.", "call [phone]."),
        ("card 4111 1111 1111 1111", "card [number]"),
        ("account 12345678, code 4821", "account [number], code [number]"),
        ("IBAN ES9121000418450200051332", "IBAN ES[number]"),
        ("you owe 1,234.50 or 12.345,00", "you owe [number] or [number]"),
        ("a\u200bna@ban\u200bco.example", "[e-mail]"),
        ("https://user:pass@host.example/a", "[link]"),
    ],
)
def test_hides(text: str, masked: str) -> None:
    assert mask(text, "en") == masked


@pytest.mark.parametrize(
    "text",
    [
        "the 17th at 10:30, 3 rooms, $45",
        "fin.El martes",
        "e.g. i.e. etc.",
        "Personal data: none",
        "50% + 2.5",
    ],
)
def test_leaves(text: str) -> None:
    assert mask(text, "en") == text


def test_is_masked_before_it_is_cut() -> None:
    text = "x" * (LONGEST - 8) + " juan@banco.example"
    masked = mask(text, "en")
    assert len(masked) <= LONGEST
    assert "juan" not in masked


def test_speaks_spanish(spanish: dict[str, str]) -> None:
    assert mask("a@b.example o www.b.example", "es") == "[correo] o [enlace]"
