"""A model of ours as lm-evaluation-harness asks one: likelihoods, and written answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from afina.inference.branches import BranchScore, Tree, branch_scores
from afina.inference.states import measuring
from afina.models.tokenizer import Tokens

TOKEN_BUDGET = 4096
# Longer contexts are cut from the left, as the harness' own model does, and counted.
LONGEST = 2048


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """Answers by the processor's own way where there is one, else by transformers.

    Requests that share a context, as the choices of one question do, read it once.

    Attributes:
        cut: how many contexts did not fit and lost their beginning.
    """

    def __init__(self, model: Any, tokens: Tokens, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.model, self.tokens, self.cut = model, tokens, 0
        self.tokenizer = tokens.tokenizer
        self._check = check
        limit = int(getattr(model.config, "max_position_embeddings", LONGEST))
        self.max_length = min(limit, LONGEST)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        found = self.tokenizer.eos_token_id
        return int(found) if found is not None else min(self.tokens.ends)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: BOS, or the end token without one."""
        begin = self.tokens.bos if self.tokens.bos is not None else self.tokenizer.bos_token_id
        return int(begin) if begin is not None else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness' caches, which are not used."""
        return str(self.tokenizer.name_or_path)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_more: Any) -> list[int]:
        """Token ids, with the one BOS that this model's rows begin with unless it is refused."""
        if add_special_tokens is False:
            return list(self.tokenizer(string, add_special_tokens=False)["input_ids"])
        return self.tokens.encode(string)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as the model's text."""
        return self.tokens.render(chat_history, answer_follows=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template in use, if one is."""
        return self.tokens.template if chat_template else None

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_more: Any
    ) -> list[tuple[float, bool]]:
        contexts: list[list[int]] = []
        branches: list[list[list[int]]] = []
        for _texts, context, continuation in requests:
            kept = context[-max(1, self.max_length + 1 - len(continuation)) :]
            self.cut += len(kept) < len(context)
            if not contexts or contexts[-1] != kept:
                contexts.append(kept)
                branches.append([])
            branches[-1].append(continuation)
        scores = self._scores(
            [Tree(prompt, own) for prompt, own in zip(contexts, branches, strict=True)]
        )
        return [(score.log_likelihood, score.greedy) for row in scores for score in row]

    def _scores(self, trees: list[Tree]) -> list[list[BranchScore]]:
        return branch_scores(self.model, trees, self.tokens.pad, TOKEN_BUDGET, self._check)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows of the longest context."""
        trees: list[Tree] = []
        owner: list[int] = []
        for row, request in enumerate(requests):
            (text,) = request.args
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(text, add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, continuation in map(make_disjoint_window, windows):
                trees.append(Tree(list(context), [list(continuation)]))
                owner.append(row)
        sums = [0.0] * len(requests)
        for row, scores in zip(owner, self._scores(trees), strict=True):
            sums[row] += scores[0].log_likelihood
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Likeliest answers, each up to its first stop text; one by one."""
        return [self._write(*request.args) for request in requests]

    def _write(self, context: str, settings: dict[str, Any]) -> str:
        import torch

        self._check()
        stops = settings.get("until") or []
        stops = [stops] if isinstance(stops, str) else [stop for stop in stops if stop]
        most = int(settings.get("max_gen_toks") or settings.get("max_new_tokens") or 256)
        ids = self.tok_encode(context)
        kept = ids[-max(1, self.max_length - most) :]
        self.cut += len(kept) < len(ids)
        given = torch.tensor([kept], device=self.model.device)
        warm = bool(settings.get("do_sample"))
        with measuring(self.model):
            found = self.model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=most,
                do_sample=warm,
                temperature=settings.get("temperature") if warm else None,
                top_p=settings.get("top_p") if warm else None,
                top_k=None,
                eos_token_id=sorted(self.tokens.ends),
                pad_token_id=self.tokens.pad,
                tokenizer=self.tokenizer,
                stop_strings=stops or None,
            )
        text = str(self.tokenizer.decode(found[0, given.shape[1] :], skip_special_tokens=True))
        for stop in stops:
            text = text.split(stop)[0]
        return text
