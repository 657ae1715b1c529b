"""The check of an export: known answers, what is refused, and the fixtures."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from afina.data.chat import Encoded
from afina.errors import AfinaError
from afina.exports.asked import Asked, Said, ask
from afina.exports.check import TOLERANCES, agreement, require_agreement, top1_share
from afina.exports.prompt_fixtures import TEXTS, prompt_fixtures, unequal
from afina.exports.template import frozen_template

SETTINGS = SimpleNamespace(labels=["a", "b"], positive="b", threshold=0.5, temperature=1.0)


class _Table:
    """A model whose logits depend on the token alone; its mean state counts tokens."""

    def __init__(self, table):
        self.table = np.array(table, dtype=np.float32)

    def read(self, ids):
        return self.table[ids], np.bincount(ids, minlength=2).astype(np.float32)


def _asked(prompts, truth=(), branches=()):
    encoded = [Encoded(ids, [False] * len(ids)) for ids in prompts]
    texts = ["t"] * len(truth)
    return Asked(encoded, texts, list(branches), None, np.array(truth, dtype=np.int64), None)


def _said(hits, losses=1.0, labels=None):
    """A hundred prompts of ten places; the first `hits` places say 1, the others 0."""
    flat = (np.arange(1000) < hits).astype(int)
    return Said(list(flat.reshape(100, 10)), np.full(100, 10.0 * losses), np.full(100, 10), labels)


def test_a_model_is_asked_place_by_place():
    reader = _Table([[math.log(0.9), math.log(0.1)], [math.log(0.4), math.log(0.6)]])
    said = ask(reader, _asked([[0, 0, 1], [1, 1]], truth=[0, 1], branches=[([0], [[0, 0], [1]])] * 2))
    assert [row.tolist() for row in said.likeliest] == [[0, 0], [1]]
    assert said.counts.tolist() == [2, 1]
    np.testing.assert_allclose(said.losses, [-math.log(0.9) - math.log(0.1), -math.log(0.6)], rtol=1e-6)
    np.testing.assert_allclose(said.labels, [[2 * math.log(0.9), math.log(0.1)]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("bits", "wrong", "rise", "faults"),
    [
        (32, 5, 0.0, 0), (32, 6, 0.0, 1), (8, 30, 0.009, 0), (8, 31, 0.009, 1), (8, 0, 0.011, 1),
        (16, 5, 0.5, 0), (16, 6, 0.5, 1), (4, 100, 0.059, 0), (4, 101, 0.061, 2), (32, 0, 0.002, 1),
        (8, 0, -0.5, 0),
    ],
)  # fmt: skip
def test_the_tolerances_are_those_that_are_promised(bits, wrong, rise, faults):
    own, export = _said(1000), _said(1000 - wrong, 1.0 + math.log1p(rise))
    found = agreement(own, export, _asked([[0, 1]] * 100), SETTINGS, 1, bits)
    assert top1_share(own, export) == found["top1"]["share"] == 1 - wrong / 1000
    assert found["perplexity"]["rise"] == pytest.approx(rise)
    assert found["perplexity"]["own"] == pytest.approx(math.e)
    assert len(found["faults"]) == faults
    assert found["passed"] is (faults == 0)
    assert found["enough_prompts"] is True
    if faults:
        with pytest.raises(AfinaError, match="nothing was kept") as caught:
            require_agreement(found, "more bits")
        assert caught.value.fix == "more bits"
    else:
        require_agreement(found, "more bits")


def test_a_task_metric_that_is_shown_to_be_worse_is_refused():
    truth = np.arange(100) % 2
    good = np.where(truth[:, None] == [0, 1], 3.0, 0.0)
    for flipped, passes in ((1, True), (40, False)):
        bad = good.copy()
        bad[:flipped] = bad[:flipped, ::-1]
        found = agreement(
            _said(1000, labels=good),
            _said(1000, labels=bad),
            _asked([[0, 1]] * 100, truth),
            SETTINGS,
            1,
            8,
        )
        line = found["task"][0]
        assert (line["metric"], line["own"], line["n"]) == ("accuracy", 1.0, 100)
        assert line["difference"] == pytest.approx(-flipped / 100)
        assert found["passed"] is passes
        assert found["labels"]["agreeing"] == 100 - flipped


@pytest.mark.parametrize(
    ("bits", "flipped", "passes"),
    [(32, 0, True), (32, 1, False), (16, 1, False), (8, 3, True), (8, 4, False), (4, 10, True)],
)
def test_a_pooled_head_is_judged_by_its_labels(bits, flipped, passes):
    """Half of its next tokens are others and its perplexity doubles: nobody reads them."""
    truth = np.arange(100) % 2
    own = np.where(truth[:, None] == [0, 1], 3.0, 0.0)
    own[:20] = own[:20, ::-1]  # wrong at the first twenty, of which the export has some right
    bad = own.copy()
    bad[:flipped] = bad[:flipped, ::-1]
    asked = replace(_asked([[0, 1]] * 100, truth), head=object())
    export = _said(500, 1.0 + math.log(2), labels=bad)
    found = agreement(_said(1000, labels=own), export, asked, SETTINGS, 1, bits)
    assert found["passed"] is passes
    assert found["labels"]["share"] == 1 - flipped / 100
    assert (found["top1"]["share"], found["top1"]["least"]) == (0.5, None)
    assert (found["perplexity"]["rise"], found["perplexity"]["most"]) == (pytest.approx(1.0), None)
    if not passes:
        assert found["faults"] == [f"the run's own label for {100 - flipped}.00% of rows; at least "
                                   f"{TOLERANCES[bits].top1:.1%} is asked for"]  # fmt: skip
    by_words = agreement(_said(1000, labels=own), export, replace(asked, head=None), SETTINGS, 1, bits)
    assert by_words["passed"] is False
    assert by_words["labels"]["least"] is None
    assert by_words["told"] == []
    assert len(found["told"]) == (1 if bits == 16 else 2)


def _engine(tokens, **given):
    """As much of an engine as the fixtures ask."""
    settings = SimpleNamespace(
        labels=[], head=None, max_length=96, template=tokens.template, date="26 Jul 2024", **given
    )
    system = [{"role": "system", "content": given["instruction"]}] if given["instruction"] else []
    return SimpleNamespace(
        tokens=tokens, settings=settings, masked=list, conversation=lambda messages: [*system, *messages]
    )


def test_fixtures_hold_what_training_reads(llama3):
    value = prompt_fixtures(_engine(llama3, kind="generate", instruction="Be brief."))
    assert value["reads"] == "conversations"
    assert value["texts"] == []
    first = value["conversations"][0]
    assert first["ids"] == llama3.encode_chat(first["messages"])
    assert first["ids"].count(llama3.bos) == 1
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert unequal(value, llama3.encode, llama3.encode_chat) == []
    wrong = unequal(value, llama3.encode, lambda messages: llama3.encode_chat(messages)[1:])
    assert len(wrong) == len(value["conversations"]) == len(TEXTS)  # no empty one, one of several turns

    def spelt(messages):  # a runtime that reads a spelt-out control token as that token
        return llama3.encode(llama3.render(messages, answer_follows=True))

    assert ["<|eot_id|><|start" in text for text in unequal(value, llama3.encode, spelt)] == [True]
    assert unequal(value, llama3.encode, spelt, controls=False) == []


def test_fixtures_of_a_pooled_head_are_bare_texts(llama3):
    engine = _engine(llama3, kind="classify", instruction=None)
    engine.settings.head = {"kind": "pooled"}
    value = prompt_fixtures(engine)
    assert (value["reads"], value["conversations"]) == ("texts", [])
    assert [item["text"] for item in value["texts"]] == list(TEXTS)
    assert all(item["ids"][0] == llama3.bos and len(item["ids"]) <= 96 for item in value["texts"])
    assert next(item["ids"] for item in value["texts"] if not item["text"]) == [llama3.bos]


def test_a_template_carries_its_frozen_date():
    import jinja2

    settings = SimpleNamespace(template="Today is {{ date_string }}.", date="26 Jul 2024")
    assert jinja2.Template(frozen_template(settings)).render() == "Today is 26 Jul 2024."
    plain = SimpleNamespace(template="Hello", date="26 Jul 2024")
    assert frozen_template(plain) == "Hello"
