"""Finds the commands, recipes, rows and links in README and docs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")])
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
NOT_RUN = Path(__file__).parent / "not_run.txt"
_SHELLS = ("sh", "bash", "shell", "console")
_BLOCK = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```$", re.M | re.S)


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    return [
        found[3] for found in _BLOCK.finditer(page.read_text(encoding="utf-8")) if found[2] in languages
    ]


def commands_in(text: str) -> Iterator[str]:
    """The commands in a shell block that begin with afina or make, as they are typed."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\|\||\||;)\s", line.strip().removeprefix("$ ")):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words and words[0].rpartition("/")[2] in ("afina", "make"):
                yield shlex.join([words[0].rpartition("/")[2], *words[1:]])


def commands() -> list[str]:
    """Every such command of README, CONTRIBUTING and docs, once."""
    found = [
        c for page in [*PAGES, *OTHERS] for text in blocks(page, *_SHELLS) for c in commands_in(text)
    ]
    return list(dict.fromkeys(found))


def not_run() -> dict[str, str]:
    """The commands that are not run, with the reason."""
    lines = NOT_RUN.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition(" :: ") for line in lines if line.strip() and not line.startswith("#")]
    return {command: reason.strip() for command, _colons, reason in pairs}


def links(page: Path) -> list[str]:
    """Targets of the page's links, code blocks aside."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", text)
