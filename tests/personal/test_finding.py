"""Personal data: numbers whose check digits are published, planted ones, and what must not be taken."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.audits.secrets import SECRETS, find_secrets
from afina.personal.finding import KINDS, find_personal

# (kind, text): the numbers are the examples of python-stdnum's own documentation, or of a standard.
KNOWN = [
    ("email", "Escriba a ana.perez+ventas@correo.example.mx hoy"),
    ("email", "«josé@peña.example»"),
    ("curp", "CURP BOXW310820HNERXN09."),
    ("curp", "su clave boxw310820hnerxn09"),
    ("rfc", "RFC: GODE561231GR8"),
    ("cpf", "Meu número é 390.533.447-05, obrigado"),
    ("cpf", "CPF 39053344705"),
    ("cnpj", "Empresa 16.727.230/0001-97"),
    ("cuit", "Facturar a 20-05536168-2"),
    ("cuit", "CUIT: 20055361682"),
    ("cbu", "Transferir al CBU 2850590940090418135201"),
    ("rut", "el señor de 12.531.909-2"),
    ("rut", "RUT 12531909-2"),
    ("nit", "La empresa 213.123.432-1 paga"),
    ("nit", "NIT 2131234321"),
    ("ruc", "R.U.C. 1792060346001"),
    ("ruc", "RUC 20512333797"),
    ("cedula", "cédula de ciudadanía No. 1.032.456.789"),
    ("cedula", "C.C. 52123456"),
    ("cedula", "con cédula 1714307103"),
    ("dni", "DNI 30.123.456"),
    ("iban", "a la cuenta ES91 2100 0418 4502 0005 1332"),
    ("iban", "GB82WEST12345698765432"),
    ("card", "Tarjeta 4111 1111 1111 1111 vence 12/29"),
    ("card", "5555-5555-5555-4444"),
    ("card", "378282246310005"),
    ("phone", "Llame al +52 55 5123 4567"),
    ("phone", "wa +57 300 123 4567"),
    ("phone", "tel. 5551234567"),
    ("phone", "Call (212) 736-5000 now"),
]


@pytest.mark.parametrize(("kind", "text"), KNOWN)
def test_known_numbers_are_found_whole(kind: str, text: str) -> None:
    (found,) = find_personal(text)
    assert found.kind == kind
    left = text[: found.start] + text[found.end :]
    assert not re.search(r"\d{3}", left.replace("12/29", ""))


@pytest.mark.parametrize(
    "text",
    [
        "Pedido 1234567890 confirmado, guía 9874561230",
        "CURP BOXW310820HNERXN08",  # a wrong check digit
        "4111 1111 1111 1112",
        "390.533.447-06",
        "ES91 2100 0418 4502 0005 1333",
        "Total: $ 1,234,567.89 al 2026-11-25 12:30:45",
        "El 12.531.909 de personas, art. 213.123.432",
        "https://banco.example/pago/4111111111111111/ver",
        "versión 10.15.7, build 20055361683",
        "a@b, @usuario, precio@",
        "block 17920603 of 0x52908400098527886E0F7030069857D2E4169EE7",
        "[Mon Sep 17 15:46:28 1794] gid=0x4e2",
        "",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert find_personal(text) == []


PLANTED = ("cpf", "cuit", "rut", "nit", "curp", "card", "iban")


def planted() -> dict[str, list[str]]:
    """Thirty valid numbers of each kind, made with stdnum's own check digits."""
    from stdnum import iso7064, luhn
    from stdnum.ar import cuit
    from stdnum.br import cpf
    from stdnum.cl import rut
    from stdnum.co import nit
    from stdnum.mx import curp

    chance = random.Random(13)

    def digits(count: int) -> str:
        return "".join(chance.choices("0123456789", k=count))

    found: dict[str, list[str]] = {
        name: [] for name in ("cpf", "cuit", "rut", "nit", "curp", "card", "iban")
    }
    for _number in range(30):
        body = digits(9)
        found["cpf"].append(cpf.format(body + cpf._calc_check_digits(body)))
        body = chance.choice(["20", "23", "27", "30"]) + digits(8)
        found["cuit"].append(cuit.format(body + cuit.calc_check_digit(body)))
        body = str(chance.randint(1, 25)) + digits(6)
        found["rut"].append(rut.format(body + rut.calc_check_digit(body)))
        body = "9" + digits(8)
        found["nit"].append(nit.format(body + nit.calc_check_digit(body)))
        body = f"PEGA{chance.randint(50, 99)}0{chance.randint(1, 9)}1{chance.randint(0, 9)}MDFRRN0"
        found["curp"].append(body + curp.calc_check_digit(body))
        body = "4" + digits(14)
        found["card"].append(body + luhn.calc_check_digit(body))
        body = digits(20)
        found["iban"].append("DE" + iso7064.mod_97_10.calc_check_digits(body[:18] + "DE") + body[:18])
    return found


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_numbers_are_found(kind: str) -> None:
    for number in planted()[kind]:
        text = f"Hola, el dato es {number}. Gracias, Ana"
        assert [finding.kind for finding in find_personal(text)] == [kind], number
        finding = find_personal(text)[0]
        assert text[finding.start : finding.end] == number


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([text for _kind, text in KNOWN]) | st.text(max_size=40), max_size=5))
def test_findings_are_in_order_apart_and_inside(parts: list[str]) -> None:
    text = " ; ".join(parts)
    found = find_personal(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    for one, other in pairwise(found):
        assert one.end <= other.start


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("private_key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"),
        ("aws_key", "id AKIAIOSFODNN7EXAMPLE,"),
        ("github_token", "ghp_" + "a1B2" * 9),
        ("slack_token", "xoxb-123456789012-abcdef"),
        ("google_key", "AIza" + "Sy-_9" * 7),
        ("stripe_key", "sk_live_" + "4eC39HqLyjWDarjtT1"),
        ("hugging_face_token", "hf_" + "abcDEF" * 6),
        ("json_web_token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0"),
        ("url_password", "postgres://ana:s3creto@db.example:5432/x"),
        (
            "ethereum_key",
            "PRIVATE_KEY=0x" + "4c0883a69102937d6231471b5dbb6204fe512961708279feb1be6ae5538da033",
        ),
    ],
)
def test_secrets_are_found(kind: str, text: str) -> None:
    assert kind in {finding.kind for finding in find_secrets(f"x {text} y")}


@pytest.mark.parametrize(
    "text",
    [
        "ghp_short, sk-learn, hf_transfer, AKIA, https://docs.example/a:b@c",
        "hash 4c0883a69102937d6231471b5dbb6204fe512961708279feb1be6ae5538da033",
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert list(find_secrets(text)) == []


def test_every_kind_has_a_known_example() -> None:
    assert {kind for kind, _text in KNOWN} == {*KINDS, "phone"}
    assert len(SECRETS) == 12
