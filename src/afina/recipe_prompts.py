"""The recipe's section on prompts: how the untouched base is asked before anyone trains it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from afina.language import _
from afina.recipe_section import Section

if TYPE_CHECKING:
    from afina.recipe import Recipe

# What the short form stands for; `definitions` cannot be short: only the user knows what labels mean.
SHORT: dict[str, dict[str, Any]] = {
    "plain": {"name": "plain"},
    "chain_of_thought": {"name": "chain_of_thought", "reasoning_tokens": 64},
    "few_shot": {"name": "few_shot", "shots": 4},
}
# A variant of this name without this setting would ask something else than its name says.
_NAMED_AFTER = {
    "definitions": "definitions",
    "chain_of_thought": "reasoning_tokens",
    "few_shot": "shots",
}


class PromptVariant(Section):
    """One way of asking the base. Settings can be joined: definitions with shots, say."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="Its name in reports.")
    instruction: str | None = Field(
        None,
        min_length=1,
        description="What is asked about a text; empty takes task.instruction, or the question that "
        "names the labels. For generate: the system message.",
    )
    definitions: dict[str, Annotated[str, Field(min_length=1)]] | None = Field(
        None,
        description="What each label means, in a sentence, put after the instruction (classify). Every "
        "label needs one.",
    )
    reasoning_tokens: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="The base first reasons in writing, in at most so many tokens; then the likelihood "
        "of each label as its answer is read (classify). Writing takes seconds a row without a GPU.",
    )
    shots: int = Field(
        0,
        ge=0,
        le=64,
        description="Examples from the training rows, drawn by the seed and balanced over the labels, "
        "put before the question as earlier turns. They take at most half of data.max_length: longer "
        "ones are shortened, then there are fewer, and that is said.",
    )


def _as_variants(value: Any) -> Any:
    """`[plain, few_shot]`: a word stands for what SHORT says; another word is refused with a reason."""
    if not isinstance(value, list):
        return value
    return [_written_out(entry) for entry in value]


def _written_out(entry: Any) -> Any:
    if not isinstance(entry, str):
        return entry
    if entry == "definitions":
        raise ValueError(
            _(
                "definitions needs what each label means: "
                "{{name: definitions, definitions: {{LABEL: its meaning}}}}"
            ).format()
        )
    if entry not in SHORT:
        raise ValueError(
            _("{word!r} is not one of {known}; another variant is given as {{name: …}}").format(
                word=entry, known=", ".join(SHORT)
            )
        )
    return SHORT[entry]


class Prompts(Section):
    """Prompts that are compared on the untouched base; the best is measured as the model `prompted`."""

    rows: int = Field(
        100,
        ge=10,
        description="The variants are compared on at most so many validation rows, a seeded part "
        "stratified by label; the best is then asked about the test sets.",
    )
    calibration: Literal["auto", "none", "contextual", "bias"] = Field(
        "auto",
        description="What is done about the base's liking for a label (classify). contextual: the "
        "probabilities are divided by those of a text without content (Zhao et al. 2021). bias: a "
        "number for each label and a temperature, fitted on the validation rows. auto takes for each "
        "variant what is best on the validation rows, the fit judged on rows that it has not seen.",
    )
    variants: Annotated[list[PromptVariant], BeforeValidator(_as_variants)] = Field(
        min_length=1,
        max_length=20,
        description="The variants, each with a name; plain, few_shot (4 examples) and chain_of_thought "
        "(64 tokens) can be given as a word.",
    )

    @model_validator(mode="after")
    def _variants_differ(self) -> Self:
        seen: dict[str, str] = {}
        for variant in self.variants:
            if variant.name in seen.values():
                raise ValueError(_("two variants have the name {name!r}").format(name=variant.name))
            setting = _NAMED_AFTER.get(variant.name)
            if setting and not getattr(variant, setting):
                raise ValueError(
                    _("the variant {name} needs {setting}").format(name=variant.name, setting=setting)
                )
            asked = variant.model_dump_json(exclude={"name"})
            if asked in seen:
                raise ValueError(
                    _("the variants {one} and {other} ask the same").format(
                        one=seen[asked], other=variant.name
                    )
                )
            seen[asked] = variant.name
        return self


def as_prompts(value: Any) -> Any:
    """`prompts: [plain, few_shot]` is short for its variants."""
    return {"variants": value} if isinstance(value, list) else value


