"""What a card says of a model that was trained on masked texts: others must mask theirs too."""

from __future__ import annotations

from afina.language import _


def masking_note(personal: str, names: str | None, language: str | None = None) -> list[str]:
    """Lines of Markdown, in `language` or the one in use; none when texts are read as they are."""
    if personal != "mask":
        return []
    text = _(
        "This model was trained on texts in which placeholders such as `[EMAIL_1]` and `[PHONE_1]` "
        "stand for personal data (`personal` in `inference.json`). Afina masks what it is asked in the "
        "same way; with other tools, mask each text before the model reads it: "
        "`afina.personal.masking.Masker().text(text)[0]`.",
        language,
    )
    if names is not None:
        text += " " + _(
            "Names of people are masked too, found by the spaCy model `{model}`.", language
        ).format(model=names)
    return [text, ""]
