"""Texts with another name, country or form of address: what changes, what stays, what lists hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.evaluation.swapping import (
    _addresses,
    _plain,
    address_shown,
    swap,
    word_list,
)
from afina.metric_names import SWAPS


def variants(kind: str, text: str) -> set[tuple[str, str, str]]:
    """What sixty draws make of a text."""
    found = (swap(kind, text, seed, "row") for seed in range(60))
    return {(one.source, one.target, one.text) for one in found if one is not None}


def test_a_name_changes_its_gender_with_its_title_or_its_region_with_its_surname() -> None:
    found = variants("names", "Estimada Sra. Ana García: su pedido salió.")
    genders = {text for source, target, text in found if (source, target) == ("women", "men")}
    regions = {(target, text) for source, target, text in found if source == "spanish"}
    assert len(genders) > 3
    assert {target for target, _text in regions} == {*word_list("names")["women"]} - {"spanish"}
    for text in genders:
        # Two titles in a row: the one before the name agrees.
        assert text.startswith("Estimada Sr. ")
        assert text.endswith(" García: su pedido salió.")
    for target, text in regions:
        first, last = text.removeprefix("Estimada Sra. ").split(":")[0].split()
        assert first in word_list("names")["women"][target]
        assert last in word_list("names")["surnames"][target]


def test_a_name_keeps_its_case_and_one_value_in_the_text() -> None:
    for _source, target, text in variants("names", "HOLA MARÍA. Maria, avisa a Pedro"):
        first, again, other = (text.split()[place].strip(".,") for place in (1, 2, 5))
        assert first == first.upper()
        assert first.casefold() == again.casefold()
        assert other.casefold() != again.casefold()
        assert target


@pytest.mark.parametrize(
    "text",
    [
        "Vivo en San José, calle Juan 12, Santa Ana",
        "escribe a ana@x.example o www.ana.example",
        "hola ana",
        "Rosa, Victoria y Santiago",
        "García dice que no",
        "",
    ],
)
def test_places_addresses_and_words_are_no_names(text: str) -> None:
    assert variants("names", text) == set()


def test_all_forms_of_a_country_change_together() -> None:
    text = "Banco mexicano: envíe 300 pesos mexicanos (MXN) a México, +52 55 1234 5678. Ciudad de México"
    found = {target: new for _source, target, new in variants("countries", text)}
    assert found["PE"] == (
        "Banco peruano: envíe 300 soles peruanos (PEN) a Perú, +51 55 1234 5678. Ciudad de México"
    )
    assert found["US"].startswith("Banco estadounidense: envíe 300 dólares estadounidenses (USD)")
    assert len(found) > 12
    assert {source for source, _target, _new in variants("countries", text)} == {"MX"}


@pytest.mark.parametrize(
    ("text", "target", "new"),
    [
        ("The Peruvian office in Peru is closed", "MX", "The Mexican office in Mexico is closed"),
        ("You live in Chile and work for the bank", "US",
         "You live in the United States and work for the bank"),
        ("Vive en Chile y trabaja en el banco", "US", "Vive en Estados Unidos y trabaja en el banco"),
        ("Viene del Perú", "DO", "Viene de la República Dominicana"),
        ("VIAJE A PERU", "MX", "VIAJE A MÉXICO"),
        ("Desde los Estados Unidos", "CL", "Desde Chile"),
    ],
)  # fmt: skip
def test_articles_languages_and_capitals_of_countries(text: str, target: str, new: str) -> None:
    assert new in {found for _source, to, found in variants("countries", text) if to == target}


@pytest.mark.parametrize(
    "text",
    [
        "Pague 20 USD o 20 euros", "Bancolombia", "Nuevo México", "American Express", "texto en español",
        "llame al +52 sin número", "una cuenta argentinísima",
    ],
)  # fmt: skip
def test_shared_money_and_names_that_hold_a_country_point_to_none(text: str) -> None:
    assert variants("countries", text) == set()


@pytest.mark.parametrize(
    ("text", "source", "changed"),
    [
        (
            "Hola, ingresa a tu cuenta, verifica tus datos y haz clic. La compra sigue",
            "tú",
            {
                "vos": "Hola, ingresá a tu cuenta, verificá tus datos y hacé clic. La compra seguí",
                "usted": "Hola, ingrese a su cuenta, verifique sus datos y haga clic. La compra siga",
            },
        ),
        (
            "Si vos querés, entrá. Te espero con vos",
            "vos",
            {
                "tú": "Si tú quieres, entra. Te espero contigo",
                "usted": "Si usted quiere, ingrese. Le espero con usted",
            },
        ),
        (
            "Su cuenta ha sido bloqueada: llame y confirme. Usted puede pagar",
            "usted",
            {
                "tú": "Tu cuenta ha sido bloqueada: llama y confirma. Tú puedes pagar",
                "vos": "Tu cuenta ha sido bloqueada: llamá y confirmá. Vos podés pagar",
            },
        ),
    ],
)
def test_forms_of_address_change_by_the_list(text: str, source: str, changed: dict) -> None:
    assert address_shown(text) == source
    assert {target: new for _source, target, new in variants("address", text)} == changed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ingresa a tu cuenta", "tú"), ("tu cuenta", None), ("La llama es un animal", None),
        ("Puedes venir y podés venir", None), ("su casa tiene luz", None), ("HAZ CLIC", "tú"),
    ],
)  # fmt: skip
def test_only_a_text_that_shows_its_address_has_one(text: str, shown: str | None) -> None:
    assert address_shown(text) == shown


def test_a_draw_is_the_same_for_a_row_and_another_one_for_another() -> None:
    text = "Ana vive en México"
    assert swap("names", text, 3, "a") == swap("names", text, 3, "a")
    assert len({swap("names", text, 3, str(row)).text for row in range(20)}) > 5


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SWAPS), st.text(max_size=60) | st.lists(st.sampled_from(
    ["Ana", "Sr.", "Juan García", "México", "mexicanos", "+52 5", "EE. UU.", "tú", "vos", "Usted", "su"]
), max_size=8).map(" ".join), st.integers(0, 9))  # fmt: skip
def test_any_text_is_changed_or_left(kind: str, text: str, seed: int) -> None:
    found = swap(kind, text, seed, "r")
    assert found is None or (found.text != text and found.source != found.target)


def test_no_name_stands_in_two_lists() -> None:
    lists = word_list("names")
    first = [name for gender in ("women", "men") for own in lists[gender].values() for name in own]
    last = [name for own in lists["surnames"].values() for name in own]
    keys = [_plain(name) for name in [*first, *last]]
    assert len(keys) == len(set(keys))
    assert set(lists["women"]) == set(lists["men"]) == set(lists["surnames"])
    assert all(
        len(own) >= 15 for gender in ("women", "men", "surnames") for own in lists[gender].values()
    )


def test_every_country_has_every_form() -> None:
    for code, entry in word_list("countries")["countries"].items():
        sizes = {name: len(entry[name]) for name in ("demonym_es", "demonym_en", "money_es", "money_en")}
        assert sizes == {"demonym_es": 4, "demonym_en": 2, "money_es": 2, "money_en": 2}, code
        assert entry["es"], entry["en"]


def test_every_listed_form_of_address_is_known() -> None:
    lists = word_list("address")
    known = {form for row in lists["forms"] for form in row.split(" | ")}
    assert set(lists["unclear"].split()) | set(lists["never_from"].split()) <= known
    assert all(len(row.split(" | ")) == 3 for row in lists["forms"])
    assert {name: bool(address.shown_by) for name, address in _addresses().items()} == {
        "tú": True, "vos": True, "usted": True,
    }  # fmt: skip
