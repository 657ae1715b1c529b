"""A prompt with examples, definitions and reasoning is read as one conversation, and fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from afina.data.chat import Question, encode_conversation
from afina.inference.generate import answer, generation_settings
from afina.inference.label_likelihood import label_logits
from afina.inference.prompt import (
    Prompt,
    _share,
    cut_for_reasoning,
    fit_shots,
    with_definitions,
)
from afina.inference.reasoning import write_all
from afina.models.load import load_model

LABELS = ("legitimate", "phishing")
PLAIN = Prompt("Is this phishing?", LABELS)
SHOTS = (("Su paquete llega hoy", "legitimate"), ("Verifica tu cuenta ya", "phishing"))
TEXTS = ["Hola", "Dear customer, " * 9, "🙂"]


@pytest.fixture(scope="module")
def model(llama3_folder):
    return load_model(llama3_folder, "fp32")


def likelihood(model, tokens, messages) -> float:
    """Teacher forcing: the sum of the answer's log-probabilities."""
    encoded = encode_conversation(tokens, messages)
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([encoded.ids])).logits[0].double(), dim=-1)
    return sum(
        float(scores[place - 1, token])
        for place, (token, trained) in enumerate(zip(encoded.ids, encoded.trained, strict=True))
        if trained
    )


def test_a_prompt_without_anything_is_the_question() -> None:
    question = Question(PLAIN.instruction, LABELS)
    assert PLAIN.messages("Hola", "phishing") == question.messages("Hola", "phishing")


def test_examples_are_earlier_turns_in_the_form_of_the_question() -> None:
    turns = replace(PLAIN, shots=SHOTS).messages("Hola", "phishing")
    assert [(one["role"], one["content"]) for one in turns] == [
        ("user", "Is this phishing?\n\nSu paquete llega hoy"),
        ("assistant", "legitimate"),
        ("user", "Is this phishing?\n\nVerifica tu cuenta ya"),
        ("assistant", "phishing"),
        ("user", "Is this phishing?\n\nHola"),
        ("assistant", "phishing"),
    ]
    assert [one["train"] for one in turns] == [False] * 5 + [True]


def test_reasoning_stands_between_question_and_answer() -> None:
    prompt = replace(PLAIN, answer_instruction="So?", reasoning=" It asks for nothing. ")
    turns = prompt.messages("Hola", "legitimate")
    assert [one["content"] for one in turns] == [
        *("Is this phishing?\n\nHola", "It asks for nothing.", "So?", "legitimate"),
    ]
    assert prompt.opening("Hola") == turns[:1]
    assert replace(prompt, reasoning="").messages("Hola")[1]["content"] == "…"


def test_definitions_come_after_the_instruction_in_the_order_of_the_labels() -> None:
    given = {"phishing": "asks for secrets", "legitimate": "all else"}
    text = with_definitions("Which?", given, LABELS)
    assert text == "Which?\n- legitimate: all else\n- phishing: asks for secrets"
    assert with_definitions("Which?", None, LABELS) == "Which?"


@pytest.mark.parametrize("fast", [True, False])
def test_labels_after_examples_and_reasoning_equal_plain_likelihood(model, llama3, fast) -> None:
    kept = model.fast_decoder
    model.fast_decoder = kept if fast else None
    prompt = replace(PLAIN, shots=SHOTS, answer_instruction="So?")
    questions = [replace(prompt, reasoning=f"Reason {number}.") for number in range(len(TEXTS))]
    try:
        found = label_logits(model, llama3, questions, TEXTS, 2048, 400)
    finally:
        model.fast_decoder = kept
    wanted = [
        [likelihood(model, llama3, one.messages(text, label)) for label in LABELS]
        for one, text in zip(questions, TEXTS, strict=True)
    ]
    assert np.abs(found - np.array(wanted)).max() < 1e-4


def test_no_questions_no_logits(model, llama3) -> None:
    assert len(label_logits(model, llama3, [], [], 100, 100)) == 0


@pytest.mark.parametrize(
    ("lengths", "room", "share"),
    [
        ([10, 10], 20, 10),  # all fits
        ([10, 10], 10, 5),  # equally short
        ([2, 20], 12, 10),  # what the short one leaves goes to the long one
        ([1, 2, 30, 40], 23, 10),
        ([5], 0, 0),
    ],
)
def test_room_is_shared_out(lengths, room, share) -> None:
    assert _share(lengths, room) == share


def room_taken(tokens, prompt, shots) -> int:
    asked = replace(prompt, shots=shots)
    one = len(encode_conversation(tokens, asked.messages("", "phishing")).ids)
    return one - len(encode_conversation(tokens, prompt.messages("", "phishing")).ids)


def test_examples_that_fit_stay_whole(llama3) -> None:
    found = fit_shots(llama3, PLAIN, SHOTS, 200)
    assert (found.shots, found.shortened) == (SHOTS, 0)


def test_long_examples_are_shortened_and_short_ones_stay(llama3) -> None:
    long = " ".join(f"word{number}" for number in range(200))
    shots = (("Su paquete llega hoy", "legitimate"), (long, "phishing"))
    found = fit_shots(llama3, PLAIN, shots, 150)
    assert found.shortened == 1
    assert found.shots[0] == shots[0]
    assert long.startswith(found.shots[1][0])
    assert 140 <= room_taken(llama3, PLAIN, found.shots) <= 150


@pytest.mark.parametrize("room", [0, 20, 45, 60, 80, 110])
def test_fewer_examples_where_there_is_little_room(llama3, room) -> None:
    long = " ".join(f"word{number}" for number in range(60))
    shots = tuple((f"{number} {long}", LABELS[number % 2]) for number in range(4))
    found = fit_shots(llama3, PLAIN, shots, room)
    assert room_taken(llama3, PLAIN, found.shots) <= room
    assert [label for _text, label in found.shots] == [one[1] for one in shots[: len(found.shots)]]
    assert len(found.shots) == {0: 0, 20: 0, 45: 1, 60: 2, 80: 2, 110: 3}[room]


def test_a_text_is_cut_so_that_reasoning_and_answer_fit(llama3) -> None:
    prompt = replace(PLAIN, answer_instruction="So?")
    text = " ".join(f"word{number}" for number in range(200))
    cut = cut_for_reasoning(llama3, prompt, text, 120, 30)
    assert text.startswith(cut)
    length = len(encode_conversation(llama3, prompt.messages(cut, "legitimate")).ids)
    assert 80 <= length <= 90
    assert cut_for_reasoning(llama3, prompt, "Hola", 120, 30) == "Hola"


def test_many_conversations_are_answered_as_each_alone(model, llama3) -> None:
    asked = [[{"role": "user", "content": text}] for text in (*TEXTS, "¿Cuál es?", "a b c d e f")]
    found: dict[int, str] = {}
    sizes: list[int] = []

    def done(group: list[int], said: list[str]) -> None:
        sizes.append(len(group))
        found.update(zip(group, said, strict=True))

    write_all(model, llama3, asked, 5, done)
    assert sizes == [5]
    settings = generation_settings(llama3, 5)
    for place, messages in enumerate(asked):
        assert found[place] == answer(model, llama3, messages, settings).strip()
