"""A tiny Llama 3 with a tokenizer of a few hundred tokens, so that files with it are made in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import colour_rows, tiny_config

SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip


def small_tokenizer(size: int = 600) -> Any:
    """Byte-level merges learned from a few texts, split as Llama 3 splits."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from afina.exports.gguf_tokenizer import LLAMA3_SPLIT

    made = Tokenizer(models.BPE(ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [row["text"] for row in colour_rows(60)] + ["Classify the text below. user assistant system"]
    made.train_from_iterator(texts * 2, trainer)
    made.add_special_tokens(list(SPECIAL))
    begin = made.token_to_id(SPECIAL[0])
    made.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], begin)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=SPECIAL[0], eos_token="<|eot_id|>", pad_token=SPECIAL[2]
    )


def save_small(folder: Path, **settings: Any) -> Path:
    """Saves such a model, grouped heads and rope scaling included, into a folder."""
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = small_tokenizer()
    config = tiny_config(640)  # more rows than tokens: some ids have none
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.convert_tokens_to_ids(
        ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    )
    for name, value in settings.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
