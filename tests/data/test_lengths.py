"""What data.max_length cuts and drops, token by token."""

from __future__ import annotations

from collections import Counter

from afina.data.chat import encode_answer, encode_conversation, question_of
from tests.conftest import colour_rows
from tests.data.conftest import SPLITS, fault_of, recipe_of


def long_rows(count: int = 60) -> list[dict]:
    return [{"text": f"row {n}" + " word" * (n % 20) * 4, "label": "ab"[n % 2]} for n in range(count)]


def test_texts_over_the_limit_are_cut_and_counted(made, llama3):
    done = made(long_rows(), max_length=40)
    full = {row["text"]: len(llama3.encode(row["text"])) for row in long_rows()}
    for name in SPLITS:
        part = done.audit["splits"][name]
        mine = [full[row.text] for row in done.rows[name]]
        assert part["cut_rows"] == sum(size > 40 for size in mine)
        assert part["lost_tokens"] == sum(max(0, size - 40) for size in mine)
        assert part["tokens"] == sum(min(40, size) for size in mine)
        assert part["length_tokens"]["max"] == max(min(40, size) for size in mine)
        assert part["dropped_rows"] == {}
    assert sum(done.audit["splits"][name]["cut_rows"] for name in SPLITS) > 20


def test_texts_over_the_limit_are_dropped(made, llama3):
    done = made(long_rows(), max_length=40, over_long="drop")
    short = sum(len(llama3.encode(row["text"])) <= 40 for row in long_rows())
    assert sum(len(done.rows[name]) for name in SPLITS) == short
    dropped = sum((Counter(done.audit["splits"][name]["dropped_rows"]) for name in SPLITS), Counter())
    assert dropped == {"over_long": 60 - short}
    assert all(part["lost_tokens"] == 0 for part in done.audit["splits"].values())


def test_asked_texts_are_counted_as_they_are_read(made, llama3):
    rows = [
        {**row, "text": f"\n {row['text']}", "label": f"{row['label']} long label"}
        for row in long_rows()
    ]
    done = made(rows, task={"head": "tokens"}, max_length=64)
    question = question_of(recipe_of("x", {"head": "tokens"}), done.audit["labels"])
    for name in SPLITS:
        part = done.audit["splits"][name]
        messages = [question.messages(row.text, row.label) for row in done.rows[name]]
        whole = [encode_conversation(llama3, one) for one in messages]
        read = [encode_answer(llama3, question, row.text, row.label, 64) for row in done.rows[name]]
        assert part["tokens"] == sum(len(one.ids) for one in read)
        assert part["lost_tokens"] == sum(len(one.ids) for one in whole) - part["tokens"]
        assert part["trained_tokens"] == sum(sum(one.trained) for one in read)
        assert part["cut_rows"] == sum(len(one.ids) > 64 for one in whole)
    fault = fault_of(
        made, rows, task={"head": "tokens", "instruction": "so many words " * 30}, max_length=64
    )
    assert "leaves no room" in fault.what


def test_a_begin_token_in_an_asked_text_is_plain_text(made):
    rows = [*colour_rows(40), {"text": "now <|begin_of_text|> again", "label": "fruit"}]
    done = made(rows, task={"head": "tokens"}, max_length=256)
    assert [done.audit["splits"][name]["dropped_rows"] for name in SPLITS] == [{}, {}, {}]
    assert sum(done.audit["splits"][name]["rows"] for name in SPLITS) == 41


def talks(count: int = 30) -> list[dict]:
    return [
        {
            "messages": [
                {"role": "system", "content": "Stay"},
                {"role": "user", "content": f"first {n}" + " word" * 60},
                {"role": "assistant", "content": "one"},
                {"role": "user", "content": f"second {n}"},
                {"role": "assistant", "content": "two"},
            ]
        }
        for n in range(count)
    ]


def test_conversations_lose_whole_turns(made, llama3):
    done = made(talks(), task={"kind": "generate"}, max_length=60)
    whole = [{**m, "train": m["role"] == "assistant"} for m in talks()[0]["messages"]]
    lost = len(encode_conversation(llama3, whole).ids)
    lost -= len(encode_conversation(llama3, [whole[0], *whole[3:]]).ids)
    for name in SPLITS:
        part = done.audit["splits"][name]
        assert part["cut_rows"] == part["rows"] == len(done.rows[name])
        assert part["lost_tokens"] == lost * part["rows"]
        assert part["trained_tokens"] == 2 * part["rows"]
        for row in done.rows[name]:
            assert [m["content"].split()[0] for m in row.messages] == ["Stay", "second", "two"]


def test_conversations_that_cannot_be_used_are_dropped_with_the_reason(made):
    short = [{"messages": t["messages"][:1] + t["messages"][3:]} for t in talks(60)]
    odd = [
        [{"role": "user", "content": "u1"}, {"role": "assistant", "content": "a", "train": False}],
        [{"role": "assistant", "content": "a2"}, {"role": "user", "content": "u"}],
        [{"role": "user", "content": "u4"}, {"role": "assistant", "content": "long " * 90}],
    ]
    done = made([*short, *({"messages": m} for m in odd)], task={"kind": "generate"}, max_length=60)
    dropped = sum((Counter(part["dropped_rows"]) for part in done.audit["splits"].values()), Counter())
    assert dropped == {
        "no_trained_token": 1,
        "begins_with_assistant": 1,
        "over_long": 1,
    }


def test_all_rows_dropped_says_why(made):
    rows = [{"text": f"{n} " + "word " * 99, "label": "ab"[n % 2]} for n in range(30)]
    fault = fault_of(made, rows, max_length=16, over_long="drop")
    assert "no row is left in the train split" in fault.what
    assert "over_long" in fault.what


def test_documents_train_every_token(made, llama3):
    rows = [{"text": f"document {n} " + "word " * n} for n in range(30)]
    done = made(rows, task={"kind": "text"}, max_length=16)
    for name in SPLITS:
        wanted = sum(len(llama3.encode(row.text)) for row in done.rows[name])  # all but BOS, and the end
        assert done.audit["splits"][name]["trained_tokens"] == wanted
