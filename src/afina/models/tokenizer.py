"""The tokenizer with what a Llama model needs right: pad, end tokens, template, one BOS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from afina.errors import BaseModelError
from afina.language import _

# The date that templates such as Llama 3.1's print. Frozen: a prompt must not change with the day.
FROZEN_DATE = "26 Jul 2024"

# The message format of Llama 3, as its model card documents it: for bases whose tokenizer has none.
LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

# For a Llama-architecture base with neither a template nor Llama 3's tokens.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }}"
    # A bare line break after a block would be trimmed: transformers renders with trim_blocks.
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

_END_TOKENS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>", "<|im_end|>")
_PAD_TOKENS = (
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_0|>",
    "<pad>",
    "<|pad|>",
    "<empty_output>",
    "<unk>",
)


@dataclass(frozen=True)
class Tokens:
    """A tokenizer and the few ids and texts that every stage must agree on.

    Attributes:
        tokenizer: the fast tokenizer.
        template: the chat template (Jinja).
        date: the frozen date string given to the template.
        bos: id of the token that begins a row, or None when this model has none.
        pad: id of the padding token; never an end token.
        ends: ids that end an answer.
    """

    tokenizer: Any
    template: str
    date: str
    bos: int | None
    pad: int
    ends: frozenset[int]

    def render(self, messages: list[dict[str, str]], answer_follows: bool = False) -> str:
        """The messages as the model's text; `answer_follows` opens the assistant's turn.

        Raises:
            BaseModelError: when the template cannot render these roles.
        """
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    chat_template=self.template,
                    add_generation_prompt=answer_follows,
                    date_string=self.date,
                )
            )
        except Exception as error:  # Jinja templates raise their own kinds
            roles = ", ".join(message["role"] for message in messages)
            raise BaseModelError(
                _("the base model's chat template refuses the roles {roles}: {error}").format(
                    roles=roles, error=error
                )
            ) from None

    def encode(self, text: str) -> list[int]:
        """Token ids of rendered text, with exactly one BOS when this model has one."""
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return self.with_bos(ids)

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """The texts of the control tokens: `<|eot_id|>` and the like."""
        return tuple(self.tokenizer.get_added_vocab())

    def tokenize(self, text: str, contents: list[str]) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and places of rendered text, in which only the template may write control tokens.

        Args:
            text: rendered messages. contents: what people wrote in them, in order; a control token
                spelt out there is read as plain text, so that no e-mail can end its own turn.
        Returns:
            Token ids, and the (start, stop) of each in `text`.
        Raises:
            BaseModelError: when the template changed a text that spells out a control token.
        """
        ids: list[int] = []
        places: list[tuple[int, int]] = []

        def add(start: int, stop: int, plain: bool) -> None:
            part = self.tokenizer(
                text[start:stop],
                add_special_tokens=False,
                return_offsets_mapping=True,
                split_special_tokens=plain,
            )
            ids.extend(part["input_ids"])
            places.extend((left + start, right + start) for left, right in part["offset_mapping"])

        done = reached = 0
        for content in contents:
            written = content.strip()
            start = text.find(written, reached)
            if start >= 0:
                reached = start + len(written)
            if any(control in written for control in self.controls):
                if start < 0:
                    raise BaseModelError(_("the chat template changed a text with control tokens in it"))
                add(done, start, False)
                add(start, reached, True)
                done = reached
        add(done, len(text), False)
        return ids, places

    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Ids of a conversation that the assistant is to answer."""
        text = self.render(messages, answer_follows=True)
        return self.with_bos(self.tokenize(text, [message["content"] for message in messages])[0])

    def with_bos(self, ids: list[int]) -> list[int]:
        """`ids` with a BOS before it, unless it is there or this model has none."""
        if self.bos is not None and (not ids or ids[0] != self.bos):
            return [self.bos, *ids]
        return ids


def load_tokens(folder: Path, template: str | None = None, date: str = FROZEN_DATE) -> Tokens:
    """The tokenizer in a model's folder, made safe for training.

    Args:
        folder: holds tokenizer.json.
        template: the template kept in inference.json; empty takes the tokenizer's own.
        date: the frozen date kept in inference.json.
    Raises:
        BaseModelError: when there is no tokenizer that can be read.
    """
    from transformers import AutoTokenizer

    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise BaseModelError(
            _("this model has no tokenizer: tokenizer.json is missing"),
            where=str(folder),
            fix=_("put tokenizer.json and tokenizer_config.json of the base model into its folder"),
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the Rust library raises a bare Exception for a damaged file
        raise BaseModelError(
            _("this model has no tokenizer that can be read: {error}").format(
                error=str(error).splitlines()[0]
            ),
            where=str(folder),
            fix=_("put tokenizer.json and tokenizer_config.json of the base model into its folder"),
        ) from None
    if not tokenizer.is_fast:
        raise BaseModelError(
            _("this model's tokenizer has no fast form (tokenizer.json)"), where=str(folder)
        )
    return tokens_of(tokenizer, _end_ids(folder), template, date)


def tokens_of(
    tokenizer: Any,
    more_ends: set[int] | None = None,
    template: str | None = None,
    date: str = FROZEN_DATE,
) -> Tokens:
    """The ids and texts of a tokenizer; see Tokens."""
    vocabulary = tokenizer.get_vocab()
    ends = {vocabulary[token] for token in _END_TOKENS if token in vocabulary} | (more_ends or set())
    if tokenizer.eos_token_id is not None:
        ends.add(tokenizer.eos_token_id)
    if not ends:
        raise BaseModelError(_("this model's tokenizer has no end token"))
    pad = tokenizer.pad_token_id
    if pad is None or pad in ends:
        pad = next(
            (vocabulary[token] for token in _PAD_TOKENS if vocabulary.get(token, -1) not in {-1, *ends}),
            None,
        )
        if pad is None:
            # Padding is masked by position, never by id, so any id that ends nothing will do.
            pad = min(set(range(len(vocabulary))) - ends)
        tokenizer.pad_token_id = pad
    if template is None:
        is_llama3 = "<|start_header_id|>" in vocabulary
        template = tokenizer.chat_template or (LLAMA3_TEMPLATE if is_llama3 else PLAIN_TEMPLATE)
    empty = list(tokenizer("")["input_ids"])
    is_llama3 = "<|begin_of_text|>" in vocabulary
    bos = empty[0] if empty else (vocabulary["<|begin_of_text|>"] if is_llama3 else None)
    return Tokens(tokenizer, template, date, bos, pad, frozenset(ends))


def _end_ids(folder: Path) -> set[int]:
    """The end ids that a model's own generation settings name."""
    from afina.runs.files import read_json

    ends: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        value = read_json(path).get("eos_token_id") if path.exists() else None
        ends |= set(value) if isinstance(value, list) else {value} if isinstance(value, int) else set()
    return ends
