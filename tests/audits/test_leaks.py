"""Leaks that were planted are found, and rows of other people are not taken for them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.audits.leaks import LONG, SHORT, LeakIndex, words_of

DATA = Path(__file__).parents[3] / "shared" / "data"
WORDS = [f"w{number}" for number in range(3000)]


def sentence(chance: random.Random, words: int) -> list[str]:
    return chance.choices(WORDS, k=words)


def edited(chance: random.Random, words: list[str], share: float) -> list[str]:
    places = set(chance.sample(range(len(words)), round(share * len(words))))
    return [chance.choice(WORDS) if place in places else word for place, word in enumerate(words)]


def found_rows(train: list[str], test: list[str]) -> set[int]:
    return {leak.row for leak in LeakIndex(test, train).leaks()}


@pytest.mark.parametrize("length", [12, 25, 60, 200])
def test_planted_leaks_are_found_and_strangers_are_not(length: int) -> None:
    chance = random.Random(length)
    test = [sentence(chance, length) for _row in range(400)]
    strangers = [" ".join(sentence(chance, length)) for _row in range(400)]
    text = [" ".join(row) for row in test]
    # Half of the test rows leak: those of even number.
    verbatim = strangers + [f"Fwd: {' '.join(row)} regards" for row in test[::2]]
    found = found_rows(verbatim, text)
    assert len(found & set(range(0, 400, 2))) >= 198  # 99 %
    assert len(found - set(range(0, 400, 2))) <= 2  # 1 %
    fifth = strangers + [" ".join(edited(chance, row, 0.2)) for row in test[::2]]
    found = found_rows(fifth, text)
    assert len(found & set(range(0, 400, 2))) >= 180  # 90 %
    assert len(found - set(range(0, 400, 2))) <= 2


def test_figures_of_one_leak_can_be_counted() -> None:
    test = "a b c d e f g h i j k l"
    index = LeakIndex([test, "x y z"], ["nothing", "Q: A, b; c d e f g h i!", "a b c"])
    (leak,) = index.leaks()
    assert (leak.row, leak.train_row, leak.longest) == (0, 1, 9)
    assert leak.covered == pytest.approx(9 / 12)
    assert leak.shared == pytest.approx(7 / 10)


def test_a_repeated_phrase_is_one_phrase() -> None:
    index = LeakIndex(
        ["we thank you and we thank you and more words of our own that nobody has"],
        ["we thank you we thank you we thank you"],
    )
    assert index.leaks() == []
    (leak,) = index.leaks(covered=0)
    assert leak.shared == pytest.approx(2 / 14)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=14), min_size=1, max_size=5),
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=14), max_size=5),
)
def test_shares_are_those_of_the_plain_definition(test, train) -> None:
    index = LeakIndex([" ".join(row) for row in test], [" ".join(row) for row in train])
    found = {leak.row: leak for leak in index.leaks(covered=0, shared=0)}
    assert set(found) == {row for row in range(len(test)) if row in found}
    for row, leak in found.items():
        words = test[row]
        runs = {tuple(other[i : i + LONG]) for other in train for i in range(len(other) - LONG + 1)}
        inside = np.zeros(len(words), dtype=bool)
        for i in range(len(words) - LONG + 1):
            if tuple(words[i : i + LONG]) in runs:
                inside[i : i + LONG] = True
        assert leak.covered == pytest.approx(inside.sum() / max(1, len(words)))
        own = [tuple(words[i : i + SHORT]) for i in range(len(words) - SHORT + 1)]
        best = max(
            (
                sum(run in {tuple(o[i : i + SHORT]) for i in range(len(o) - SHORT + 1)} for run in own)
                for o in train
            ),
            default=0,
        )
        assert leak.shared == pytest.approx(best / max(1, len(own)))


def test_boilerplate_is_no_leak() -> None:
    """What many training rows have counts for nothing; a row that is there a few times is a leak."""
    chance = random.Random(1)
    form = "dear customer your parcel number {} was handed to {} and will arrive on {} thank you"
    letters = [form.format(*chance.sample(WORDS, 3)) for _row in range(60)]
    assert found_rows(letters[:50], letters[50:]) == set()
    own = " ".join(sentence(chance, 20))
    assert found_rows([*letters[:50], *[f"hello {own}"] * 5], [*letters[50:], own]) == {10}


def test_words_have_no_case_no_punctuation_and_any_script() -> None:
    assert words_of("¡Hóla, MUNDO! №1 ＡＢ-c_d") == ["hóla", "mundo", "no1", "ab", "c", "d"]


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_mail_of_other_sources_raises_no_alarm() -> None:
    import json

    rows = [
        json.loads(line)
        for line in (DATA / "phishing/email_two_class.jsonl").read_text("utf-8").splitlines()
    ]
    train = [row["text"] for row in rows if row["source"] == "spamassassin"]
    test = [row["text"] for row in rows if row["source"] == "lingspam"]
    assert len(test) > 250
    assert len(found_rows(train, test)) <= 0.01 * len(test)
