"""How an interval or a test was made, in the language of the page."""

from __future__ import annotations

from afina.language import _

ONE_GROUP = " over rows: one group only"
JOINED = " joined with "
WIDENED = " widened to the value"


def method_text(method: str, language: str) -> str:
    """`mid-p McNemar; interval by row bootstrap` in words; an unknown name stays as it is."""
    known = {
        "Wilson score": _("Wilson score", language),
        "row bootstrap": _("bootstrap over rows", language),
        "group bootstrap": _("bootstrap over groups", language),
        "cluster bootstrap": _("bootstrap over groups", language),
        "mid-p McNemar": _("McNemar, mid-p", language),
        "row permutation": _("permutation of rows", language),
        "group permutation": _("permutation of groups", language),
        "bootstrap": _("bootstrap", language),
        "permutation": _("permutation", language),
        "Wilson score of each label's recall": _("Wilson score of each label's recall", language),
        "Newcombe score": _("Newcombe score", language),
        "none": _("none", language),
    }

    def words(name: str) -> str:
        plain = name.removesuffix(ONE_GROUP)
        if plain != name:
            return _("{method} over rows: one group only", language).format(method=words(plain))
        plain = name.removesuffix(WIDENED)
        if plain != name:
            return _("{method}, widened to the value", language).format(method=words(plain))
        first, joined, second = name.partition(JOINED)
        if joined:
            text = _("{first}, joined with {second}", language)
            return text.format(first=words(first), second=words(second))
        return known.get(name, name)

    shown = []
    for part in filter(None, method.split("; ")):
        if part.startswith("interval by "):
            name = words(part.removeprefix("interval by "))
            shown.append(_("interval: {method}", language).format(method=name))
        else:
            shown.append(words(part))
    return "; ".join(shown)
