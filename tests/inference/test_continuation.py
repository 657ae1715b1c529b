"""Many beginnings gone on with at once: the same tokens as one after the other, and as transformers."""

from __future__ import annotations

import pytest
import torch

from afina.inference.continuation import continue_greedily
from afina.inference.states import measuring
from afina.models.load import load_model


@pytest.fixture(scope="module")
def model(llama3_folder):
    """The tiny base with an output head of its own: a tied random one repeats its last token."""
    model = load_model(llama3_folder, "fp32")
    torch.manual_seed(5)
    head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
    model.set_output_embeddings(head)
    return model


@pytest.fixture(scope="module")
def beginnings() -> list[list[int]]:
    random = torch.Generator().manual_seed(3)
    return [
        [128000, *torch.randint(0, 128000, (length,), generator=random).tolist()]
        for length in (3, 9, 1, 30, 9, 17)
    ]


COUNTS = [8, 6, 8, 5, 1, 8]


def test_a_batch_is_the_same_as_one_after_the_other(model, beginnings, llama3) -> None:
    together = continue_greedily(model, beginnings, COUNTS, llama3.pad, 10_000)
    alone = [
        continue_greedily(model, [ids], [count], llama3.pad, 10_000)[0]
        for ids, count in zip(beginnings, COUNTS, strict=True)
    ]
    assert together == alone
    assert [len(ids) for ids in together] == COUNTS
    assert len({ids[0] for ids in together}) > 1
    assert len(set(together[0])) > 1
    assert continue_greedily(model, beginnings, COUNTS, llama3.pad, 40) == alone


def test_it_writes_what_transformers_writes(model, beginnings, llama3) -> None:
    found = continue_greedily(model, beginnings, [8] * 6, llama3.pad, 10_000)
    for ids, written in zip(beginnings, found, strict=True):
        given = torch.tensor([ids])
        with measuring(model):
            whole = model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=8,
                min_new_tokens=8,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=llama3.pad,
            )
        assert whole[0, len(ids) :].tolist() == written


def test_a_row_is_extracted_when_each_of_its_tokens_is_the_likeliest(model, beginnings, llama3) -> None:
    """Teacher forcing: what is written whole is what every step, given the right tokens, ranks first."""
    written = continue_greedily(model, beginnings[:1], [8], llama3.pad, 10_000)[0]
    with measuring(model):
        logits = model(torch.tensor([beginnings[0] + written])).logits[0]
    start = len(beginnings[0])
    assert logits[start - 1 : -1].argmax(dim=-1).tolist() == written


def test_the_check_can_stop_it(model, beginnings, llama3) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        continue_greedily(model, beginnings, COUNTS, llama3.pad, 10_000, stop)
