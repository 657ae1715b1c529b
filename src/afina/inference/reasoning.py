"""What a model writes to several conversations at once: greedy, in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from afina.data.batches import group_by_length
from afina.inference.continuation import left_padded
from afina.inference.states import measuring
from afina.models.tokenizer import Tokens

# Padded tokens of one batch, read and written together.
TOKEN_BUDGET = 4096


def write_all(
    model: Any,
    tokens: Tokens,
    conversations: Sequence[list[dict[str, Any]]],
    most: int,
    done: Callable[[list[int], list[str]], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Writes the next turn of each conversation: the likeliest token each time, at most `most` tokens.

    Args:
        done: called after each batch with the rows' numbers and what was written to them.
        check: called before each batch.
    """
    plain = [[{"role": m["role"], "content": m["content"]} for m in turns] for turns in conversations]
    encoded = [tokens.encode_chat(turns) for turns in plain]
    lengths = [len(ids) + most for ids in encoded]
    for group in group_by_length(lengths, range(len(encoded)), TOKEN_BUDGET):
        check()
        ids, seen = left_padded([encoded[row] for row in group], tokens.pad)
        with measuring(model):
            written = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=seen.to(model.device),
                max_new_tokens=most,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=sorted(tokens.ends),
                pad_token_id=tokens.pad,
            )
        texts = tokens.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        done(list(group), [str(text).strip() for text in texts])
