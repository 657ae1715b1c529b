"""How an interval or a test was made, in the language of the page."""

from __future__ import annotations

from afina.language import _


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
        "none": _("none", language),
    }
    shown = []
    for part in filter(None, method.split("; ")):
        if part.startswith("interval by "):
            name = part.removeprefix("interval by ")
            shown.append(_("interval: {method}", language).format(method=known.get(name, name)))
        else:
            shown.append(known.get(part, part))
    return "; ".join(shown)
