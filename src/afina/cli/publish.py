"""`afina publish RUN`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from afina.cli.common import (
    Console,
    JsonOption,
    LangOption,
    RunsOption,
    bytes_for_people,
    check_language,
    print_json,
)
from afina.errors import EXIT_NO
from afina.language import _

if TYPE_CHECKING:
    from afina.releases.publish import PublishResult


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        help=_("Show what would leave this machine for the Hugging Face Hub; --yes sends it."),
        epilog=_("Example: afina publish phishing --hub my-org/phishing"),
    )(publish)


def publish(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("A run: a path, NAME or NAME@2."))],
    hub: Annotated[str, typer.Option("--hub", metavar="ORG/NAME", help=_("The repository."))],
    yes: Annotated[
        bool, typer.Option("--yes", help=_("Send it; without it nothing leaves this machine."))
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help=_("Make a public repository; else a private one."))
    ] = False,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help=_("Publish also what is not signed."))
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help=_("Remove other files of the repository."))
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help=_("Under which licence, where the base's is not known: apache-2.0, mit, llama3.1, …"),
        ),
    ] = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Show what would leave this machine for the Hugging Face Hub; --yes sends it."""
    import afina

    check_language(lang)
    result = afina.publish(
        run,
        hub=hub,
        yes=yes,
        public=public,
        unsigned=unsigned,
        replace=replace,
        license=license,
        runs=runs,
        say=Console().say,
    )
    if json:
        print_json(result.as_json())
    else:
        print("\n".join(publish_lines(result)))
    if result.refusals:
        raise typer.Exit(EXIT_NO)


def publish_lines(result: PublishResult) -> list[str]:
    """What a person reads: each file, the card, what stands against it."""
    count, size = len(result.files), bytes_for_people(result.bytes)
    if result.commit is not None:
        text = _("{count} files, {size}, are on the Hub as they were sent: {commit}")
        return [text.format(count=count, size=size, commit=result.commit)]
    kind = _("public") if result.public else _("private")
    text = _("would leave this machine for {repository} ({kind}): {count} files, {size}")
    lines = [text.format(repository=result.repository, kind=kind, count=count, size=size)]
    wide = max(len(one.path) for one in result.files)
    for one in result.files:
        lines.append(f"  {one.path:<{wide}}  {bytes_for_people(one.bytes):>9}  {one.sha256}")
    lines += ["", _("the card, README.md:"), ""]
    lines += [f"  {line}".rstrip() for line in result.card.splitlines()]
    lines += ["", *(_("note: {text}").format(text=text) for text in result.warnings)]
    if result.refusals:
        lines.append(_("it would be refused:"))
        for refusal in result.refusals:
            lines += [f"  - {refusal.what}", f"    {refusal.fix}"]
    else:
        lines.append(_("nothing was sent; add --yes to send it"))
    return lines
