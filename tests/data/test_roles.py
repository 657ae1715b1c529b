"""Columns to roles, raw rows to rows; each fault names its field and shows a valid row."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afina.data.roles import Row, find_roles, make_row
from afina.errors import DataError
from afina.recipe import Columns

HERE = "rows.jsonl:7"


def roles(kind: str, *found: str, **columns: str) -> dict[str, str]:
    return find_roles(kind, Columns(**columns), list(found), HERE)


@pytest.mark.parametrize(
    ("kind", "found", "expected"),
    [
        ("classify", ["label", "text", "day"], {"text": "text", "label": "label"}),
        ("classify", ["Mensaje", "TIPO"], {"text": "Mensaje", "label": "TIPO"}),
        ("classify", ["body", "text", "class", "label"], {"text": "text", "label": "label"}),
        ("text", ["id", "document"], {"text": "document"}),
        ("generate", ["question", "answer"], {"prompt": "question", "response": "answer"}),
        ("generate", ["messages"], {"messages": "messages"}),
        ("generate", ["conversations", "prompt"], {"messages": "conversations"}),
        ("generate", ["messages", "prompt", "response"], {"prompt": "prompt", "response": "response"}),
        ("generate", ["input", "output"], {"prompt": "input", "response": "output"}),
        (
            "generate",
            ["instruction", "input", "output"],
            {"prompt": "instruction", "response": "output", "input": "input"},
        ),
        (
            "generate",
            ["prompt", "instruction", "input", "output"],
            {"prompt": "prompt", "response": "output"},
        ),
    ],
)
def test_roles_by_name(kind, found, expected):
    assert roles(kind, *found) == expected


def test_roles_by_recipe():
    assert roles("classify", "a", "b", text="b", label="a") == {"text": "b", "label": "a"}
    assert roles("generate", "messages", "prompt", "response", messages="messages") == {
        "messages": "messages"
    }


def test_missing_column_names_those_there_are():
    with pytest.raises(DataError) as caught:
        roles("classify", "text", "day")
    assert caught.value.where == HERE
    assert "label" in caught.value.what
    assert "text, day" in caught.value.fix
    assert "--set data.columns.label=NAME" in caught.value.fix
    with pytest.raises(DataError, match="no column `x`"):
        roles("classify", "text", "label", text="x")


def row(kind: str, raw: dict) -> Row:
    return make_row(kind, find_roles(kind, Columns(), list(raw), HERE), raw, HERE)


@pytest.mark.parametrize(
    ("given", "label"), [("x", "x"), (" x ", "x"), (0, "0"), (7, "7"), (True, "true"), (False, "false")]
)
def test_labels_as_text_number_or_truth(given, label):
    assert row("classify", {"text": "t", "label": given}).label == label


@pytest.mark.parametrize("value", [None, "", "  ", 1.5, float("nan"), float("inf"), [], {}, b"x"])
def test_faulty_labels(value):
    with pytest.raises(DataError, match="`label` must be a label") as caught:
        row("classify", {"text": "t", "label": value})
    assert caught.value.where == HERE
    assert '"label": "legitimate"' in caught.value.fix


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "nothing"),
        ("", "empty text"),
        (" \n", "empty text"),
        (float("nan"), "found a number"),
        (3, "found a whole number"),
        (True, "found true or false"),
        (["private"], "found a list"),
        ({"private": 1}, "found an object"),
        (date(2026, 1, 2), "found a date or a time"),
        (b"private", "found binary data"),
        ("private\0", "NUL"),
        ("private \ud83d", "half a character"),
    ],
)
def test_faulty_texts_are_not_shown(value, found):
    with pytest.raises(DataError, match="`text`") as caught:
        row("classify", {"text": value, "label": "a"})
    assert found in caught.value.what
    assert caught.value.where == HERE
    assert "private" not in str(caught.value)
    assert caught.value.fix


def test_a_label_or_another_column_with_half_a_character():
    for raw in ({"text": "t", "label": "\ud83d"}, {"text": "t", "label": "a", "day": "\udc00"}):
        with pytest.raises(DataError, match="half a character"):
            row("classify", raw)


def test_other_columns_that_json_can_hold_are_kept():
    raw = {"text": "t", "label": "a", "n": 3, "x": 0.5, "yes": True, "s": "", "day": date(2026, 2, 3)}
    raw |= {"nan": float("nan"), "inf": float("inf"), "list": [1], "none": None, "bytes": b"1"}
    assert row("classify", raw).extra == {"n": 3, "x": 0.5, "yes": True, "s": "", "day": "2026-02-03"}


def test_prompt_and_response_become_a_conversation():
    made = row("generate", {"instruction": "Sum", "input": "1 2", "output": "3"})
    assert made.messages == [
        {"role": "user", "content": "Sum\n\n1 2", "train": False},
        {"role": "assistant", "content": "3", "train": True},
    ]
    assert (
        row("generate", {"instruction": "Hi", "input": "", "output": "Yo"}).messages[0]["content"]
        == "Hi"
    )
    with pytest.raises(DataError, match="`input`"):
        row("generate", {"instruction": "Hi", "input": float("nan"), "output": "Yo"})


def test_messages_from_a_list_a_string_or_sharegpt():
    expected = [
        {"role": "system", "content": "s", "train": False},
        {"role": "user", "content": "u", "train": False},
        {"role": "assistant", "content": "a", "train": True},
    ]
    plain = [{"role": m["role"], "content": m["content"]} for m in expected]
    share = [{"from": n, "value": v} for n, v in (("system", "s"), ("human", "u"), ("gpt", "a"))]
    text = json.dumps(plain)
    for value in (plain, share, text):
        assert row("generate", {"messages": value}).messages == expected
    untrained = [
        *plain,
        {"role": "user", "content": "v"},
        {"role": "assistant", "content": "b", "train": False},
    ]
    assert [m["train"] for m in row("generate", {"messages": untrained}).messages] == [False] * 2 + [
        True
    ] + [False] * 2


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (None, "`messages`"),
        ([], "`messages`"),
        ("[" * 100_000, "`messages`"),
        ("9" * 5000, "`messages`"),
        (["x"], "`messages[0]`"),
        ([{"role": "bot", "content": "x"}], "`messages[0].role`"),
        ([{"role": ["user"], "content": "x"}], "`messages[0].role`"),
        ([{"role": "\ud83d" * 99, "content": "x"}], "`messages[0].role`"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": 4}],
            "`messages[1].content`",
        ),
        ([{"role": "user", "content": "\ud83d"}], "`messages[0].content`"),
        ([{"role": "user", "content": "a\0"}], "`messages[0].content`"),
        ([{"role": "user", "content": "x", "train": True}], "`messages[0].train`"),
        ([{"role": "assistant", "content": "x", "train": 1}], "`messages[0].train`"),
    ],
)
def test_faulty_messages_name_their_place(value, place):
    with pytest.raises(DataError) as caught:
        row("generate", {"messages": value})
    assert place in caught.value.what
    assert caught.value.where == HERE
    str(caught.value).encode()
    assert len(str(caught.value)) < 600


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["classify", "generate", "text"]), anything, anything, anything)
def test_anything_gives_a_row_or_one_error(kind, one, two, three):
    raw = {"text": one, "label": two, "prompt": one, "response": two, "other": three}
    used = {"classify": ("text", "label"), "generate": ("prompt", "response"), "text": ("text",)}[kind]
    for task, chosen in ((kind, {name: name for name in used}), ("generate", {"messages": "other"})):
        made = fault = None
        try:
            made = make_row(task, chosen, raw, HERE)
        except DataError as error:
            fault = error
        assert fault.where == HERE if made is None else len(made.make_id()) == 16


def test_id_follows_content_only():
    first = Row(text="t", label="a", source="x", weight=1)
    again = Row(text="t", label="a", source="y", weight=2)
    assert first.make_id() == again.make_id() == first.id
    assert Row(text="t", label="b").make_id() != first.id
