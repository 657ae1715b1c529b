"""What every exported handler has in common: the merged model, the code beside it, the comparison."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from afina.errors import AfinaError
from afina.exports.fixtures import (
    parents_of,
    prompt_fixtures,
    write_export_manifest,
    write_prompt_files,
)
from afina.exports.merged import merged
from afina.exports.quality import label_figures, labelled_rows, require_no_worse
from afina.inference.engine import Engine
from afina.language import _
from afina.runs.files import write_json, write_text
from afina.runs.folder import Run

SERVED = Path(__file__).parent / "served"
REQUIREMENTS = ("torch", "transformers", "safetensors", "tokenizers", "numpy", "jinja2")
# The same numbers added up in another order, which in bf16 rounds every sum.
LEAST_SAME_LABELS = {"fp32": 0.995, "bf16": 0.97}
HANDLER_SCHEMA = "afina/handler/1"


def write_served(
    run: Run,
    folder: Path,
    bits: int | None,
    say: Callable[[str], None],
    code: tuple[str, ...],
    add: Callable[[Path], None] = lambda _folder: None,
) -> dict[str, Any]:
    """Writes the merged model into `folder` with the code that serves it, and compares what it answers.

    Args:
        code: files of `served/`, beside released_model.py. add: writes more files into the folder.
    Returns:
        The figures: those of the merge, and of the handler's answers.
    Raises:
        AfinaError: when the served model reads other token ids than training, or says other labels.
    """
    release = run.path("release")
    staged = folder / "merged"
    figures = merged(run, staged, bits, say)
    for path in sorted(staged.iterdir()):
        path.rename(folder / path.name)
    staged.rmdir()
    engine = Engine(release, say)
    write_prompt_files(folder, engine)
    for name in ("released_model.py", *code):
        shutil.copy(SERVED / name, folder / name)
    write_text(folder / "requirements.txt", requirements(engine.settings.personal))
    add(folder)
    write_export_manifest(folder, run.name, parents_of(release, run.title))
    say(_("asking the exported handler the same"))
    figures = {**figures, "schema": HANDLER_SCHEMA, **_answers(run, engine, folder)}
    write_json(folder / "handler.json", figures)
    write_export_manifest(folder, run.name, parents_of(release, run.title))
    return figures


def requirements(personal: str) -> str:
    """requirements.txt: what the handler imports, in the versions that it was compared with."""
    names = [*REQUIREMENTS, "afina"] if personal == "mask" else list(REQUIREMENTS)
    return "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in names)


def released_module() -> ModuleType:
    """served/released_model.py as a module of its own, as it is loaded outside Afina."""
    place = importlib.util.spec_from_file_location("released_model", SERVED / "released_model.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules.setdefault("released_model", module)
    place.loader.exec_module(module)
    return module


def _answers(run: Run, engine: Engine, folder: Path) -> dict[str, Any]:
    """Token ids and labels of the handler's model against the run's own."""
    served = released_module().ReleasedModel(folder)
    require_equal_ids(served, prompt_fixtures(engine))
    if engine.settings.kind != "classify":
        return {"fixtures_equal": True}
    texts, labels = labelled_rows(run)
    own, other = engine.logits(texts), np.asarray(served.logits(texts))
    found = label_figures(engine, labels, own, other, run.recipe().seed)
    precision = (
        "fp32" if {engine.settings.precision, served.settings["precision"]} == {"fp32"} else "bf16"
    )
    share = found["agreeing"] / found["rows"]
    fix = _("keep fp32 numbers with --bits 32")
    if share < LEAST_SAME_LABELS[precision]:
        raise AfinaError(
            _(
                "the exported handler says the run's own label for {share:.1%} of {rows} rows only: "
                "nothing was kept"
            ).format(share=share, rows=found["rows"]),
            fix=fix,
        )
    require_no_worse(found, fix)
    return {"fixtures_equal": True, "served_labels": found}


def require_equal_ids(served: Any, fixtures: dict[str, Any]) -> None:
    """Refuses a handler whose token ids are not those of training."""
    pooled = served._head is not None
    for one in fixtures["texts"]:
        found = served.encode_text(one["text"]) if pooled else served.prompt_ids(one["text"])
        require_ids(found, one["ids"])
    for one in fixtures["conversations"]:
        require_ids(served.chat_ids(one["messages"]), one["ids"])


def require_ids(found: list[int], wanted: list[int]) -> None:
    """Refuses token ids that are not those of training."""
    if found == wanted:
        return
    place = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
    raise AfinaError(
        _(
            "the exported tokenizer gives other token ids than training did (from place {place}): "
            "nothing was kept"
        ).format(place=place),
        fix=_("report this with the base model's name"),
    )
