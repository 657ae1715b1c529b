"""Prompts with several continuations each: the prompt is read once, and each sees it and itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from afina.data.batches import group_by_length
from afina.inference.head_loss import LOGIT_BLOCK
from afina.inference.states import measuring
from afina.models.load import decoder, fast_decoder, output_head
from afina.models.packed import pack_trees


@dataclass(frozen=True)
class Tree:
    """One prompt, at least a token long, and what may follow it; token ids."""

    prompt: list[int]
    branches: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and all its branches."""
        return len(self.prompt) + sum(map(len, self.branches))


@dataclass(frozen=True)
class BranchScore:
    """A continuation's log-likelihood in nats, and whether each of its tokens is the likeliest one."""

    log_likelihood: float
    greedy: bool


def branch_scores(
    model: Any,
    trees: Sequence[Tree],
    pad: int,
    token_budget: int,
    check: Callable[[], None] = lambda: None,
) -> list[list[BranchScore]]:
    """The score of every branch of every tree, at the positions each would have alone.

    Args:
        token_budget: padded tokens in one forward pass. check: called before each pass.
    """
    fast = fast_decoder(model)
    scores: list[list[BranchScore]] = [[] for _tree in trees]
    with measuring(model):
        for group in group_by_length([tree.tokens for tree in trees], range(len(trees)), token_budget):
            check()
            part = [trees[row] for row in group]
            states = _packed_states(fast, part) if fast is not None else _padded_states(model, part, pad)
            goals = [token for tree in part for branch in tree.branches for token in branch]
            losses, likeliest = _token_scores(output_head(model), states, goals)
            place = 0
            for row, tree in zip(group, part, strict=True):
                for branch in tree.branches:
                    own = slice(place, place + len(branch))
                    scores[row].append(BranchScore(-float(losses[own].sum()), all(likeliest[own])))
                    place += len(branch)
    return scores


def _packed_states(fast: Any, trees: list[Tree]) -> Any:
    """States before every token of every branch, by the processor's own way; [tokens, hidden]."""
    import torch

    packed = pack_trees([tree.prompt for tree in trees], [tree.branches for tree in trees])
    before: list[int] = []
    place = iter(zip(packed.starts, packed.lengths, strict=True))
    for tree in trees:
        begin, length = next(place)
        for branch in tree.branches:
            own, _length = next(place)
            before += [begin + length - 1, *range(own, own + len(branch) - 1)]
    packed.wanted = torch.tensor(before)
    return fast.states(packed)


def _padded_states(model: Any, trees: list[Tree], pad: int) -> Any:
    """The same by transformers' own layers, a tree a row, with a mask; [tokens, hidden]."""
    import torch

    width = max(tree.tokens for tree in trees)
    ids = torch.full((len(trees), width), pad, dtype=torch.long)
    positions = torch.zeros((len(trees), width), dtype=torch.long)
    seen = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    before: list[tuple[int, int]] = []
    for row, tree in enumerate(trees):
        prompt = len(tree.prompt)
        ids[row, :prompt] = torch.tensor(tree.prompt)
        positions[row, :prompt] = torch.arange(prompt)
        seen[row, :prompt, :prompt] = torch.ones(prompt, prompt).tril().bool()
        start = prompt
        for branch in tree.branches:
            length = len(branch)
            own = slice(start, start + length)
            ids[row, own] = torch.tensor(branch)
            positions[row, own] = torch.arange(prompt, prompt + length)
            seen[row, own, :prompt] = True
            seen[row, own, own] = torch.ones(length, length).tril().bool()
            before += [(row, prompt - 1), *((row, place) for place in range(start, start + length - 1))]
            start += length
    states = decoder(model)(
        input_ids=ids.to(model.device),
        position_ids=positions.to(model.device),
        attention_mask=_additive(seen, model.dtype).to(model.device),
        use_cache=False,
    ).last_hidden_state
    rows, places = zip(*before, strict=True)
    return states[list(rows), list(places)]


def _token_scores(head: Any, states: Any, goals: list[int]) -> tuple[Any, list[bool]]:
    """Loss in nats of each goal, [tokens], and whether it is the likeliest token; in blocks."""
    import torch

    targets = torch.tensor(goals, device=states.device)
    losses = torch.empty(len(goals), dtype=torch.float64)
    likeliest: list[bool] = []
    for start in range(0, len(goals), LOGIT_BLOCK):
        block = slice(start, start + LOGIT_BLOCK)
        logits = head(states[block])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        goal = targets[block, None]
        losses[block] = (logits.logsumexp(dim=-1) - logits.gather(1, goal).squeeze(1)).double().cpu()
        likeliest += (logits.argmax(dim=-1) == targets[block]).tolist()
    return losses, likeliest


def _additive(seen: Any, dtype: Any) -> Any:
    """0 where attention is allowed and the lowest number where not; [rows, 1, length, length]."""
    import torch

    mask = torch.zeros(seen.shape, dtype=dtype)
    return mask.masked_fill(~seen, torch.finfo(dtype).min).unsqueeze(1)
