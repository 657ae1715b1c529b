"""What is hidden in a row, and what stays readable."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        ("IBAN ES9121000418450200051332", "IBAN [number]"),
        ("IBAN ES91 2100 0418 4502 0005 1332, gracias", "IBAN [number], gracias"),
        ("iban gb29 nwbk 6016 1331 9268 19 today", "iban [number] today"),
        ("CURP PEPJ800101HDFRRN09.", "CURP [number]."),
        ("plate 1234abc, ref a1b2c3d4", "plate [number], ref [number]"),
        ("pay at BANCO.MX/pago or Banco.Mx:80/x", "pay at [link] or [link]"),
        ("to user＠mail.com or ｗｗｗ.mail.com", "to [e-mail] or [link]"),
        ("code １２３４", "code [number]"),
        ("12\u00a0345 and 1,234567", "[number] and 1,[number]"),
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
        "room B12 3 4, the 1.º of 3… ½ m²",
        "covid19 mp3 A4",
    ],
)
def test_leaves(text: str) -> None:
    assert mask(text, "en") == text


pieces = st.sampled_from(
    [
        "ES91",
        "2100",
        "PEPJ",
        "80",
        "1",
        "234",
        "４",
        "٣",
        "²",
        "½",
        "_",
        "x",
        "a@b.mx",
        "b.MX/",
        "https://",
    ]
) | st.text(st.sampled_from("0123456789 .,-+()'/:@abZ\u00a0\u200b\n"), max_size=6)


@given(st.lists(pieces, max_size=14).map("".join) | st.text(), st.sampled_from(["en", "es"]))
@settings(max_examples=400, deadline=None)
def test_four_digits_in_a_row_never_stay(text: str, language: str) -> None:
    assert not re.search(r"\d{4}", mask(text, language))


def test_is_masked_before_it_is_cut() -> None:
    text = "x" * (LONGEST - 8) + " juan@banco.example"
    masked = mask(text, "en")
    assert len(masked) <= LONGEST
    assert "juan" not in masked


def test_speaks_spanish(spanish: dict[str, str]) -> None:
    assert mask("a@b.example o www.b.example", "es") == "[correo] o [enlace]"
