"""What a run cannot tell, said before anyone has to ask."""

from __future__ import annotations

from afina.language import _
from afina.reports.beside import unseen_sentences
from afina.reports.figures import Figures
from afina.reports.formats import count, digits_of, number
from afina.reports.gate_words import check_rows, rows_would_decide
from afina.reports.swapped import swap_name
from afina.reports.words import metric_name, split_name

FEW_ROWS = 300
FEW_GROUPS = 20
FEW_SWAPS = 30
FEW_CUT = 0.05  # share of rows; fewer that are cut are in the table of the data alone


def unknowns(figures: Figures, language: str) -> list[str]:
    """Sentences about what is not known, the most important first."""
    return [
        *_about_sources(figures, language),
        *_about_size(figures, language),
        *_about_gate(figures, language),
        *_about_data(figures, language),
        *_about_training(figures, language),
        *_about_models(figures, language),
        *(unseen_sentences(figures.evaluation, language) if figures.evaluation else []),
        *_about_swaps(figures, language),
    ]


def _about_sources(figures: Figures, language: str) -> list[str]:
    data = figures.recipe.data
    said = []
    if any(source.source.startswith("builtin:phishing") for source in data.train):
        said.append(
            _(
                "The texts of builtin:phishing were written by a machine, not taken from real "
                "mailboxes. How this "
                "model does on real messages is not known; try it on your own before relying on it.",
                language,
            )
        )
    if not data.test:
        said.append(
            _(
                "The test rows come from the same sources as the training rows. On text from "
                "elsewhere the model "
                "may do worse; data.test takes further test sets.",
                language,
            )
        )
    return said


def _about_size(figures: Figures, language: str) -> list[str]:
    said: list[str] = []
    if figures.evaluation is None:
        return said
    for name, facts in figures.evaluation.sets.items():
        values = {
            "set": split_name(name, language),
            "rows": count(facts.get("rows")),
            "groups": facts.get("groups"),
        }
        if facts.get("rows") is not None and facts["rows"] < FEW_ROWS:
            text = _(
                "The set “{set}” has only {rows} rows: small differences cannot be seen in it.", language
            )
            found = figures.evaluation.comparison("tuned", "base", name, figures.evaluation.main_metric)
            if found is not None and found.minimum_detectable is not None:
                text = _(
                    "The set “{set}” has only {rows} rows: a difference in {metric} smaller than "
                    "about {smallest} "
                    "cannot be seen in it.",
                    language,
                )
                if found.sees_nothing():
                    text = _(
                        "The set “{set}” has only {rows} rows: too few to show any difference in "
                        "{metric} from the base model.",
                        language,
                    )
                values["smallest"] = number(found.minimum_detectable, digits_of(found.metric))
                values["metric"] = metric_name(found.metric, language)
            said.append(text.format(**values))
        if facts.get("groups") == 1:
            said.append(
                _(
                    "All rows of “{set}” are of one group. They say nothing about other groups; the "
                    "intervals are over rows, and too narrow for that.",
                    language,
                ).format(**values)
            )
        elif facts.get("groups") is not None and facts["groups"] < FEW_GROUPS:
            said.append(
                _(
                    "The rows of “{set}” come from only {groups} groups. Rows of one group resemble "
                    "each other, so "
                    "they tell less than their number suggests, and intervals from so few groups "
                    "are rough.",
                    language,
                ).format(**values)
            )
    return said


def _about_gate(figures: Figures, language: str) -> list[str]:
    said = []
    for row in check_rows(figures.gate, figures.recipe.gate, language):
        if row.check.verdict != "undecided":
            continue
        text = _("Undecided: {name}, {limit}.", language).format(name=row.name, limit=row.limit)
        if row.check.rows_needed:
            text += " " + rows_would_decide(row.metric, row.check.rows_needed, language)
        said.append(text)
    return said


def _about_data(figures: Figures, language: str) -> list[str]:
    audit = figures.audit or {}
    said = []
    if limit := audit.get("limit"):
        said.append(
            _(
                "Trained on a part only: {after} of {before} training rows (data.limit: {limit}). "
                "With all of them the "
                "result may differ.",
                language,
            ).format(
                after=count(limit.get("train_after")),
                before=count(limit.get("train_before")),
                limit=count(limit.get("rows")),
            )
        )
    cut = (audit.get("splits") or {}).get("train") or {}
    if cut.get("cut_rows") and cut["cut_rows"] >= FEW_CUT * cut["rows"]:
        said.append(
            _(
                "{cut} of {rows} training rows were longer than {limit} tokens (data.max_length) and "
                "were cut, the test rows in the same way. What the model would say of the whole texts "
                "is not known.",
                language,
            ).format(
                cut=count(cut["cut_rows"]),
                rows=count(cut["rows"]),
                limit=count(figures.recipe.data.max_length),
            )
        )
    for name, facts in (audit.get("test_sets") or {}).items():
        if facts.get("rows_also_in_training"):
            said.append(
                _(
                    "{rows} rows of the set “{set}” are in the training data too: its numbers are "
                    "too good.",
                    language,
                ).format(rows=count(facts["rows_also_in_training"]), set=name)
            )
    return said


def _about_training(figures: Figures, language: str) -> list[str]:
    train, said = figures.train, []
    if train and train.get("best_step") is not None:
        if train["best_step"] == 0:
            said.append(
                _(
                    "No training step made the validation loss better: the weights kept are those "
                    "from before it.",
                    language,
                )
            )
        elif train["best_step"] == train.get("steps") and not train.get("stopped_early"):
            said.append(
                _(
                    "The best validation loss came at the very last step: longer training might "
                    "still help.",
                    language,
                )
            )
    if train:
        said.append(
            _(
                "This is one training with one seed ({seed}); another seed would give somewhat "
                "other numbers.",
                language,
            ).format(seed=figures.recipe.seed)
        )
    return said


def _about_models(figures: Figures, language: str) -> list[str]:
    if figures.evaluation is None or figures.evaluation.kind != "classify":
        return []
    if any(result.model == "tfidf" for result in figures.evaluation.results):
        return []
    return [
        _(
            "No classical baseline was measured: a far simpler model might do as well "
            "(evaluate.baselines: [tfidf]).",
            language,
        )
    ]


def _about_swaps(figures: Figures, language: str) -> list[str]:
    """Whether anything is known of decisions that hang on a name, a country, a form of address."""
    if figures.evaluation is None or figures.evaluation.kind != "classify":
        return []
    if not figures.recipe.evaluate.swaps:
        return [
            _(
                "Whether a decision changes with a person's name, a country or the form of address was "
                "not measured (evaluate.swaps).",
                language,
            )
        ]
    text = _("Of the set “{set}” only {rows} rows could be changed for swaps of {kind}.", language)
    return [
        text.format(
            set=split_name(line["set"], language),
            rows=count(line["rows"]),
            kind=swap_name(line["kind"], language),
        )
        for line in figures.evaluation.swaps
        if line["model"] == "tuned" and line["rows"] < FEW_SWAPS
    ]
