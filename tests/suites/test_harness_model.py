"""Our model as the harness asks it gives what the harness' own model of transformers gives."""

from __future__ import annotations

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from afina.models.load import load_model
from afina.models.tokenizer import load_tokens
from afina.suites.harness_model import HarnessModel

PAIRS = [
    ("Is the bank shut?\nAnswer:", " no"),
    ("Is the bank shut?\nAnswer:", " yes, it is"),
    ("A message about your card ", "that asks for a code"),
    ("", "The whole text, without any context"),
    ("Otra pregunta: ¿es un fraude?", " sí"),
]


def requests(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, pair, index) for index, pair in enumerate(arguments)]


@pytest.fixture(scope="module")
def both(llama3_folder):
    tokens = load_tokens(llama3_folder)
    ours = HarnessModel(load_model(llama3_folder, "fp32"), tokens)
    theirs = HFLM(pretrained=str(llama3_folder), dtype="float32", device="cpu", add_bos_token=True)
    return ours, theirs


def test_likelihoods_are_the_harness_own(both):
    ours, theirs = (model.loglikelihood(requests("loglikelihood", PAIRS)) for model in both)
    for (mine, greedy), (reference, reference_greedy) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(reference, rel=1e-5)
        assert greedy == reference_greedy


def test_whole_texts_in_windows_are_the_harness_own(both, llama3_folder):
    """The harness' model is told to add no BOS: else it counts that token as if it were text."""
    ours, _theirs = both
    theirs = HFLM(
        pretrained=str(llama3_folder), dtype="float32", device="cpu", add_bos_token=False, max_length=32
    )
    text = "A long text about mail that asks for money. " * 12
    ours.max_length = 32
    found = [
        model.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,)]))[0]
        for model in (ours, theirs)
    ]
    ours.max_length = 2048
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_written_answers_stop_at_their_stop_text(both):
    arguments = [("Write something", {"until": ["\n"], "max_gen_toks": 8, "do_sample": False})]
    ours, theirs = (model.generate_until(requests("generate_until", arguments)) for model in both)
    assert ours == theirs
    whole = both[0].generate_until(
        requests("generate_until", [("Write something", {"until": [], "max_gen_toks": 8})])
    )[0]
    stop = whole[3:5]
    cut = both[0].generate_until(
        requests("generate_until", [("Write something", {"until": [stop], "max_gen_toks": 8})])
    )[0]
    assert cut == whole.split(stop)[0]


def test_a_context_that_is_too_long_loses_its_beginning_and_is_counted(llama3_folder, both):
    ours = HarnessModel(both[0].model, both[0].tokens)
    ours.max_length = 8
    long = "one two three four five six seven eight nine ten eleven"
    (short,) = ours.loglikelihood(requests("loglikelihood", [(long, " yes")]))
    assert ours.cut == 1
    ids = ours.tok_encode(long)[-8:]
    (alone,) = ours._loglikelihood_tokens([(("", ""), ids, ours.tok_encode(" yes", False))])
    assert short[0] == pytest.approx(alone[0])
