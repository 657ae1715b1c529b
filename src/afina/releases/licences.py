"""The licence of a base model, and what it asks of who passes on a model that was made from it.

Read from the base's own files: its licence text, its model card, its config, the metadata of a GGUF
file, and at last its name, since a fine-tuned Llama under another name keeps Llama's licence. What each
Llama licence asks is in its section 1.b (Meta Llama 3 Community License, 2024-04-18; Llama 3.1,
2024-07-23; 3.2 and 3.3 read the same).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from afina.errors import AfinaError, StorageError
from afina.language import _
from afina.runs.files import read_json

UNKNOWN = "unknown"
LLAMA3_VOCABULARY = 128_256
MOST_BYTES = 1_000_000  # of a licence's text


@dataclass(frozen=True)
class Duties:
    """What a licence asks of a model made from another one.

    Attributes:
        name: of the licence. prefix: what the model's name must begin with.
        built_with: what must be displayed. notice: the line of the file NOTICE.
        policy: where the acceptable use policy is. agreement: where the licence is.
    """

    name: str
    prefix: str
    built_with: str
    notice: str
    policy: str
    agreement: str


def _meta(version: str) -> Duties:
    """Those of Llama 3.1 and later, which differ by their number alone."""
    place = f"llama{version.replace('.', '_')}"
    return Duties(
        f"Llama {version} Community License",
        "Llama",
        "Built with Llama",
        f"Llama {version} is licensed under the Llama {version} Community License, Copyright © Meta "
        "Platforms, Inc. All Rights Reserved.",
        f"https://www.llama.com/{place}/use-policy",
        f"https://www.llama.com/{place}/license",
    )


LLAMA: dict[str, Duties] = {
    "llama2": Duties(
        "Llama 2 Community License",
        "",
        "",
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
        "All Rights Reserved.",
        "https://ai.meta.com/llama/use-policy",
        "https://ai.meta.com/llama/license",
    ),
    "llama3": Duties(
        "Meta Llama 3 Community License",
        "Llama 3",
        "Built with Meta Llama 3",
        "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta Platforms, "
        "Inc. All Rights Reserved.",
        "https://llama.meta.com/llama3/use-policy",
        "https://llama.meta.com/llama3/license",
    ),
    **{f"llama{version}": _meta(version) for version in ("3.1", "3.2", "3.3")},
}
# Licences by the Hub's id that the bill of materials names by SPDX's.
SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "gpl-3.0": "GPL-3.0-only",
    "agpl-3.0": "AGPL-3.0-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "mpl-2.0": "MPL-2.0",
    "unlicense": "Unlicense",
}
# Ids of the Hub's list that are no SPDX id and are written as they are.
HUB_IDS = frozenset({*SPDX, *LLAMA, "openrail", "bigscience-openrail-m", "gemma", "afl-3.0", "wtfpl"})


@dataclass(frozen=True)
class Licence:
    """Under which licence a base model is.

    Attributes:
        id: as the Hub writes it; `unknown` when nothing says it.
        known_from: embedded, text, card, parent, config, gguf, name, declared or nothing.
        name: a licence's own name, of one that is on no list. link: where it is.
        texts: the base's LICENSE, NOTICE and USE_POLICY.md, by those names.
        card_says: the id of the base's card where it is another one than the Llama licence found.
        parents: the Hub ids that the base's card names as its own base.
        perhaps_llama3: nothing says a licence, and the vocabulary has the size of Llama 3's.
    """

    id: str
    known_from: str
    name: str | None = None
    link: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    card_says: str | None = None
    parents: tuple[str, ...] = ()
    perhaps_llama3: bool = False

    @property
    def duties(self) -> Duties | None:
        """What a Llama licence asks; None for other licences."""
        return LLAMA.get(self.id)

    @property
    def missing(self) -> tuple[str, ...]:
        """The files that must go with the model and that the base's folder does not have."""
        if self.duties is None:
            return ()
        return tuple(name for name in ("LICENSE", "USE_POLICY.md") if name not in self.texts)


def llama_version(text: str) -> str | None:
    """The id of the Llama licence that a model's name points to: `Llama-3.1-8B` gives `llama3.1`.

    Sizes are no versions: TinyLlama-1.1B, open_llama_3b and Sheared-LLaMA-2.7B give None.
    """
    found = re.search(
        r"(?<![A-Za-z])llama[-_ ]?(3[._][123]|[23])(?![0-9A-Za-z])(?![._][0-9])", text, re.I
    )
    return f"llama{found[1].replace('_', '.')}" if found else None


def licence_of_base(model: str, base_id: str, folder: Path | None) -> Licence:
    """The licence of a base.

    Args:
        model: what the recipe says: embedded, a Hub id, a folder or a .gguf file.
        base_id: what other tools load. folder: where its files are; None when they are gone.
    """
    if model == "embedded":
        return Licence("apache-2.0", "embedded")
    path = Path(model).expanduser()
    if model.endswith(".gguf"):
        return _gguf_licence(path)
    if folder is None:
        return _by_name(base_id)
    return _folder_licence(folder, base_id)


