"""Masked texts: numbers in order, one value one number, nothing left to find, the same each time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.personal.finding import Finding, find_personal
from afina.personal.masking import Masker, make_masker, masker_of
from tests.personal.test_finding import KNOWN

MASKER = Masker()


@pytest.mark.parametrize(
    ("text", "masked", "pieces"),
    [
        (
            "Escribe a ana@x.example o a luis@x.example; ANA@x.example responde",
            "Escribe a [EMAIL_1] o a [EMAIL_2]; [EMAIL_1] responde",
            {"email": 3},
        ),
        (
            "tel. 555 123 4567, o 5551234567, tarjeta 4111 1111 1111 1111",
            "tel. [PHONE_1], o [PHONE_1], tarjeta [CARD_1]",
            {"phone": 2, "card": 1},
        ),
        ("ana.perez@x.example y anaperez@x.example", "[EMAIL_1] y [EMAIL_2]", {"email": 2}),
        ("Pedido 1234567890", "Pedido 1234567890", {}),
        ("", "", {}),
        # What stands there already has its number; what comes after gets the next.
        ("[EMAIL_1] escribe a ana@x.example", "[EMAIL_1] escribe a [EMAIL_2]", {"email": 1}),
    ],
)
def test_texts(text: str, masked: str, pieces: dict) -> None:
    assert MASKER.text(text) == (masked, pieces)


@pytest.mark.parametrize(("kind", "text"), KNOWN)
def test_every_kind_has_its_placeholder(kind: str, text: str) -> None:
    masked, pieces = MASKER.text(text)
    assert f"[{kind.upper()}_1]" in masked
    assert pieces == {kind: 1}


def test_a_conversation_is_numbered_through_and_grows_without_renumbering() -> None:
    said = [
        {"role": "user", "content": "Soy ana@x.example", "train": False},
        {"role": "assistant", "content": "Hola ana@x.example, te llamo al +52 55 5123 4567"},
        {"role": "user", "content": "mejor a luis@x.example"},
    ]
    masked, pieces = MASKER.messages(said)
    assert [message["content"] for message in masked] == [
        "Soy [EMAIL_1]", "Hola [EMAIL_1], te llamo al [PHONE_1]", "mejor a [EMAIL_2]",
    ]  # fmt: skip
    assert pieces == {"email": 3, "phone": 1}
    assert masked[0]["train"] is False
    assert said[0]["content"] == "Soy ana@x.example"
    # As in a chat: the model's own answer holds the placeholder, the person's words do not.
    chat = [said[0], masked[1], said[2]]
    assert MASKER.messages(chat)[0] == masked
    assert MASKER.messages(chat[:1])[0] == masked[:1]


PARTS = st.lists(
    st.sampled_from([text for _kind, text in KNOWN])
    | st.sampled_from(["[EMAIL_2]", "tel. ", "cédula ", "12345678", "30.123.456", "\n", "dni"])
    | st.text(max_size=20),
    max_size=7,
).map(" ".join)


@settings(max_examples=250, deadline=None)
@given(PARTS)
def test_nothing_is_left_and_masking_again_changes_nothing(text: str) -> None:
    masked, pieces = MASKER.text(text)
    assert find_personal(masked) == []
    assert MASKER.text(masked) == (masked, {})
    assert bool(pieces) == bool(find_personal(text))
    if not pieces:
        assert masked == text


@settings(max_examples=100, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=4))
def test_a_conversation_masked_again_is_the_same_and_no_message_sees_a_later_one(texts: list) -> None:
    said = [{"role": "user", "content": text} for text in texts]
    masked = MASKER.messages(said)[0]
    assert MASKER.messages(masked)[0] == masked
    for count in range(1, len(said)):
        assert MASKER.messages(said[:count])[0] == masked[:count]


def test_names_count_where_no_pattern_and_no_placeholder_stands() -> None:
    def names(text: str) -> list[Finding]:
        words = ("Ana Ruiz", "ana", "EMAIL")
        places = [(text.find(word), word) for word in words]
        return [Finding("name", start, start + len(word)) for start, word in places if start >= 0]

    masker = Masker(names)
    masked, pieces = masker.text("Ana  Ruiz, Ana Ruiz: ana@x.example [EMAIL_7]")
    assert masked == "Ana  Ruiz, [NAME_1]: [EMAIL_1] [EMAIL_7]"
    assert pieces["name"] == 1
    assert masker.text(masked)[0] == masked


def test_keep_masks_nothing() -> None:
    assert masker_of("keep", None) is None
    assert masker_of("mask", None) is not None
    assert make_masker().text("ana@x.example")[0] == "[EMAIL_1]"
