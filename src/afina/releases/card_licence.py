"""The part of the card about the licence: which, how it is known, what it asks."""

from __future__ import annotations

from afina.language import _
from afina.releases.facts import Facts
from afina.releases.licences import UNKNOWN, Licence
from afina.releases.markdown import code


def licence_lines(facts: Facts, language: str) -> list[str]:
    """Sentences about the licence of the model and of its base, with the duties of a Llama licence."""
    licence, base = facts.licence, facts.base_licence
    lines = [f"{_named(licence, language)} {known_from(licence, language)}".strip()]
    if licence.known_from == "declared":
        lines.append(f"{_('The base:', language)} {known_from(base, language)}")
    if base.card_says is not None:
        text = _(
            "The base's card says {said}; a model made from Llama stays under Llama's licence.", language
        )
        lines.append(text.format(said=code(base.card_says)))
    if licence.perhaps_llama3:
        lines.append(
            _(
                "The base's vocabulary has 128,256 tokens as Llama 3's: it may have been made from it, "
                "and then that licence holds.",
                language,
            )
        )
    return [*lines, *_duties(licence, language)]


def known_from(licence: Licence, language: str) -> str:
    """How the licence is known, in a sentence."""
    return {
        "embedded": _("It is that of the embedded base, SmolLM2-135M-Instruct.", language),
        "text": _("It is named by the licence text in the base's folder.", language),
        "card": _("It is what the base's own card declares.", language),
        "parent": _("It follows from the model that the base says it was made from.", language),
        "config": _("It follows from the name in the base's config.json.", language),
        "gguf": _("It is what the base's GGUF file declares.", language),
        "name": _("It follows from the base's name.", language),
        "declared": _("It is what the publisher declares (release.license).", language),
        "nothing": _("No file of the base says under which licence it is.", language),
    }[licence.known_from]


def _named(licence: Licence, language: str) -> str:
    if licence.id == UNKNOWN:
        return _("The licence is not known.", language)
    duties = licence.duties
    name = duties.name if duties else licence.name
    if name is None:
        return _("Licence: {id}.", language).format(id=code(licence.id))
    return _("Licence: {name} ({id}).", language).format(name=name, id=code(licence.id))


def _duties(licence: Licence, language: str) -> list[str]:
    duties = licence.duties
    if duties is None:
        return []
    said = []
    if duties.built_with:
        text = _("display “{words}” on a website, in the product or its documentation", language)
        said.append(text.format(words=duties.built_with))
    if duties.prefix:
        text = _("begin the name of a model made from this one with “{prefix}”", language)
        said.append(text.format(prefix=duties.prefix))
    said += [
        _("pass on the licence text, in the file `LICENSE`", language),
        _("keep the file `NOTICE`", language),
        _("keep to the acceptable use policy, in `USE_POLICY.md` and at {policy}", language).format(
            policy=duties.policy
        ),
    ]
    lines = ["", _("Who passes this model on, or a product with it, must:", language), ""]
    lines += [f"- {text}" for text in said]
    if licence.missing:
        text = _("Missing here, since the base's folder does not have them: {files}.", language)
        lines += ["", text.format(files=", ".join(code(name) for name in licence.missing))]
    return lines
