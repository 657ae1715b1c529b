"""An export of kind onnx: for onnxruntime-genai, with all that is needed to ask the model beside it."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from afina.errors import AfinaError
from afina.exports.asked import ask
from afina.exports.check import agreement, require_agreement
from afina.exports.merge import merged_model
from afina.exports.onnx_card import onnx_card
from afina.exports.onnx_model import WAYS, OnnxReader, build, require_onnx, weight_bytes_read
from afina.exports.own import Own, ask_own
from afina.exports.prompt_fixtures import is_pooled, unequal, write_prompt_files
from afina.inference.engine import Engine
from afina.inference.settings import InferenceSettings, write_settings
from afina.language import _
from afina.models.full import save_model
from afina.models.tokenizer import Tokens
from afina.runs.files import atomic_folder, read_json, sha256_of, write_json, write_text
from afina.runs.folder import Run
from afina.runs.signals import StopSignal

DEFAULT_BITS = 8
_EDGE = Path(__file__).parent / "edge"


def onnx(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Merges, builds, loads what was built and compares. Returns agreement.json's value.

    Raises:
        AfinaError: when the export differs from the run's own model by more than its bits allow, or
            when its tokenizer finds other ids than training had.
        MissingExtra: without the packages of the extra `onnx`.
    """
    width = bits or DEFAULT_BITS
    require_onnx()
    own = ask_own(run, say)
    with tempfile.TemporaryDirectory(prefix="afina-onnx-") as place:
        plain = merge_into(own.engine, Path(place), say)
        with atomic_folder(folder) as temporary:
            figures = make_onnx(run, own, plain, temporary, width, say)
            require_agreement(figures, fix_for(width))
    return figures


def merge_into(engine: Engine, folder: Path, say: Callable[[str], None]) -> Path:
    """The run's own model as a plain one in fp32; takes the loaded model apart. Returns its folder."""
    say(_("merging in fp32"))
    merged = merged_model(engine.model, engine.settings.precision, 32)
    save_model(merged, engine.tokens, folder)
    del merged
    engine.model = None
    gc.collect()
    return folder


