"""Scores each label by the likelihood of its text as the answer: zero-shot, and the tokens head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from afina.data.batches import group_by_length
from afina.data.chat import Question, encode_answer
from afina.inference.head_loss import head_losses
from afina.inference.states import measuring
from afina.models.load import decoder, fast_decoder, output_head
from afina.models.packed import pack_trees
from afina.models.tokenizer import Tokens

Array = np.ndarray[Any, np.dtype[Any]]


def label_logits(
    model: Any,
    tokens: Tokens,
    question: Question | Sequence[Question],
    texts: list[str],
    max_length: int,
    token_budget: int,
    check: Callable[[], None] = lambda: None,
) -> Array:
    """Log-likelihood in nats of each label as the answer, end token included; [texts, labels].

    The question is read once: the labels follow it as branches, each of which attends to the question
    and to itself only, at the positions it would have alone.

    Args:
        question: of all texts, or one for each, of the same labels.
    """
    import torch

    questions = [question] * len(texts) if isinstance(question, Question) else list(question)
    trees = [_tree(tokens, one, text, max_length) for one, text in zip(questions, texts, strict=True)]
    fast = fast_decoder(model)
    lengths = [len(tree[0]) for tree in trees]
    labels = (
        question.labels if isinstance(question, Question) else questions[0].labels if questions else ()
    )
    scores = np.zeros((len(texts), len(labels)))
    with measuring(model):
        for group in group_by_length(lengths, range(len(texts)), token_budget):
            check()
            part = [trees[row] for row in group]
            if fast is not None:
                scores[group] = _packed_scores(model, fast, part)
                continue
            width = max(len(ids) for ids, _prompt, _branches in part)
            device = model.device
            ids = torch.full((len(part), width), tokens.pad, dtype=torch.long)
            positions = torch.zeros((len(part), width), dtype=torch.long)
            seen = torch.eye(width, dtype=torch.bool).repeat(len(part), 1, 1)
            for index, (row_ids, prompt, branches) in enumerate(part):
                ids[index, : len(row_ids)] = torch.tensor(row_ids)
                positions[index, :prompt] = torch.arange(prompt)
                seen[index, :prompt, :prompt] = torch.ones(prompt, prompt).tril().bool()
                for start, stop in branches:
                    positions[index, start:stop] = torch.arange(prompt, prompt + stop - start)
                    seen[index, start:stop, :prompt] = True
                    seen[index, start:stop, start:stop] = (
                        torch.ones(stop - start, stop - start).tril().bool()
                    )
            states = decoder(model)(
                input_ids=ids.to(device),
                position_ids=positions.to(device),
                attention_mask=_additive(seen, model.dtype).to(device),
                use_cache=False,
            ).last_hidden_state
            for index, (row_ids, prompt, branches) in enumerate(part):
                for label, (start, stop) in enumerate(branches):
                    before = [prompt - 1, *range(start, stop - 1)]
                    logits = output_head(model)(states[index, before]).float()
                    goal = torch.tensor(row_ids[start:stop], device=device)
                    picked = torch.log_softmax(logits, dim=-1).gather(1, goal[:, None])
                    scores[group[index], label] = float(picked.sum())
    return scores


def _packed_scores(
    model: Any, fast: Any, trees: list[tuple[list[int], int, list[tuple[int, int]]]]
) -> Array:
    """The same by the processor's own way, without any padding; [texts, labels]."""
    import torch

    packed = pack_trees(
        [ids[:prompt] for ids, prompt, _branches in trees],
        [[ids[start:stop] for start, stop in branches] for ids, _prompt, branches in trees],
    )
    before: list[int] = []
    goals: list[int] = []
    counts: list[int] = []
    place = iter(zip(packed.starts, packed.lengths, strict=True))
    for ids, _prompt, branches in trees:
        begin, length = next(place)
        for start, stop in branches:
            own, _length = next(place)
            before += [begin + length - 1, *range(own, own + stop - start - 1)]
            goals += ids[start:stop]
            counts.append(stop - start)
    packed.wanted = torch.tensor(before)
    losses = head_losses(output_head(model), fast.states(packed), torch.tensor(goals))
    sums = [-float(part.double().sum()) for part in losses.split(counts)]
    return np.array(sums).reshape(len(trees), -1)


def _additive(seen: Any, dtype: Any) -> Any:
    """0 where attention is allowed and the lowest number where not; [rows, 1, length, length]."""
    import torch

    mask = torch.zeros(seen.shape, dtype=dtype)
    return mask.masked_fill(~seen, torch.finfo(dtype).min).unsqueeze(1)


def _tree(
    tokens: Tokens, question: Question, text: str, max_length: int
) -> tuple[list[int], int, list[tuple[int, int]]]:
    """Ids of a question followed by every label; length of the question; each label's place."""
    prompt: list[int] = []
    ids: list[int] = []
    branches = []
    longest = max(question.labels, key=lambda label: len(tokens.encode(label)))
    shortened = _shared_text(tokens, question, text, longest, max_length)
    for label in question.labels:
        encoded = encode_answer(tokens, question, shortened, label, max_length + len(question.labels))
        begin = encoded.trained.index(True)
        answer = [token for token, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
        if not ids:
            prompt = encoded.ids[:begin]
            ids = list(prompt)
        branches.append((len(ids), len(ids) + len(answer)))
        ids += answer
    return ids, len(prompt), branches


def _shared_text(tokens: Tokens, question: Question, text: str, longest: str, max_length: int) -> str:
    """The text, cut so that it fits with the longest label: every label is asked of the same text."""
    from afina.data.chat import encode_conversation, fit_text

    total = len(encode_conversation(tokens, question.messages(text, longest)).ids)
    if total <= max_length:
        return text
    overhead = len(encode_conversation(tokens, question.messages("", longest)).ids)
    return fit_text(tokens, text, max(1, max_length - overhead - 2))
