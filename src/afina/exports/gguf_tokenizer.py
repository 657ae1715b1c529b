"""The tokenizer of a GGUF file: the same ids as in training, whatever the base's name says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from afina.errors import BaseModelError
from afina.exports.template import frozen_template
from afina.inference.settings import InferenceSettings
from afina.language import _
from afina.models.tokenizer import Tokens

# llama.cpp knows how to split a text before its merges by a name only.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what SentencePiece writes for a space
_BYTES = 256


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: gpt2 (byte-level merges) or llama (SentencePiece). pre: how texts are split, by
            llama.cpp's name; empty for SentencePiece.
        tokens, kinds: text and gguf.TokenType of each id. merges: pairs with a space between; scores:
            of SentencePiece's pieces. space_prefix: whether a space is put before a text.
    """

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    scores: list[float]
    space_prefix: bool = False


def vocabulary_of(tokens: Tokens, size: int) -> Vocabulary:
    """Reads it from the fast tokenizer itself.

    Args:
        size: rows of the model's embedding; ids without a token get a placeholder.
    Raises:
        BaseModelError: when llama.cpp has no way of splitting texts as this tokenizer does.
    """
    from gguf import TokenType

    value = json.loads(tokens.tokenizer.backend_tokenizer.to_str())
    model = value["model"]
    if model["type"] != "BPE":
        raise _unknown(model["type"])
    is_bytes = not model.get("byte_fallback")
    pre = pre_tokenizer_name(value) if is_bytes else ""
    texts = [f"[PAD{number}]" for number in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    for text, number in model["vocab"].items():
        texts[number] = text
        kinds[number] = int(TokenType.NORMAL)
        if not is_bytes and _is_byte(text):
            kinds[number] = int(TokenType.BYTE)
        elif not is_bytes and text == model.get("unk_token"):
            kinds[number] = int(TokenType.UNKNOWN)
    for added in value["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        if kinds[added["id"]] != int(TokenType.UNKNOWN):
            texts[added["id"]], kinds[added["id"]] = added["content"], int(kind)
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    if is_bytes:
        return Vocabulary("gpt2", pre, texts, kinds, [" ".join(pair) for pair in pairs], [])
    return Vocabulary("llama", "", texts, kinds, [], _scores(texts, pairs), _space_prefix(value))


def pre_tokenizer_name(value: dict[str, Any]) -> str:
    """llama.cpp's name of how a tokenizer.json splits texts before its merges.

    It is read from the splitting itself: a base that came out of a GGUF file can split otherwise than
    the model of that name does.
    """
    if value.get("normalizer") not in (None, {"type": "Sequence", "normalizers": []}):
        raise _unknown(value["normalizer"]["type"])
    pre = value.get("pre_tokenizer") or {"type": "none"}
    parts = pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    last = parts[-1]
    if last["type"] == "ByteLevel" and not last.get("add_prefix_space"):
        before = parts[:-1]
        if last.get("use_regex", True):
            if not before:
                return "gpt-2"
            if before == [{"type": "Digits", "individual_digits": True}]:
                return "smollm"
        elif len(before) == 1 and _is_split(before[0], LLAMA3_SPLIT):
            return "llama-bpe"
    raise _unknown(" + ".join(part["type"] for part in parts))


def _is_split(part: dict[str, Any], pattern: str) -> bool:
    return (
        part["type"] == "Split"
        and part["pattern"].get("Regex") == pattern
        and part["behavior"] == "Isolated"
        and not part.get("invert")
    )


def _unknown(kind: str) -> BaseModelError:
    return BaseModelError(
        _("llama.cpp has no tokenizer that splits texts as this model's does ({kind})").format(
            kind=kind
        ),
        fix=_("use --to merged or --to onnx: they carry tokenizer.json itself"),
    )


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _scores(texts: list[str], pairs: list[list[str]]) -> list[float]:
    """Scores that order SentencePiece's merges as the list of merges does: the earlier, the higher."""
    rank = {left + right: place for place, (left, right) in reversed(list(enumerate(pairs)))}
    return [-float(rank.get(text, len(pairs))) for text in texts]


def _space_prefix(value: dict[str, Any]) -> bool:
    """Whether a space is put before a text, as Llama 2's tokenizer does."""
    text = json.dumps([value.get("normalizer"), value.get("pre_tokenizer")], ensure_ascii=False)
    always = f'"prepend": "{_SPACE}"' in text
    return always or '"prepend_scheme": "always"' in text or '"prepend_scheme": "first"' in text


def write_tokenizer(writer: Any, tokens: Tokens, settings: InferenceSettings, size: int) -> Vocabulary:
    """Writes the tokenizer, its special ids and the chat template with its frozen date.

    Args:
        writer: a gguf.GGUFWriter.
    """
    found = vocabulary_of(tokens, size)
    writer.add_tokenizer_model(found.model)
    if found.pre:
        writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.kinds)
    if found.merges:
        writer.add_token_merges(found.merges)
    if found.scores:
        writer.add_token_scores(found.scores)
    writer.add_add_space_prefix(found.space_prefix)
    own = tokens.tokenizer
    begin = own.bos_token_id if tokens.bos is None else tokens.bos
    if begin is not None:
        writer.add_bos_token_id(begin)
    writer.add_add_bos_token(tokens.bos is not None)
    writer.add_add_eos_token(False)
    ends = sorted(tokens.ends)
    end = own.eos_token_id if own.eos_token_id in tokens.ends else ends[0]
    writer.add_eos_token_id(end)
    named = {text: number for number, text in enumerate(found.tokens) if number in tokens.ends}
    turn = next((named[text] for text in ("<|eot_id|>", "<|im_end|>") if text in named), end)
    writer.add_eot_token_id(turn)
    if "<|eom_id|>" in named:
        writer.add_eom_token_id(named["<|eom_id|>"])
    writer.add_pad_token_id(tokens.pad)
    if own.unk_token_id is not None:
        writer.add_unk_token_id(own.unk_token_id)
    writer.add_chat_template(frozen_template(settings))
    return found