def declared(base: Licence, wanted: str | None) -> Licence:
    """The licence that the model itself is published under.

    Raises:
        AfinaError: when another one is wanted than Llama's, which stays on what is made from Llama.
    """
    if wanted is None or wanted == base.id:
        return base
    if base.duties is not None:
        raise AfinaError(
            _("a model made from one under the {name} stays under it").format(name=base.duties.name),
            where="release.license",
            fix=_("leave out release.license, or write {id}").format(id=base.id),
        )
    texts = _fitting(base.texts, wanted) if wanted in LLAMA else base.texts
    return Licence(wanted, "declared", texts=texts, parents=base.parents)


def _folder_licence(folder: Path, base_id: str) -> Licence:
    card = read_head(folder / "README.md")
    config = _config(folder)
    texts = _texts(folder)
    given = _text(card.get("license"))
    named = " ".join(filter(None, (given, _text(card.get("license_name")))))
    parents = tuple(one for one in _list(card.get("base_model")) if isinstance(one, str))
    evidence: list[tuple[str, str]] = [
        ("card", named),
        ("text", _title(texts.get("LICENSE", ""))),
        ("parent", " ".join(parents)),
        ("config", str(config.get("_name_or_path") or "")),
        ("name", Path(base_id).name),
    ]
    for source, words in evidence:
        version = llama_version(words)
        if version is not None:
            fitting = _fitting(texts, version)
            other = given if given not in (None, version, "other") else None
            return Licence(version, source, None, None, fitting, other, parents)
    if given is not None and given != UNKNOWN:
        name, link = card.get("license_name"), card.get("license_link")
        return Licence(
            given,
            "card",
            name if isinstance(name, str) else None,
            link if isinstance(link, str) else None,
            texts,
            parents=parents,
        )
    perhaps = config.get("vocab_size") == LLAMA3_VOCABULARY
    return Licence(UNKNOWN, "nothing", texts=texts, parents=parents, perhaps_llama3=perhaps)


def _by_name(base_id: str) -> Licence:
    version = llama_version(Path(base_id).name)
    return Licence(version, "name") if version else Licence(UNKNOWN, "nothing")


def _gguf_licence(path: Path) -> Licence:
    """From the metadata of the file; a Llama licence may lie beside it, others would be anyone's."""
    found = dict(_gguf_words(path))
    beside = _texts(path.parent) if path.parent.is_dir() else {}
    for source, names in (("gguf", ("general.license", "general.license.name")), ("parent", None)):
        keys = names or [key for key in found if key.startswith("general.base_model.")]
        version = llama_version(" ".join(found.get(key, "") for key in keys))
        if version:
            return Licence(version, source, texts=_fitting(beside, version))
    version = llama_version(found.get("general.name", "")) or llama_version(path.name)
    if version:
        return Licence(version, "name", texts=_fitting(beside, version))
    given = found.get("general.license", "").strip().lower()
    if given and given != UNKNOWN:
        return Licence(
            given, "gguf", found.get("general.license.name"), found.get("general.license.link")
        )
    return Licence(UNKNOWN, "nothing")


def _gguf_words(path: Path) -> Iterator[tuple[str, str]]:
    """The texts of a GGUF file's metadata that say what it is."""
    from gguf import GGUFReader, GGUFValueType

    try:
        fields = GGUFReader(str(path)).fields
    except (OSError, ValueError, KeyError, IndexError):
        return
    for name, value in fields.items():
        if name.startswith("general.") and value.types == [GGUFValueType.STRING]:
            yield name, bytes(value.parts[value.data[0]]).decode("utf-8", errors="replace")


def read_head(path: Path) -> dict[str, Any]:
    """The YAML head of a model card; empty when there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.S)
    if found is None:
        return {}
    try:
        head = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return {}
    return head if isinstance(head, dict) else {}


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except StorageError:
        return {}
    return config if isinstance(config, dict) else {}


def _texts(folder: Path) -> dict[str, str]:
    """The licence files of a folder by the names that a release gives them."""
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.upper()
        kind = (
            "LICENSE"
            if stem.startswith(("LICENSE", "LICENCE", "COPYING"))
            else "USE_POLICY.md"
            if stem.startswith("USE_POLICY")
            else "NOTICE"
            if stem.startswith("NOTICE")
            else None
        )
        if kind is None or kind in found or not path.is_file() or path.stat().st_size > MOST_BYTES:
            continue
        try:
            found[kind] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def _title(text: str) -> str:
    """The Llama version in the title of a licence's text; empty for any other text."""
    found = re.search(
        r"llama\s*(\d(?:\.\d)?)\s+(?:version release|community license)", text[:3000], re.I
    )
    return f"llama {found[1]}" if found else ""


def _fitting(texts: dict[str, str], version: str) -> dict[str, str]:
    """The texts without a LICENSE that is not the agreement of this version."""
    right = llama_version(_title(texts.get("LICENSE", ""))) == version
    return {name: text for name, text in texts.items() if name != "LICENSE" or right}


def _text(value: Any) -> str | None:
    return value.strip().lower() if isinstance(value, str) and value.strip() else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value is not None else []
