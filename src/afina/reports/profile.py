"""What the training rows hold, as facts and a table of the page; from profile.json and audit.json."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from afina.language import _
from afina.reports.formats import count, percent
from afina.reports.words import split_name

MOST_NAMED = 6  # kinds, languages or ids in one fact


@dataclass(frozen=True)
class Fact:
    """A term, its value, and what it means. `bad` asks for a look."""

    term: str
    value: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Tell:
    """How often the label is right by one thing alone; shares: of a form in each label."""

    what: str
    accuracy: float
    ci95: tuple[float, float]
    strong: bool


@dataclass(frozen=True)
class Profile:
    """What the page says of the training rows."""

    looked_at: str
    facts: list[Fact]
    usual: float | None
    tells: list[Tell]
    forms: list[str]


def profile_view(
    profile: dict[str, Any] | None, audit: dict[str, Any] | None, language: str
) -> Profile | None:
    """The view of a run's profile; None for a run without one."""
    if not profile:
        return None
    looked_at = _("All {rows} training rows were looked at.", language)
    if profile["rows"] < profile["rows_read"]:
        looked_at = _("{rows} of {all} training rows were looked at, drawn by the seed.", language)
    facts = [
        *_personal(profile, audit or {}, language),
        *_pieces(profile, language),
        *_speech(profile["languages"], language),
        *_copies(profile, language),
    ]
    form = profile.get("form")
    return Profile(
        looked_at.format(rows=count(profile["rows"]), all=count(profile["rows_read"])),
        facts,
        form["most_frequent_label"] if form else None,
        _tells(profile, language) if form else [],
        _forms(profile, language) if form else [],
    )


def _personal(profile: dict[str, Any], audit: dict[str, Any], language: str) -> list[Fact]:
    found = profile["personal"]
    said = (audit.get("personal") or {}).get("texts", "keep")
    note = _(
        "rows; names of people are not looked for; data.personal: mask hides what is found", language
    )
    if said == "mask":
        note = _("rows after masking; names of people are not looked for", language)
    facts = [_rows_by_kind(_("Personal data", language), found, note, language)]
    if said == "mask":
        part = audit["splits"]["train"]
        kinds = ", ".join(f"{kind} {count(pieces)}" for kind, pieces in part["masked"].items())
        facts.append(
            Fact(
                _("Masked before training", language),
                count(sum(part["masked"].values())),
                _("pieces in {rows} rows: {kinds}", language).format(
                    rows=count(part["masked_rows"]), kinds=kinds or "–"
                ),
            )
        )
    return facts


def _rows_by_kind(term: str, found: dict[str, Any], note: str, language: str) -> Fact:
    kinds = [f"{kind} {count(entry['rows'])}" for kind, entry in found["kinds"].items()]
    text = f"{note}: {', '.join(kinds[:MOST_NAMED])}" if kinds else _("none found", language)
    return Fact(term, count(found["rows"]), text, bad=bool(found["rows"]))


def _pieces(profile: dict[str, Any], language: str) -> list[Fact]:
    toxic = profile["toxicity"]
    return [
        _rows_by_kind(
            _("Keys and passwords", language), profile["secrets"], _("rows", language), language
        ),
        Fact(
            _("Insults and threats", language),
            count(toxic["rows"]),
            _("rows with a word of a short list", language),
        ),
    ]


def _speech(found: dict[str, Any], language: str) -> list[Fact]:
    """Languages; how Spanish texts speak to the reader, and to which country their words point."""
    facts = [Fact(_("Languages", language), _counted(found["rows"]), _("rows", language))]
    for name, term, note in (
        (
            "spanish_address",
            _("Form of address", language),
            _("Spanish rows that speak to the reader as tú, usted or vos", language),
        ),
        (
            "spanish_country_words",
            _("Words of a country", language),
            _("Spanish rows whose words point to a country", language),
        ),
    ):
        counts = {key: rows for key, rows in found[name].items() if key != "none"}
        if found[name]:
            none = found[name].get("none", 0)
            silent = _("{rows} show none", language).format(rows=count(none))
            facts.append(Fact(term, _counted(counts), f"{note}; {silent}"))
    return facts


def _counted(counts: dict[str, int]) -> str:
    shown = Counter(counts).most_common(MOST_NAMED)
    text = ", ".join(f"{name} {count(rows)}" for name, rows in shown) or "–"
    return f"{text}, …" if len(counts) > MOST_NAMED else text


def _copies(profile: dict[str, Any], language: str) -> list[Fact]:
    """Near-duplicates, groups, labels that may be wrong, test rows that stand in these rows."""
    same, facts = profile["duplicates"], []
    if "rows_in_them" in same:
        note = _("rows in {clusters} clusters, within the training rows", language)
        text = note.format(clusters=count(same["near_duplicate_clusters"]))
        facts.append(Fact(_("Near-duplicates", language), count(same["rows_in_them"]), text))
    groups = profile.get("groups")
    if groups:
        text = _(
            "of {groups} groups by {column}, with {rows} rows; the largest group has {largest} rows",
            language,
        )
        values = {
            "groups": count(groups["groups"]),
            "column": profile["group_by"],
            "rows": count(groups["rows_of_one_label"]),
            "largest": count(groups["largest_rows"]),
        }
        term = _("Groups of one label alone", language)
        facts.append(Fact(term, count(groups["of_one_label"]), text.format(**values)))
    suspects = profile.get("label_suspects")
    if suspects:
        ids = ", ".join(item["id"] for item in suspects["first"][:MOST_NAMED])
        text = _("rows that read like another label", language)
        facts.append(
            Fact(
                _("Labels that may be wrong", language),
                count(suspects["rows"]),
                f"{text}: {ids}" if ids else text,
                bad=bool(suspects["rows"]),
            )
        )
    for name, leak in profile["leaks"].items():
        text = _("of {rows} rows share long passages with training rows", language)
        term = _("Leaks into the set “{set}”", language).format(set=split_name(name, language))
        facts.append(
            Fact(
                term, count(leak["leaked"]), text.format(rows=count(leak["rows"])), bool(leak["leaked"])
            )
        )
    return facts


def _tells(profile: dict[str, Any], language: str) -> list[Tell]:
    """What gives the label away, the strongest first."""
    named = [
        (_("the column {column}", language).format(column=name), column["tells"])
        for name, column in profile["columns"].items()
    ]
    named.append((_("the form of the text: links, years, capitals, …", language), profile["form"]))
    named.sort(key=lambda item: -item[1]["accuracy"])
    return [
        Tell(what, tell["accuracy"], (tell["ci95"][0], tell["ci95"][1]), tell["strong"])
        for what, tell in named
    ]


def _forms(profile: dict[str, Any], language: str) -> list[str]:
    """The forms that are most unequal among the labels: `link: legitimate 12%, phishing 80%`."""
    found = []
    for item in profile["form"]["strongest"][:3]:
        shares = zip(profile["label_order"], item["shares"], strict=True)
        text = ", ".join(f"{label} {percent(share, language)}" for label, share in shares)
        found.append(f"{item['form']}: {text}")
    return found
