"""A data audit as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from afina.language import _


def lines_of(found: dict[str, Any]) -> Iterator[str]:
    """What `afina data audit` prints."""
    labels = ", ".join(f"{label} {count:,}" for label, count in found["labels"].items())
    yield _("rows: {rows:,} of {read:,} looked at; {labels}").format(
        rows=found["rows"], read=found["rows_read"], labels=labels or "-"
    )
    yield _counted(_("personal data"), found["personal"])
    yield _counted(_("secrets"), found["secrets"])
    toxic = found["toxicity"]
    words = ", ".join(f"{word} {count:,}" for word, count in list(toxic["words"].items())[:5])
    yield _("insults and threats: in {rows:,} rows ({words})").format(
        rows=toxic["rows"], words=words or "-"
    )
    yield from _languages(found["languages"])
    same = found["duplicates"]
    yield _("duplicates: {equal:,} equal rows, {conflict:,} of them with another label").format(
        equal=same["equal_rows"], conflict=same["equal_with_other_label"]
    )
    if "near_duplicate_clusters" in same:
        yield _("near-duplicates: {rows:,} rows in {clusters:,} clusters").format(
            rows=same["rows_in_them"], clusters=same["near_duplicate_clusters"]
        )
    if "form" in found:
        yield from _tells(found)
    for name, leak in found["leaks"].items():
        yield _("leaks: {leaked:,} of {rows:,} rows of {set} stand in these rows").format(
            leaked=leak["leaked"], rows=leak["rows"], set=name
        )
        for item in leak["first"][:3]:
            yield _("  {id}: {words} words in a row, {shared:.0%} of its phrases in {train_id}").format(
                id=item["id"],
                words=item["longest_words"],
                shared=item["shared"],
                train_id=item["train_id"],
            )


def _counted(title: str, part: dict[str, Any]) -> str:
    if not part["rows"]:
        return _("{what}: none found").format(what=title)
    kinds = ", ".join(f"{kind} {entry['rows']:,}" for kind, entry in part["kinds"].items())
    return _("{what}: in {rows:,} rows ({kinds})").format(what=title, rows=part["rows"], kinds=kinds)


def _languages(part: dict[str, Any]) -> Iterator[str]:
    yield _("languages: {counts}").format(counts=_counts(part["rows"]))
    if part["spanish_address"]:
        yield _("  Spanish: speaks to the reader as {address}; words of {countries}").format(
            address=_counts(part["spanish_address"]), countries=_counts(part["spanish_country_words"])
        )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def _tells(found: dict[str, Any]) -> Iterator[str]:
    """What gives the label away, the strongest first."""
    usual = found["form"]["most_frequent_label"]
    text = _("what gives the label away ({usual:.0%} is right by always saying the most frequent one):")
    yield text.format(usual=usual)
    tells = [
        (_("column {name}").format(name=name), column["tells"])
        for name, column in found["columns"].items()
    ]
    tells.append((_("the form of the text"), found["form"]))
    for name, tell in sorted(tells, key=lambda item: -item[1]["accuracy"]):
        low, high = tell["ci95"]
        line = _("  {what}: {accuracy:.0%} right ({low:.0%} to {high:.0%})").format(
            what=name, accuracy=tell["accuracy"], low=low, high=high
        )
        yield line + (_("  <- strong: a model may learn this alone") if tell["strong"] else "")
    for item in found["form"]["strongest"][:3]:
        shares = ", ".join(
            f"{label} {share:.0%}"
            for label, share in zip(found["label_order"], item["shares"], strict=True)
        )
        yield _("    {form}: {shares}").format(form=item["form"], shares=shares)
    suspects = found["label_suspects"]
    yield _("labels that may be wrong: {rows:,} rows").format(rows=suspects["rows"])
    for item in suspects["first"][:3]:
        yield _("  {id}: is {label}, reads like {other}").format(
            id=item["id"], label=item["label"], other=item["would_be"]
        )
