"""The heads that are fitted alone on the frozen base, before training: the probe, and where it starts.

What is fitted is kept in `probe/`, so that a run that goes on does not read its rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from afina.data.chat import Encoded
from afina.errors import DataError
from afina.inference.pooled import PooledHead, features_of, load_head
from afina.language import _
from afina.metrics.calibration import fit_temperature
from afina.models.load import load_model
from afina.runs.files import atomic, read_json, write_json
from afina.runs.folder import Run
from afina.runs.signals import StopSignal
from afina.runs.spending import over_budget
from afina.training.adapter_weight import FEWEST_ROWS
from afina.training.loop import not_finite
from afina.training.probe import MOST_ROWS, fit_head, fit_probe
from afina.training.robust import fit_robust_head, group_codes, robust_strength
from afina.training.threshold import HALF, Choice, choose, choose_left_out, held_rows
from afina.training.work import Work

Array = np.ndarray[Any, np.dtype[Any]]
PROBE = "probe/head.safetensors"
START = "probe/start.safetensors"
NOTE = "probe/probe.json"
STATES = "probe/states.safetensors"  # of training and validation rows, for evaluate.leave_out


def fitted_heads(work: Work, model: Any = None) -> tuple[PooledHead, dict[str, float]]:
    """The head that training starts from, and the inverse strengths of its penalty and the probe's.

    Both are fitted alone on the frozen base, which is loaded when it is not given; taken from the run
    when they were fitted already.
    """
    note = work.run.path(NOTE)
    if work.run.path(START).exists() and note.exists():
        return load_head(work.run.path(START)), dict(read_json(note)["strengths"])
    model = model or load_model(work.base.folder, work.precision, work.bits)
    work.run.say(_("fitting the probe: a linear head on the frozen base"))
    with StopSignal(over_budget(work.run)) as stop:
        features = {
            split: features_of(
                model,
                work.encoded[split].encoded,
                work.tokens.pad,
                2 * work.recipe.train.micro_batch_tokens,
                _reading(work.run, work.encoded[split].encoded, stop),
            )
            for split in ("train", "validation")
        }
        for split, found in features.items():
            wrong = np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist()
            if wrong:
                raise not_finite(_("the base model's states are not finite"), work.encoded[split], wrong)
        rows = (features["train"], work.truth("train"), len(work.labels))
        seed, weights = work.recipe.seed, weights_of(work.rows["train"])
        checked = (features["validation"], work.truth("validation"))
        probe, best = fit_probe(*rows, *checked, seed, weights)
        wanted = work.recipe.train.head_strength
        strength = best if wanted == "auto" else wanted
        start = probe if wanted == "auto" else fit_head(*rows, wanted, seed, weights)
        settings = work.recipe.train
        if settings.robust is not None and settings.robust_by is not None:
            codes, _names = group_codes(work.rows["train"], settings.robust_by)
            step = robust_strength(settings)
            start = fit_robust_head(*rows, strength, codes, settings.robust, step)
        chosen = _chosen(work, probe, best, features, stop.check)
    probe.save(work.run.path(PROBE))
    start.save(work.run.path(START))
    if work.recipe.evaluate.leave_out and len(features["train"]) <= MOST_ROWS:
        _keep_states(work.run, features)
    strengths = {"probe": best, "start": strength}
    write_json(note, {"schema": "afina/probe/1", "strengths": strengths, **chosen})
    return start, strengths


def weights_of(rows: Sequence[Any]) -> Array | None:
    """How much each row counts in a fit; [rows], or None where all count the same."""
    weights = np.array([row.weight for row in rows])
    return None if len(np.unique(weights)) < 2 else weights


def probe_choice(run: Run) -> dict[str, Any] | None:
    """What probe.json says of the probe's temperature and threshold; None when they are 1 and 0.5."""
    note = run.path(NOTE)
    value = read_json(note) if note.exists() else {}
    return value if value.get("choice") else None


def _chosen(
    work: Work,
    probe: PooledHead,
    strength: float,
    features: dict[str, Array],
    check: Callable[[], None],
) -> dict[str, Any]:
    """The probe's temperature and threshold, for probe.json."""
    settings, truth = work.recipe.train, work.truth("validation")
    if settings.threshold_from is None:
        return {}
    if len(work.labels) != 2:
        raise DataError(
            _("train.threshold_from needs two labels; the data has {count}").format(
                count=len(work.labels)
            ),
            fix=_("leave it out: the likeliest of several labels is said"),
        )
    positive = work.labels.index(work.recipe.task.positive or work.labels[-1])
    logits = probe.logits(features["validation"])
    enough = len(truth) >= FEWEST_ROWS and len(np.unique(truth)) == 2
    usual = fit_temperature(logits, truth) if enough else 1.0
    if settings.threshold_from == "validation":
        if not enough:
            return {}
        choice = choose(logits, truth, positive, settings.max_false_positive_rate, usual)
    else:
        assert settings.threshold_by is not None
        both = [*work.rows["train"], *work.rows["validation"]]
        held = held_rows(
            both,
            np.concatenate([features["train"], features["validation"]]),
            np.concatenate([work.truth("train"), truth]),
            settings.threshold_by,
            work.recipe.data.split.group_by,
        )
        most = settings.max_false_positive_rate
        choice = choose_left_out(
            held,
            work.labels,
            positive,
            strength,
            most,
            work.recipe.seed,
            settings.threshold_by,
            check,
        )
        _say(work, choice)
    return {
        "temperature": choice.temperature,
        "threshold": choice.threshold,
        "validation_temperature": usual,
        "choice": choice.as_json(),
    }


def _say(work: Work, choice: Choice) -> None:
    work.run.say(
        _(
            "threshold {threshold:.3f} instead of {half}, by {rows:,} rows of values of {column} left "
            "out in {folds} folds: false-positive rate {rate:.3f}, recall {recall:.3f}"
        ).format(
            threshold=choice.threshold,
            half=HALF,
            rows=choice.rows,
            folds=len(choice.folds or []),
            column=work.recipe.train.threshold_by,
            rate=choice.rates["false_positive_rate"],
            recall=choice.rates["recall"],
        )
    )


def _keep_states(run: Run, features: dict[str, Array]) -> None:
    from safetensors.numpy import save_file

    with atomic(run.path(STATES)) as temporary:
        save_file({name: np.ascontiguousarray(found) for name, found in features.items()}, temporary)


def _reading(run: Run, encoded: Sequence[Encoded], stop: StopSignal) -> Any:
    """Shows how far the reading of rows is, and obeys a signal between batches."""
    total = sum(len(item.ids) for item in encoded)
    done = 0

    def check(tokens: int) -> None:
        nonlocal done
        stop.check()
        done += tokens
        run.progress(_("reading {done:,} of {total:,} tokens").format(done=done, total=total))

    return check