def make_onnx(
    run: Run, own: Own, plain: Path, folder: Path, bits: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Fills an empty folder with the export, compared but not refused. Returns agreement.json's value.

    The ways of building are tried in turn until one is within tolerance; of the others the one with the
    most equal tokens is made again, if it is not the last.
    """
    found: dict[str, Any] = {}
    shares: list[float] = []
    for options in WAYS[bits]:
        found = _one_way(run, own, plain, folder, bits, options, say)
        # What a pooled model's next tokens differ by is no fault, but a more exact way is better.
        beyond = found["faults"] + found["told"]
        if not beyond:
            break
        shares.append(found["top1"]["share"])
        say(
            _("the way of building {number} of {all} is above tolerance: {faults}").format(
                number=len(shares), all=len(WAYS[bits]), faults="; ".join(beyond)
            )
        )
    else:
        best = shares.index(max(shares))
        if best != len(shares) - 1:
            found = _one_way(run, own, plain, folder, bits, WAYS[bits][best], say)
    write_json(folder / "agreement.json", found)
    return found


def _one_way(
    run: Run,
    own: Own,
    plain: Path,
    folder: Path,
    bits: int,
    options: tuple[str, ...],
    say: Callable[[str], None],
) -> dict[str, Any]:
    settings, tokens, release = own.engine.settings, own.engine.tokens, run.path("release")
    for path in folder.iterdir():
        path.unlink()
    say(_("building the ONNX model at {bits} bits").format(bits=bits))
    build(plain, folder, bits, options)
    _beside(run, settings, tokens, folder, release)
    fixtures = write_prompt_files(folder, own.engine)
    _require_equal_ids(fixtures, folder, tokens, settings)
    say(_("asking the ONNX model the same"))
    with StopSignal() as stop:
        said = ask(OnnxReader(folder), own.asked, stop.check)
    return {
        **agreement(own.said, said, own.asked, settings, run.recipe().seed, bits),
        "kind": "onnx",
        "run": run.title,
        "base": settings.base,
        "reference": own.reference,
        "way": list(options),
        "fixtures": len(fixtures[fixtures["reads"]]),
        "weight_bytes": weight_bytes_read(folder / "model.onnx"),
        "release": release_sha256(release),
    }


def fix_for(bits: int) -> str:
    """What to do about an export that differs too much."""
    if bits == 32:
        return _("use --to merged, or the adapter as it is")
    return _("use more bits: --bits {more}").format(more={4: 8, 8: 32}[bits])


def release_sha256(release: Path) -> str:
    """What tells a release from another one: the hash of its settings and weights."""
    names = [*release.rglob("*.safetensors"), release / "inference.json"]
    digest = hashlib.sha256()
    for path in sorted(names):
        digest.update(f"{path.relative_to(release)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _beside(run: Run, settings: InferenceSettings, tokens: Tokens, folder: Path, release: Path) -> None:
    """Head, settings, generation settings, card and example."""
    if settings.head is not None and is_pooled(settings):
        shutil.copy(release / settings.head["path"], folder / settings.head["path"])
    write_settings(
        folder / "inference.json",
        replace(settings, adapters=[], weights="model.onnx", precision="fp32", bits=16),
    )
    config = read_json(folder / "genai_config.json")
    config["search"].update(search_settings(settings, config["model"]["context_length"]))
    config["model"]["eos_token_id"] = settings.generation.get("eos_token_ids", sorted(tokens.ends))
    config["model"]["pad_token_id"] = tokens.pad
    write_text(folder / "genai_config.json", json.dumps(config, indent=4) + "\n")
    example = (
        "pooled" if is_pooled(settings) else "tokens" if settings.kind == "classify" else "generate"
    )
    shutil.copy(_EDGE / f"{example}.py", folder / "edge.py")
    write_text(folder / "README.md", onnx_card(run, settings))


def search_settings(settings: InferenceSettings, context: int) -> dict[str, Any]:
    """Generation settings in genai_config.json's words."""
    given = settings.generation
    warm = given.get("temperature", 0.0) > 0
    found: dict[str, Any] = {
        "do_sample": warm,
        "max_length": min(context, settings.max_length + given.get("max_new_tokens", 256)),
    }
    if warm:
        found |= {"temperature": given["temperature"], "top_k": 0}
        found["top_p"] = given.get("top_p") or 1.0
    return found


def _require_equal_ids(
    fixtures: dict[str, Any], folder: Path, tokens: Tokens, settings: InferenceSettings
) -> None:
    """Refuses an export whose own tokenizer or template finds other ids than training had.

    A control token that is spelt out in a text is left out of the comparison: onnxruntime-genai reads it
    as the token that it spells, which docs/onnx.md warns of.
    """
    import onnxruntime_genai as genai

    # A tokenizer alone takes no weights: the configuration is enough for it.
    tokenizer = genai.Tokenizer(genai.Model(str(folder)))

    def ids(text: str) -> list[int]:
        return tokens.with_bos([int(token) for token in tokenizer.encode(text)])

    def conversation(messages: list[dict[str, str]]) -> list[int]:
        return ids(tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True))

    def bare(text: str) -> list[int]:
        found = ids(text)
        return found[: settings.max_length] or [tokens.pad] if is_pooled(settings) else found

    wrong = unequal(fixtures, bare, conversation, controls=False)
    if wrong:
        raise AfinaError(
            _(
                "onnxruntime-genai reads {count} of {all} prompts as other tokens than training did, so "
                "nothing was kept; the first: {first!r}"
            ).format(count=len(wrong), all=len(fixtures[fixtures["reads"]]), first=wrong[0][:80]),
            fix=_("use --to merged, with transformers' own tokenizer"),
        )
