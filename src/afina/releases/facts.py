"""What card and bill of materials say of a release, read from the run's files and the base's folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afina.audits.language import language_of
from afina.data.table import read_rows
from afina.errors import AfinaError, StorageError
from afina.models.base import find_base
from afina.personal.finding import find_personal
from afina.recipe import Recipe
from afina.releases.licences import Licence, declared, licence_of_base
from afina.reports.figures import Figures, Result, collect
from afina.runs.files import read_json
from afina.runs.folder import Run, recipe_hash
from afina.runs.stages import state_of

MOST_ROWS = 1000  # training rows that are looked at for languages and personal data
LEAST_SHARE = 0.05  # of rows, for a language to be named


@dataclass(frozen=True)
class Looked:
    """What a part of the training rows holds, as it was trained on.

    Attributes:
        rows: that were looked at, evenly spread. of: all of them.
        languages: rows by language, of those that show one. personal: rows with personal data, by kind.
        personal_rows: rows with any.
    """

    rows: int
    of: int
    languages: dict[str, int]
    personal: dict[str, int]
    personal_rows: int

    def main_languages(self) -> list[str]:
        """Those of at least one row in twenty, the most frequent first."""
        least = LEAST_SHARE * self.rows
        kept = {name: count for name, count in self.languages.items() if count >= least}
        return sorted(kept, key=lambda name: (-kept[name], name))


@dataclass(frozen=True)
class Facts:
    """All that is said of a release.

    Attributes:
        settings: the value of inference.json. base_config: of the base; empty when it is not here.
        hub_base: the base's Hub id; None for a folder or file of one machine.
        licence: under which the model is passed on. base_licence: the base's.
        data: SHA-256 of the data stage's files by name. recipe_sha256: of the recipe.
        hardware: what it was trained on; None in runs that did not note it.
    """

    run: Run
    recipe: Recipe
    figures: Figures
    settings: dict[str, Any]
    base_config: dict[str, Any]
    hub_base: str | None
    licence: Licence
    base_licence: Licence
    data: dict[str, str]
    recipe_sha256: str
    hardware: dict[str, Any] | None
    looked: Looked

    @property
    def name(self) -> str:
        """The model's name, beginning as the base's licence asks."""
        duties = self.licence.duties
        prefix = duties.prefix if duties else ""
        return (
            self.recipe.name if begins_with(self.recipe.name, prefix) else f"{prefix} {self.recipe.name}"
        )

    @property
    def base_name(self) -> str:
        """The base's Hub id, or the last part of its path: the rest is nobody's business."""
        return self.hub_base or Path(str(self.settings["base"]["id"])).name

    def results(self, model: str = "tuned", sliced: bool = False) -> list[Result]:
        """What was measured of a model that has a value: on whole sets, or on their parts."""
        found = self.figures.evaluation
        return [
            line
            for line in (found.results if found else [])
            if line.model == model and (line.slice is not None) == sliced and line.value is not None
        ]


def facts_of(run: Run, recipe: Recipe) -> Facts:
    """Reads a run. Raises AfinaError when release.license cannot be had for its base."""
    settings = read_json(run.path("release/inference.json"))
    base = settings["base"]
    folder = _base_folder(base)
    base_licence = licence_of_base(base["model"], base["id"], folder)
    figures = collect(run)
    state = state_of(run, "data")
    return Facts(
        run=run,
        recipe=recipe,
        figures=figures,
        settings=settings,
        base_config=_config(folder),
        hub_base=_hub_base(base),
        licence=declared(base_licence, recipe.release.license),
        base_licence=base_licence,
        data={name: str(digest) for name, digest in (state["outputs"] if state else {}).items()},
        recipe_sha256=recipe_hash(recipe),
        hardware=(figures.train or {}).get("hardware"),
        looked=_look(run),
    )


def begins_with(name: str, prefix: str) -> bool:
    """Whether a model's name begins with a prefix; a space in it may be `-` or `_`."""
    plain = name.lower().replace("-", " ").replace("_", " ")
    return plain.startswith(prefix.lower())


def shown_source(source: str) -> str:
    """A source of rows as the card names it: without the folders of this machine."""
    if source.startswith(("builtin:", "hf:")) and not Path(source.removeprefix("hf:")).exists():
        return source
    return Path(source.removeprefix("hf:")).name


def hub_datasets(recipe: Recipe) -> list[str]:
    """The Hub ids of the training sources that are Hub datasets."""
    found = (hub_dataset(source.source) for source in recipe.data.train)
    return list(dict.fromkeys(name for name in found if name is not None))


def hub_dataset(source: str) -> str | None:
    """The Hub's id in a source `hf:DATASET[:CONFIG][@SPLIT]`; None for any other, and for a folder."""
    if not source.startswith("hf:"):
        return None
    path = source.removeprefix("hf:").partition("@")[0].partition(":")[0]
    return None if Path(path).is_dir() else path


def _hub_base(base: dict[str, Any]) -> str | None:
    """The base's id where it is one of the Hub: embedded, or a model with a commit."""
    return str(base["id"]) if base["model"] == "embedded" or base["revision"] else None


def _base_folder(base: dict[str, Any]) -> Path | None:
    """Where the base's files are; None when they cannot be had any more."""
    try:
        return find_base(base["model"], base["revision"]).folder
    except AfinaError:
        return None


def _config(folder: Path | None) -> dict[str, Any]:
    try:
        return dict(read_json(folder / "config.json")) if folder else {}
    except (StorageError, TypeError, ValueError):
        return {}


def _look(run: Run) -> Looked:
    """Languages and personal data in the training rows, or in a thousand of them."""
    rows = read_rows(run.path("data/train.parquet"))
    step = max(1, -(-len(rows) // MOST_ROWS))
    texts = [row.content() for row in rows[::step]]
    kinds = [{one.kind for one in find_personal(text)} for text in texts]
    spoken = Counter(language for text in texts if (language := language_of(text)) is not None)
    return Looked(
        rows=len(texts),
        of=len(rows),
        languages=dict(sorted(spoken.items())),
        personal=dict(sorted(Counter(kind for found in kinds for kind in found).items())),
        personal_rows=sum(bool(found) for found in kinds),
    )
