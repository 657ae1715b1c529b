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
from afina.exports.asked import asked_of
from afina.exports.check import label_figures, lower, task_figures
from afina.exports.manifest import write_export_manifest
from afina.exports.merged import merged
from afina.exports.prompt_fixtures import unequal, write_prompt_files
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
    to: str,
    bits: int | None,
    say: Callable[[str], None],
    code: tuple[str, ...],
    add: Callable[[Path], None] = lambda _folder: None,
) -> dict[str, Any]:
    """Writes the merged model into `folder` with the code that serves it, and compares what it answers.

    Args:
        to: the kind of export. code: files of `served/`, beside released_model.py. add: writes more
            files into the folder.
    Returns:
        The figures: those of the merge, and of the handler's answers.
    Raises:
        AfinaError: when the served model reads other token ids than training, or says other labels.
    """
    staged = folder / "merged"
    figures = merged(run, staged, bits, say)
    for path in sorted(staged.iterdir()):
        path.rename(folder / path.name)
    staged.rmdir()
    engine = Engine(run.path("release"), say)
    fixtures = write_prompt_files(folder, engine)
    for name in ("released_model.py", *code):
        shutil.copy(SERVED / name, folder / name)
    write_text(folder / "requirements.txt", requirements(engine.settings.personal))
    add(folder)
    write_export_manifest(run, folder, to, bits)  # the handler compares its files before it loads
    say(_("asking the exported handler the same"))
    figures = {**figures, "schema": HANDLER_SCHEMA, **_answers(run, engine, fixtures, folder)}
    write_json(folder / "handler.json", figures)
    write_export_manifest(run, folder, to, bits)
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


def _answers(run: Run, engine: Engine, fixtures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Token ids and labels of the handler's model against the run's own."""
    served = released_module().ReleasedModel(folder)
    require_equal_ids(served, fixtures)
    if engine.settings.kind != "classify":
        return {"fixtures_equal": True}
    recipe, settings = run.recipe(), engine.settings
    asked = asked_of(run, recipe, engine)
    own, other = engine.logits(asked.texts), np.asarray(served.logits(asked.texts))
    labels = label_figures(own, other, settings)
    task = task_figures(own, other, asked.truth, asked.groups, settings, recipe.seed)
    precision = "fp32" if {settings.precision, served.settings["precision"]} == {"fp32"} else "bf16"
    fix = _("keep fp32 numbers with --bits 32")
    if labels["share"] < LEAST_SAME_LABELS[precision]:
        raise AfinaError(
            _(
                "the exported handler says the run's own label for {share:.1%} of {rows} rows only: "
                "nothing was kept"
            ).format(share=labels["share"], rows=labels["n"]),
            fix=fix,
        )
    if faults := lower(task):
        raise AfinaError(
            _("the exported handler is worse, so nothing was kept: {faults}").format(
                faults="; ".join(faults)
            ),
            fix=fix,
        )
    return {"fixtures_equal": True, "served_labels": labels, "served_task": task}


def require_equal_ids(served: Any, fixtures: dict[str, Any]) -> None:
    """Refuses a handler whose token ids are not those of training."""
    pooled = served._head is not None
    wrong = unequal(fixtures, served.encode_text if pooled else served.prompt_ids, served.chat_ids)
    require_none_unequal(wrong, len(fixtures[fixtures["reads"]]))


def require_none_unequal(wrong: list[str], count: int) -> None:
    """Refuses a tokenizer or a template that gives other token ids than training did.

    Args:
        wrong: the prompts with other ids. count: of all that were compared.
    """
    if not wrong:
        return
    raise AfinaError(
        _(
            "the exported tokenizer gives other token ids than training did to {count} of {all} "
            "prompts, so nothing was kept; the first: {first!r}"
        ).format(count=len(wrong), all=count, first=wrong[0][:80]),
        fix=_("report this with the base model's name"),
    )
