"""Scores each label by the likelihood of its text as the answer: zero-shot, and the tokens head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from afina.data.chat import Question, encode_answer, encode_conversation, fit_text
from afina.inference.branches import Tree, branch_scores
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

    The question is read once: the labels follow it as branches.

    Args:
        question: of all texts, or one for each, of the same labels.
    """
    trees = label_trees(tokens, question, texts, max_length)
    scores = branch_scores(model, trees, tokens.pad, token_budget, check)
    found = [[branch.log_likelihood for branch in branches] for branches in scores]
    width = len(question.labels) if isinstance(question, Question) else len(found[0]) if found else 0
    return np.array(found).reshape(len(texts), width)


def label_trees(
    tokens: Tokens, question: Question | Sequence[Question], texts: list[str], max_length: int
) -> list[Tree]:
    """The question about each text, with every label as a branch; see `label_logits`."""
    questions = [question] * len(texts) if isinstance(question, Question) else list(question)
    return [_tree(tokens, one, text, max_length) for one, text in zip(questions, texts, strict=True)]


def _tree(tokens: Tokens, question: Question, text: str, max_length: int) -> Tree:
    """Ids of a question, and of every label as its answer."""
    prompt: list[int] = []
    branches = []
    longest = max(question.labels, key=lambda label: len(tokens.encode(label)))
    shortened = _shared_text(tokens, question, text, longest, max_length)
    for label in question.labels:
        encoded = encode_answer(tokens, question, shortened, label, max_length + len(question.labels))
        prompt = prompt or encoded.ids[: encoded.trained.index(True)]
        branches.append(
            [token for token, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
        )
    return Tree(prompt, branches)


def _shared_text(tokens: Tokens, question: Question, text: str, longest: str, max_length: int) -> str:
    """The text, cut so that it fits with the longest label: every label is asked of the same text."""
    total = len(encode_conversation(tokens, question.messages(text, longest)).ids)
    if total <= max_length:
        return text
    overhead = len(encode_conversation(tokens, question.messages("", longest)).ids)
    return fit_text(tokens, text, max(1, max_length - overhead - 2))
