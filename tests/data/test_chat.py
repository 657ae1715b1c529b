"""Which tokens are read and trained, with the real Llama 3 tokenizer and both of its templates."""

from __future__ import annotations

import dataclasses
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.data.chat import (
    Question,
    cut_conversation,
    encode_answer,
    encode_conversation,
    encode_document,
    encode_row,
    encode_text,
    fit_text,
    question_of,
    with_instruction,
)
from afina.data.roles import Row
from afina.errors import BaseModelError, DataError
from afina.models.tokenizer import FROZEN_DATE, tokens_of
from afina.recipe import Recipe

BOS, EOT = 128000, 128009
# What Llama 3.1's own template does for text: a system block that always stands there, with two dates.
LLAMA31_TEMPLATE = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<\0"))
some_text = text.filter(lambda value: value.strip())


@pytest.fixture(scope="module", params=["llama3", "llama3.1"])
def tokens(request, llama3):
    return (
        llama3 if request.param == "llama3" else dataclasses.replace(llama3, template=LLAMA31_TEMPLATE)
    )


def talk(*turns: str, system: str | None = None, untrained: tuple[int, ...] = ()) -> list[dict]:
    """Turns of user and assistant in alternation; `untrained` names turns by number."""
    head = [] if system is None else [{"role": "system", "content": system, "train": False}]
    roles = itertools.cycle(["user", "assistant"])
    return head + [
        {"role": role, "content": turn, "train": role == "assistant" and number not in untrained}
        for number, (role, turn) in enumerate(zip(roles, turns, strict=False))
    ]


def trained_text(tokens, encoded) -> list[str]:
    """The text of each unbroken run of trained tokens."""
    runs = itertools.groupby(zip(encoded.ids, encoded.trained, strict=True), key=lambda pair: pair[1])
    return [tokens.tokenizer.decode([one for one, _trained in run]) for trained, run in runs if trained]


def test_llama3_text_is_the_documented_one(llama3):
    encoded = encode_conversation(llama3, talk("Hola", "Buenas", system="Be kind"))
    assert llama3.tokenizer.decode(encoded.ids) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHola<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nBuenas<|eot_id|>"
    )


def test_llama31_text_prints_the_frozen_date(llama3, monkeypatch):
    newer = dataclasses.replace(llama3, template=LLAMA31_TEMPLATE)
    ids = encode_conversation(newer, talk("Hola", "Buenas")).ids
    shown = newer.tokenizer.decode(ids)
    assert shown.startswith(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
        f"December 2023\nToday Date: {FROZEN_DATE}\n\n<|eot_id|><|start_header_id|>user"
    )
    day = time.struct_time((2031, 5, 4, 3, 2, 1, 0, 124, 0))
    real = time.strftime
    monkeypatch.setattr(time, "strftime", lambda form, *_more: real(form, day))
    assert encode_conversation(newer, talk("Hola", "Buenas")).ids == ids
    other = dataclasses.replace(newer, date="01 Jan 2030")
    assert encode_conversation(other, talk("Hola", "Buenas")).ids != ids


def test_one_bos_and_loss_on_the_answer_and_its_end_only(tokens):
    encoded = encode_conversation(tokens, talk("¿Qué es un oráculo?", "Un servicio."))
    assert encoded.ids.count(BOS) == 1
    assert encoded.ids[0] == BOS
    assert trained_text(tokens, encoded) == ["Un servicio.<|eot_id|>"]
    assert encoded.trained[-1]
    assert encoded.ids[-1] == EOT


def test_masks_of_each_message(tokens):
    turns = ["u1", "first answer", "u2", "second answer", "u3", "third answer"]
    encoded = encode_conversation(tokens, talk(*turns, system="S", untrained=(3,)))
    assert trained_text(tokens, encoded) == ["first answer<|eot_id|>", "third answer<|eot_id|>"]
    everything = encode_conversation(tokens, talk(*turns, system="S"))
    assert everything.ids == encoded.ids
    assert len(trained_text(tokens, everything)) == 3
    last_is_user = encode_conversation(tokens, talk("u1", "a1", "u2"))
    assert trained_text(tokens, last_is_user) == ["a1<|eot_id|>"]
    unmarked = [{"role": m["role"], "content": m["content"]} for m in talk("u1", "a1")]
    assert trained_text(tokens, encode_conversation(tokens, unmarked)) == ["a1<|eot_id|>"]


def test_what_stands_after_the_end_token_is_not_trained(llama3):
    template = llama3.template.replace("<|eot_id|>", "<|eot_id|>\n")
    odd = dataclasses.replace(llama3, template=template)
    encoded = encode_conversation(odd, talk("u", "a", "v", "b"))
    assert trained_text(odd, encoded) == ["a<|eot_id|>", "b<|eot_id|>"]
    assert not encoded.trained[-1]


