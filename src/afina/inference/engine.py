"""A released model, loaded: asks it and reads its answers by inference.json alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from afina.data.chat import Encoded, Question, encode_text
from afina.errors import AfinaError, BaseModelError
from afina.inference.adapters import load_adapters
from afina.inference.generate import stream
from afina.inference.intact import damaged, require_intact
from afina.inference.label_likelihood import label_logits
from afina.inference.pooled import PooledHead, features_of, load_head
from afina.inference.settings import InferenceSettings, read_settings
from afina.language import _
from afina.metrics.calibration import softmax
from afina.models.base import FoundBase, find_base
from afina.models.load import adapter_off, load_model
from afina.models.tokenizer import load_tokens
from afina.personal.masking import masker_of

Array = np.ndarray[Any, np.dtype[Any]]
TOKEN_BUDGET = 4096


class Engine:
    """The model of one release folder.

    Attributes:
        settings: what inference.json says, with the bits that were asked for.
        model: base and adapter together, or the model whose weights were all trained.
        tokens: the tokenizer with the release's template and date.
        head: the pooled head, or None.

    `signed` is False where a run measures its own model, see `require_intact`.
    """

    def __init__(
        self,
        release: Path,
        say: Callable[[str], None] = lambda _text: None,
        bits: int | None = None,
        signed: bool = True,
    ) -> None:
        path = release / "inference.json"
        if not path.exists():
            raise AfinaError(
                _("this run has no trained model yet"),
                where=str(release),
                fix=_("finish it with `afina run`"),
            )
        require_intact(release, signed)
        self.settings: InferenceSettings = read_settings(path)
        if bits is not None:  # the same release on a base that is held otherwise
            self.settings = replace(self.settings, bits=bits)
        self._masker = masker_of(self.settings.personal, self.settings.names)
        self._say = say
        self._plain: Any = None
        if self.settings.weights is not None:
            folder = release / self.settings.weights
            self.tokens = load_tokens(folder, self.settings.template, self.settings.date)
            self.model = load_model(folder, self.settings.precision, bits or 16)
        else:
            base = self._base()
            self.tokens = load_tokens(base.folder, self.settings.template, self.settings.date)
            self.model = load_model(base.folder, self.settings.precision, self.settings.bits)
        if self.settings.adapters:
            self.model = load_adapters(self.model, release, self.settings.adapters)
        head = self.settings.head
        pooled = head is not None and head["kind"] == "pooled"
        self.head = _load_head(release, head["path"]) if head is not None and pooled else None

    def _base(self) -> FoundBase:
        """The base model. Raises BaseModelError when another one is found."""
        wanted = self.settings.base
        base = find_base(wanted["model"], wanted["revision"], self._say)
        if base.sha256 != wanted["sha256"]:
            raise BaseModelError(
                _("the base model here is not the one that this adapter was trained on"),
                where=str(base.folder),
                fix=_("its weights have SHA-256 {found}, the run names {wanted}").format(
                    found=base.sha256[:16], wanted=wanted["sha256"][:16]
                ),
            )
        return base

    @property
    def question(self) -> Question:
        """What is asked about a text."""
        return Question(self.settings.instruction or "", tuple(self.settings.labels))

    def masked(self, texts: list[str]) -> list[str]:
        """Texts as the model may read them: without personal data, if it was trained so."""
        return texts if self._masker is None else [self._masker.text(text)[0] for text in texts]

    def encode(self, texts: list[str]) -> list[Encoded]:
        """Bare texts for the pooled head."""
        limit = self.settings.max_length
        ids = [encode_text(self.tokens, text, limit) for text in self.masked(texts)]
        return [Encoded(row, [False] * len(row)) for row in ids]

    def features(self, texts: list[str], check: Callable[[int], None] = lambda _tokens: None) -> Array:
        """Mean states of the tuned model; [texts, hidden]."""
        return features_of(self.model, self.encode(texts), self.tokens.pad, TOKEN_BUDGET, check)

    def classify(self, texts: list[str]) -> Array:
        """Calibrated probabilities; [texts, labels]."""
        return softmax(self.logits(texts), self.settings.temperature)

    def logits(self, texts: list[str], check: Callable[[int], None] = lambda _tokens: None) -> Array:
        """Label logits before the temperature; [texts, labels]."""
        if self.head is not None:
            return self.head.logits(self.features(texts, check))
        return self.ask_labels(texts, lambda: check(0))

    def ask_labels(self, texts: list[str], check: Callable[[], None] = lambda: None) -> Array:
        """Log-likelihood of each label as the answer; [texts, labels]."""
        limit, texts = self.settings.max_length, self.masked(texts)
        return label_logits(self.model, self.tokens, self.question, texts, limit, TOKEN_BUDGET, check)

    @contextmanager
    def base_only(self) -> Iterator[None]:
        """`with engine.base_only():` the base answers, without its adapter or its tuned weights."""
        if self.settings.weights is None:
            with adapter_off(self.model):
                yield
            return
        if self._plain is None:
            self._plain = load_model(self._base().folder, self.settings.precision)
        tuned, self.model = self.model, self._plain
        try:
            yield
        finally:
            self.model = tuned

    def decide(self, probabilities: Array) -> Array:
        """The label that is said, by code; the threshold counts where there are two. [rows]."""
        return decide(self.settings, probabilities)

    def reply(self, messages: list[dict[str, str]], max_new_tokens: int | None = None) -> Iterator[str]:
        """The answer to a conversation, in pieces; of at most so many tokens."""
        settings = self.settings.generation
        if max_new_tokens is not None:
            settings = {**settings, "max_new_tokens": max_new_tokens}
        return stream(self.model, self.tokens, self.conversation(messages), settings)

    def conversation(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        """A conversation as the model reads it: masked if it was trained so, its instruction first."""
        if self._masker is not None:
            messages = self._masker.messages(messages)[0]
        if (
            self.settings.kind == "generate"
            and self.settings.instruction
            and messages
            and messages[0]["role"] != "system"
        ):
            messages = [{"role": "system", "content": self.settings.instruction}, *messages]
        return messages


def _load_head(release: Path, name: str) -> PooledHead:
    """The pooled head. Raises StorageError when its file is cut or is none."""
    try:
        return load_head(release / name)
    except (SafetensorError, OSError, TypeError):
        raise damaged(release / name, release) from None


def decide(settings: InferenceSettings, probabilities: Array, threshold: float | None = None) -> Array:
    """The code of the label that is said for each row of probabilities; [rows]."""
    if settings.positive is None or len(settings.labels) != 2:
        return np.asarray(probabilities.argmax(axis=1))
    positive = settings.labels.index(settings.positive)
    limit = settings.threshold if threshold is None else threshold
    return np.where(probabilities[:, positive] >= limit, positive, 1 - positive)
