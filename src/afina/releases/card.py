"""The model card: what the model is for, what it was trained on, how it measured, what is not known."""

from __future__ import annotations

from afina.language import _
from afina.releases.card_data import data_lines, personal_lines, training_lines
from afina.releases.card_head import head_text
from afina.releases.card_licence import licence_lines
from afina.releases.card_measured import measured_lines
from afina.releases.facts import Facts, shown_source
from afina.releases.markdown import code
from afina.reports.formats import number
from afina.reports.unknowns import unknowns


def card(facts: Facts, language: str, others: dict[str, str] | None = None) -> str:
    """The card in the Hub's form: a YAML head, then Markdown.

    Args:
        language: en or es. others: the files with the card in other languages, by language.
    """
    sections = {
        _("Intended use", language): _use(facts, language),
        _("Out of scope", language): _out_of_scope(facts, language),
        _("Training data", language): data_lines(facts, language),
        _("Personal data", language): personal_lines(facts, language),
        _("Training", language): training_lines(facts, language),
        _("Evaluation", language): measured_lines(facts, language),
        _("Limits: what is not known", language): _limits(facts, language),
        _("Licence", language): licence_lines(facts, language),
        _("How to check this release", language): _check(facts, language),
    }
    parts = ["\n".join([f"# {facts.name}", "", *_first(facts, language), "", *_others(others or {})])]
    parts += ["\n".join([f"## {title}", "", *lines]).strip() for title, lines in sections.items()]
    return head_text(facts) + "\n" + "\n\n".join(part.strip() for part in parts) + "\n"


def _first(facts: Facts, language: str) -> list[str]:
    """What it is, what must be displayed with it, how it is loaded."""
    recipe, lines = facts.recipe, []
    duties = facts.licence.duties
    if duties is not None and duties.built_with:
        lines += [f"**{duties.built_with}**", ""]
    if recipe.adapter.kind == "full":
        what = _("All weights of {base}, fine-tuned by Afina in run {run}.", language)
        loading = _(
            "How to ask it is written in `inference.json`; transformers loads the folder `model`.",
            language,
        )
    else:
        what = _("A {kind} adapter of rank {rank} for {base}, made by Afina in run {run}.", language)
        loading = _(
            "How to ask it is written in `inference.json`; plain PEFT loads the folder `adapter`.",
            language,
        )
    lines.append(
        what.format(
            kind=recipe.adapter.kind,
            rank=recipe.adapter.rank,
            base=code(facts.base_name),
            run=code(facts.run.title),
        )
    )
    if facts.figures.train and facts.figures.train.get("best_step") == 0:
        lines.append(
            _(
                "Training never lowered the validation loss: these weights are those from before "
                "training.",
                language,
            )
        )
    lines.append(loading)
    if facts.settings.get("head") and facts.settings["head"]["kind"] == "pooled":
        lines.append(
            _(
                "The labels come from a linear head on the mean of the last layer's states, in "
                "`head.safetensors`: PEFT and transformers do not read it, Afina does.",
                language,
            )
        )
    return lines


def _others(others: dict[str, str]) -> list[str]:
    """Where the same card is in other languages, said in those."""
    names = {"en": "In English", "es": "En español"}
    return [f"[{names[language]}]({path})" for language, path in others.items()]


def _use(facts: Facts, language: str) -> list[str]:
    recipe, settings = facts.recipe, facts.settings
    sources = ", ".join(code(shown_source(one.source)) for one in recipe.data.train)
    if recipe.release.intended_use is not None:
        lines = [recipe.release.intended_use]
    elif recipe.task.kind == "classify":
        labels = ", ".join(code(label) for label in settings["labels"])
        text = _("Saying which of these labels a text has: {labels}.", language)
        lines = [text.format(labels=labels)]
    elif recipe.task.kind == "generate":
        lines = [_("Answering prompts like those it was trained on.", language)]
    else:
        lines = [_("Continuing texts like those it was trained on.", language)]
    text = _("It knows texts like those of {sources}.", language)
    lines.append(text.format(sources=sources))
    if len(settings["labels"]) == 2 and settings["positive"]:
        text = _("It says {label} from a probability of {threshold} on.", language)
        lines.append(
            text.format(label=code(settings["positive"]), threshold=number(settings["threshold"]))
        )
    if recipe.task.kind == "classify":
        lines.append(_("It is a help to a person who decides, not the decision.", language))
    return lines


def _out_of_scope(facts: Facts, language: str) -> list[str]:
    lines = []
    if facts.recipe.release.out_of_scope is not None:
        lines.append(facts.recipe.release.out_of_scope)
    if spoken := facts.looked.main_languages():
        text = _("Texts in languages other than these: {languages}.", language)
        lines.append(text.format(languages=", ".join(spoken)))
    lines += [
        _("Texts of another kind or from elsewhere, until they are measured.", language),
        _("Decisions with consequences for a person that no person looks at.", language),
    ]
    duties = facts.licence.duties
    if duties is not None:
        text = _("What the acceptable use policy of the base forbids: {policy}", language)
        lines.append(text.format(policy=duties.policy))
    return [f"- {line}" for line in lines]


def _limits(facts: Facts, language: str) -> list[str]:
    """What the report says of what is not known."""
    return [f"- {' '.join(text.split())}" for text in unknowns(facts.figures, language)]


def _check(facts: Facts, language: str) -> list[str]:
    return [
        _(
            "`manifest.json` has the SHA-256 of every file, `bom.json` is a bill of materials "
            "(CycloneDX 1.7) in which each claim is tied to a hash or marked as declared, and "
            "`evaluation.json` has every figure. `afina verify` compares them.",
            language,
        ),
        "",
        _("SHA-256 of the recipe: {sha256}", language).format(sha256=code(facts.recipe_sha256)),
        "",
        _("SHA-256 over the base's weights: {sha256}", language).format(
            sha256=code(facts.settings["base"]["sha256"])
        ),
    ]