def test_a_template_without_bos_gets_one(llama3):
    bare = dataclasses.replace(llama3, template=llama3.template.replace("{{ bos_token }}", ""))
    assert encode_conversation(bare, talk("u", "a")) == encode_conversation(llama3, talk("u", "a"))


@given(st.lists(some_text, min_size=2, max_size=6), st.none() | some_text)
@settings(max_examples=60, deadline=None)
def test_any_conversation(llama3, turns, system):
    for template in (llama3.template, LLAMA31_TEMPLATE):
        tokens = dataclasses.replace(llama3, template=template)
        encoded = encode_conversation(tokens, talk(*turns, system=system))
        assert encoded.ids.count(BOS) == 1
        assert len(encoded.ids) == len(encoded.trained)
        assert trained_text(tokens, encoded) == [f"{turn.strip()}<|eot_id|>" for turn in turns[1::2]]
        plain = [{"role": m["role"], "content": m["content"]} for m in talk(*turns, system=system)]
        assert encoded.ids == tokens.encode(tokens.render(plain))


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        (talk("u", "a", untrained=(1,)), "no message of the assistant is trained"),
        (talk("u"), "no message of the assistant is trained"),
        (talk("u", "a")[1:], "begin with the user"),
        ([], "begin with the user"),
    ],
)
def test_rows_that_are_refused(tokens, messages, what):
    with pytest.raises(DataError, match=what):
        encode_conversation(tokens, messages)


def test_templates_that_are_refused(llama3):
    rewriting = "{% for m in messages %}{{ messages | length }}{{ m['content'] }}<|eot_id|>{% endfor %}"
    with pytest.raises(BaseModelError, match="rewrites earlier turns"):
        encode_conversation(dataclasses.replace(llama3, template=rewriting), talk("u", "a", "v", "b"))
    endless = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    with pytest.raises(BaseModelError, match="does not end an answer"):
        encode_conversation(dataclasses.replace(llama3, template=endless), talk("u", "a"))
    strict = dataclasses.replace(llama3, template="{{ raise_exception('no') }}")
    with pytest.raises(BaseModelError, match="refuses the roles user, assistant"):
        encode_conversation(strict, talk("u", "a"))


# Cutting


def test_the_oldest_whole_turns_go_and_system_and_end_stay(tokens):
    turns = [f"{kind} number {n} with a few words" for n in range(6) for kind in ("question", "answer")]
    messages = talk(*turns, system="Stay")
    full = len(encode_conversation(tokens, messages).ids)
    for limit in range(full, 40, -7):
        cut = cut_conversation(tokens, messages, limit)
        if cut is None:
            assert len(encode_conversation(tokens, [messages[0], *messages[-2:]]).ids) > limit
            continue
        encoded = encode_conversation(tokens, cut)
        assert len(encoded.ids) <= limit
        assert encoded.ids[-1] == EOT
        assert encoded.trained[-1]
        assert cut[0] == messages[0]
        assert cut[1:] == messages[len(messages) - len(cut) + 1 :]
        assert cut[1]["role"] == "user"
        longer = [messages[0], *messages[len(messages) - len(cut) - 1 :]]
        assert cut == messages or len(encode_conversation(tokens, longer).ids) > limit


def test_a_cut_that_leaves_nothing_trained_is_none(tokens):
    messages = talk("u1", "trained answer " * 20, "u2", "short", untrained=(3,))
    assert cut_conversation(tokens, messages, 60) is None
    assert cut_conversation(tokens, talk("u " * 100, "a"), 50) is None
    unmarked = [{"role": m["role"], "content": m["content"]} for m in talk("u" * 300, "a", "v", "b")]
    assert cut_conversation(tokens, unmarked, 70) == unmarked[2:]


@given(st.text(), st.integers(-1, 30))
@settings(max_examples=200, deadline=None)
def test_fitted_text_never_exceeds_and_is_a_beginning(llama3, value, room):
    fitted = fit_text(llama3, value, room)
    assert value.startswith(fitted)
    assert len(llama3.tokenizer(fitted, add_special_tokens=False)["input_ids"]) <= max(0, room)


def test_fitted_text_uses_the_room(llama3):
    value = "one two three four five six seven eight"
    assert fit_text(llama3, value, 3) == "one two three"
    assert fit_text(llama3, value, 99) == value
    assert fit_text(llama3, "🧑‍🚀" * 50, 7) == fit_text(llama3, fit_text(llama3, "🧑‍🚀" * 50, 7), 7)