def prompt_faults(recipe: Recipe) -> list[str]:
    """Why the base cannot be asked like this, as `place: what is wrong`."""
    prompts, task = recipe.evaluate.prompts, recipe.task
    if prompts is None:
        return []
    if task.kind == "text":
        return [
            "evaluate.prompts: " + _("documents are not asked anything: leave it out with kind text")
        ]
    faults = []
    if task.kind == "generate" and prompts.calibration not in ("auto", "none"):
        faults.append(
            "evaluate.prompts.calibration: "
            + _("belongs to kind classify, not to {kind}").format(kind=task.kind)
        )
    for number, variant in enumerate(prompts.variants):
        place = f"evaluate.prompts.variants.{number}"
        if task.kind == "generate":
            faults += [
                f"{place}.{name}: " + _("belongs to kind classify, not to {kind}").format(kind=task.kind)
                for name in ("definitions", "reasoning_tokens")
                if getattr(variant, name) is not None
            ]
        elif variant.definitions is not None:
            faults += [f"{place}.definitions: {why}" for why in _of_labels(variant, task.labels)]
    return faults


def _of_labels(variant: PromptVariant, labels: list[str] | None) -> list[str]:
    """What is wrong with the definitions of a variant."""
    given = variant.definitions or {}
    if labels is None:
        return [_("name the labels in task.labels, so that it is known that each has a definition")]
    missing = [label for label in labels if label not in given]
    unknown = [label for label in given if label not in labels]
    if missing:
        return [_("no definition of {labels}").format(labels=", ".join(missing))]
    if unknown:
        return [
            _("{unknown} is not one of task.labels ({labels})").format(
                unknown=", ".join(unknown), labels=", ".join(labels)
            )
        ]
    return []


# Other models in the tables

OWN_MODELS = ("base", "prompted", "probe", "tuned", "tuned_8bit", "tuned_4bit", "tfidf", "blend")


def name_of_compared(entry: str) -> str:
    """What a run of evaluate.compare is called in the tables: `runs/phishing/1` and `phishing@1` alike.

    Known from the recipe alone, so that the gate can name it.
    """
    parts = [part for part in re.split(r"[/\\]", entry.strip()) if part]
    if len(parts) > 1 and parts[-1].isdigit():
        return f"{parts[-2]}@{parts[-1]}"
    return parts[-1] if parts else ""


def quantised_name(bits: int) -> str:
    """What the tuned model on a base of so many bits is called in the tables."""
    return f"tuned_{bits}bit"


# What may stand after the name of a run: its number, an alias of the registry, a version there.
_AFTER = "@[0-9]+|@champion|@candidate|@previous|@v[1-9][0-9]*"


def compared_faults(recipe: Recipe) -> list[str]:
    """Why other models cannot stand in the tables like this, as `place: what is wrong`."""
    faults = []
    names: set[str] = set()
    for number, entry in enumerate(recipe.evaluate.compare):
        name, place = name_of_compared(entry), f"evaluate.compare.{number}: "
        if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9_-]{{0,79}}({_AFTER})?", name) or name in OWN_MODELS:
            faults.append(
                place + _("{entry!r} is not a run: give NAME@NUMBER or a path").format(entry=entry)
            )
        elif name in names:
            faults.append(place + _("{name} is given twice").format(name=name))
        elif name == recipe.name:
            faults.append(
                place
                + _("{name} is this recipe's own name: say which run, as in {name}@1").format(name=name)
            )
        names.add(name)
    if len(set(recipe.evaluate.bits)) != len(recipe.evaluate.bits):
        faults.append("evaluate.bits: " + _("a number is given twice"))
    for bits in recipe.evaluate.bits:
        if recipe.base.bits == bits:
            faults.append(
                "evaluate.bits: "
                + _("the tuned model is held in {bits} bits already (base.bits)").format(bits=bits)
            )
    return faults


def measured_models(recipe: Recipe) -> list[str]:
    """The models that stand in the tables of this recipe."""
    task, evaluate = recipe.task, recipe.evaluate
    classify = task.kind == "classify"
    return [
        "base",
        *(["prompted"] if evaluate.prompts is not None else []),
        *(["probe"] if classify and task.head == "pooled" else []),
        "tuned",
        *(quantised_name(bits) for bits in evaluate.bits),
        *(name_of_compared(entry) for entry in evaluate.compare),
        *(name for name in ("tfidf", "blend") if classify and name in evaluate.baselines),
    ]
