"""What the functions of `afina` accept from Python, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.kinds import in_words
from afina.language import LANGUAGES, _


def check_name(value: Any, argument: str) -> None:
    """Raises AfinaError unless `value` can be a path or the name of a run."""
    if isinstance(value, str) and not value.strip():
        raise AfinaError(
            _("`{argument}` must be a path or the name of a run; it is empty").format(argument=argument),
            fix=_("for example {example}").format(example=f'{argument}="recipe.yaml"'),
        )
    if not isinstance(value, str | Path):
        raise AfinaError(
            _("`{argument}` must be a path or the name of a run; found {found}").format(
                argument=argument, found=in_words(value)
            ),
            fix=_("for example {example}").format(example=f'{argument}="recipe.yaml"'),
        )


def check_overrides(value: Any) -> None:
    """Raises AfinaError unless `value` is None or a list of texts."""
    if value is not None:
        list_of_texts(value, "overrides", '["train.epochs=5"]')


def check_language(value: Any) -> None:
    """Raises AfinaError for a language that there is not."""
    if value is not None and value not in LANGUAGES:
        raise AfinaError(
            _("there is no language {language!r}").format(language=value), fix=_("choose en or es")
        )


def list_of_texts(value: Any, argument: str, example: str) -> list[str]:
    """`value` as a list. One text is refused: it would be taken letter by letter."""
    fix = _("for example {example}").format(example=f"{argument}={example}")
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise AfinaError(
            _("`{argument}` must be a list of texts; found {found}").format(
                argument=argument, found=in_words(value)
            ),
            fix=fix,
        )
    texts = list(value)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise AfinaError(
                _("`{argument}[{index}]` must be text; found {found}").format(
                    argument=argument, index=index, found=in_words(text)
                ),
                fix=fix,
            )
    return texts


def list_of_messages(value: Any) -> list[dict[str, str]]:
    """`value` as a list of messages, each with the texts `role` and `content`."""
    messages = [] if isinstance(value, str | dict) or not isinstance(value, Iterable) else list(value)
    for message in messages or [None]:
        if not isinstance(message, dict) or not all(
            isinstance(message.get(key), str) for key in ("role", "content")
        ):
            raise AfinaError(
                _("`messages` must be a list of messages, each with a role and a content"),
                fix=_("for example {example}").format(
                    example='messages=[{"role": "user", "content": "…"}]'
                ),
            )
    return messages
