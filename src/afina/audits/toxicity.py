"""Insults and threats by the list in words.json: what it finds is there, what it does not may be too.

The list is short on purpose: words that are insults wherever Spanish or English is spoken, and open
threats. Words that some countries use among friends (huevón, cabrón, boludo, perra) are left out, since
a list cannot hear the tone; so are words of sex and swearing without a target. A count over many rows
says where to read; it is no judgement of one row.
"""

from __future__ import annotations

import re
from functools import cache

from afina.audits.language import word_lists


@cache
def _pattern() -> re.Pattern[str]:
    lists = word_lists()
    words = [word for group in lists["insults"].values() for word in group.split()] + lists["threats"]
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.I)


def toxic_words(text: str) -> list[str]:
    """The insults and threats of a text, in its order, without case."""
    return [found.casefold() for found in _pattern().findall(text)]
