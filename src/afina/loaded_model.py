"""A trained model, loaded, for Python."""

from __future__ import annotations

from collections.abc import Iterator

from afina.arguments import list_of_messages, list_of_texts
from afina.errors import AfinaError
from afina.inference.engine import Engine
from afina.language import _


class Model:
    """A trained model, loaded."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def classify(self, texts: list[str]) -> list[dict[str, float]]:
        """The probability of each label for each text. Raises AfinaError for a model without labels."""
        if self.engine.settings.kind != "classify":
            raise AfinaError(_("this model writes text; it has no labels"))
        texts = list_of_texts(texts, "texts", '["…"]')
        if not texts:
            return []
        rows = self.engine.classify(texts)
        return [dict(zip(self.engine.settings.labels, map(float, row), strict=True)) for row in rows]

    def reply(self, messages: list[dict[str, str]]) -> Iterator[str]:
        """The answer to a conversation, in pieces."""
        return self.engine.reply(list_of_messages(messages))