@given(text, st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_an_asked_text_never_exceeds_and_ends_with_its_answer(llama3, value, more):
    question = Question("Which?", ("legitimate", "phishing"))
    limit = len(encode_conversation(llama3, question.messages("", "phishing")).ids) + 4 + more
    encoded = encode_answer(llama3, question, value, "phishing", limit)
    assert len(encoded.ids) <= limit
    assert trained_text(llama3, encoded) == ["phishing<|eot_id|>"]


def test_no_room_beside_the_question_is_an_error(tokens):
    with pytest.raises(DataError, match="leaves no room") as caught:
        encode_answer(tokens, Question("Which? " * 40, ("a", "b")), "text " * 90, "a", 40)
    assert caught.value.fix


# Documents and bare texts


@given(text, st.integers(4, 40))
@settings(max_examples=150, deadline=None)
def test_each_token_of_a_document_is_predicted_once(llama3, value, limit):
    windows = encode_document(llama3, value, limit)
    whole = [*llama3.encode(value), llama3.tokenizer.eos_token_id]
    predicted = [
        token
        for window in windows
        for token, trained in zip(window.ids, window.trained, strict=True)
        if trained
    ]
    assert predicted == whole[1:]
    assert whole[0] == BOS
    for window, following in itertools.pairwise(windows):
        assert len(window.ids) == limit
        assert following.ids[0] == window.ids[-1]
        assert not following.trained[0]


def test_a_bare_text_begins_with_bos_and_is_never_empty(llama3):
    assert encode_text(llama3, "Hola mundo", 99) == llama3.encode("Hola mundo")
    assert encode_text(llama3, "Hola " * 99, 7) == llama3.encode("Hola " * 99)[:7]
    assert encode_text(llama3, "", 7) == [BOS]
    assert encode_text(dataclasses.replace(llama3, bos=None), "", 7) == [llama3.pad]


# Rows by kind of task


def recipe(**task) -> Recipe:
    return Recipe.model_validate(
        {"name": "r", "task": task, "data": {"train": "x.jsonl", "max_length": 64}}
    )


def test_rows_by_kind(llama3):
    labels = ["a", "b"]
    row = Row(text="Hola " * 90, label="b", messages=talk("u", "x"))
    (pooled,) = encode_row(llama3, recipe(), labels, row)
    assert len(pooled.ids) == 64
    assert not any(pooled.trained)
    (asked,) = encode_row(llama3, recipe(head="tokens"), labels, row)
    assert len(asked.ids) <= 64
    assert trained_text(llama3, asked) == ["b<|eot_id|>"]
    assert "a, b" in question_of(recipe(), labels).instruction
    assert question_of(recipe(instruction="Which?"), labels).instruction == "Which?"
    told = recipe(kind="generate", instruction="Be kind")
    (spoken,) = encode_row(llama3, told, [], row)
    assert "Be kind<|eot_id|>" in llama3.tokenizer.decode(spoken.ids)
    own = talk("u", "x", system="Mine")
    assert with_instruction(told, own) == own
    assert sum(len(part.ids) - 1 for part in encode_row(llama3, recipe(kind="text"), [], row)) == (
        len(llama3.encode(row.text))
    )


def test_a_tokenizer_without_template_or_llama3_tokens_gets_the_plain_one():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: number for number, token in enumerate(alphabet)}, []))
    core.pre_tokenizer, core.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    small = tokens_of(PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>"))
    encoded = encode_conversation(small, talk("u", "sí", "v", "no"))
    assert trained_text(small, encoded) == ["sí</s>", "no</s>"]
    assert small.bos is None
    assert small.pad not in small.ends


def test_a_text_cannot_write_a_control_token_for_the_pooled_head(llama3) -> None:
    from afina.data.chat import encode_text

    plain = encode_text(llama3, "pay<|eot_id|>now<|begin_of_text|>", 64)
    assert plain[0] == llama3.bos
    assert not set(plain[1:]) & (llama3.ends | {llama3.bos})


@pytest.mark.parametrize("control", ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>"])
def test_a_message_cannot_write_a_control_token(llama3, control) -> None:
    asked = [
        {"role": "user", "content": f"first{control}then", "train": False},
        {"role": "assistant", "content": "yes", "train": True},
    ]
    harmless = [{**asked[0], "content": "first then"}, asked[1]]
    number = llama3.tokenizer.convert_tokens_to_ids(control)
    ids = encode_conversation(llama3, asked).ids
    assert ids.count(number) == encode_conversation(llama3, harmless).ids.count(number)
    assert llama3.tokenizer.decode(ids) == llama3.render(
        [{"role": m["role"], "content": m["content"]} for m in asked]
    )
    opened = llama3.encode_chat([{"role": "user", "content": f"first{control}then"}])
    assert opened.count(number) == llama3.encode_chat([{"role": "user", "content": "first"}]).count(
        number
    )
