"""The parts of the card about rows and training: sources, hashes, personal data, time and machine."""

from __future__ import annotations

from afina.inference.masking_note import masking_note
from afina.language import _
from afina.releases.facts import Facts, shown_source
from afina.releases.markdown import code, table
from afina.reports.formats import count, duration, size
from afina.reports.words import split_name


def data_lines(facts: Facts, language: str) -> list[str]:
    """Sources, rows of each part with the hash of its file, labels, languages."""
    audit = facts.figures.audit or {}
    splits = {**audit.get("splits", {}), **audit.get("test_sets", {})}
    sources = ", ".join(code(shown_source(source)) for source in audit.get("sources", {}))
    rows = splits.get("train", {}).get("rows")
    lines = [
        _("Trained on {rows} rows of {sources}.", language).format(rows=count(rows), sources=sources),
        _("No row is in this release; the hashes are of the files that stayed in the run.", language),
        "",
    ]
    head = [_("part", language), _("rows", language), _("labels", language), "SHA-256"]
    shown = []
    for name, part in splits.items():
        labels = part.get("labels") or {}
        named = ", ".join(f"{label} {count(number)}" for label, number in labels.items())
        digest = facts.data.get(f"data/{name}.parquet") or facts.data.get(f"data/test_{name}.parquet")
        shown.append([split_name(name, language), count(part.get("rows")), named or "–", digest or "–"])
    lines += [*table(head, shown), ""]
    removed = audit.get("equal_rows_removed", 0) + audit.get("conflicting_rows_removed", 0)
    text = _("Equal or contradicting rows removed: {removed}.", language)
    lines.append(text.format(removed=count(removed)))
    if audit.get("group_by"):
        text = _("Rows with the same {column} are in one part only.", language)
        lines.append(text.format(column=code(audit["group_by"])))
    looked = facts.looked
    named = ", ".join(f"{name} {count(number)}" for name, number in looked.languages.items())
    text = _("Languages by their function words, of {rows} training rows: {languages}.", language)
    lines.append(text.format(rows=count(looked.rows), languages=named or "–"))
    return lines


def personal_lines(facts: Facts, language: str) -> list[str]:
    """Whether personal data was masked, and how much was found in the rows as they were trained on."""
    data, looked = facts.recipe.data, facts.looked
    lines = []
    if data.personal == "mask":
        train = (facts.figures.audit or {}).get("splits", {}).get("train", {})
        text = _("Masked before training in {rows} training rows: {kinds}.", language)
        kinds = ", ".join(f"{kind} {count(found)}" for kind, found in train.get("masked", {}).items())
        lines.append(text.format(rows=count(train.get("masked_rows", 0)), kinds=kinds or "–"))
    else:
        lines.append(_("Texts were trained on as they are (`data.personal: keep`).", language))
    kinds = ", ".join(f"{kind} {count(found)}" for kind, found in looked.personal.items())
    text = _(
        "Of {rows} training rows looked at, out of {of}, {personal} hold what looks like personal data "
        "({kinds}).",
        language,
    )
    lines.append(
        text.format(
            rows=count(looked.rows),
            of=count(looked.of),
            personal=count(looked.personal_rows),
            kinds=kinds or "–",
        )
    )
    lines.append(
        _("Names of people are not counted, and a form without check digits may be missed.", language)
    )
    if looked.personal_rows and data.personal != "mask":
        lines.append(
            _(
                "A model may repeat what it was trained on: share it only with those who may see that.",
                language,
            )
        )
    return [*lines, "", *masking_note(data.personal, data.names, language)]


def training_lines(facts: Facts, language: str) -> list[str]:
    """Settings, time, machine and energy; what was not measured is said to be so."""
    train, recipe = facts.figures.train or {}, facts.recipe
    full = recipe.adapter.kind == "full"
    settings = [
        _("method: {kind}", language).format(
            kind=recipe.adapter.kind if full else f"{recipe.adapter.kind}, r = {recipe.adapter.rank}"
        ),
        _("epochs: {epochs:g}", language).format(epochs=recipe.train.epochs),
        _("learning rate: {rate:g}", language).format(rate=recipe.train.learning_rate),
        _("rows a step: {rows}", language).format(rows=recipe.train.batch_rows),
        _("tokens a row at most: {tokens}", language).format(tokens=recipe.data.max_length),
        _("steps: {steps}, best {best}", language).format(
            steps=count(train.get("steps")), best=count(train.get("best_step"))
        ),
        _("trained parameters: {trained} of {all}", language).format(
            trained=count(train.get("trained_parameters")), all=count(train.get("all_parameters"))
        ),
        _("number format: {precision}, {bits} bits", language).format(
            precision=facts.settings["precision"], bits=facts.settings["bits"]
        ),
        _("seed: {seed}", language).format(seed=recipe.seed),
        _("time of the training steps: {time}", language).format(time=duration(train.get("seconds"))),
        _("highest memory: {memory}", language).format(memory=size(train.get("peak_memory_bytes"))),
        _("machine: {machine}", language).format(machine=machine_of(facts, language)),
        _("energy: not measured", language),
    ]
    return [f"- {line}" for line in settings]


def machine_of(facts: Facts, language: str) -> str:
    """Processor, cores, memory and GPUs that training ran on."""
    found = facts.hardware
    if not found:
        return _("not noted", language)
    parts = [
        str(found["processor"]),
        _("{cores} cores used", language).format(cores=found["cores"]),
        size(found["memory_bytes"]),
        ", ".join(found["gpus"]) or _("no GPU", language),
    ]
    return ", ".join(parts)
