"""`afina registry …`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from afina.cli.common import Console, JsonOption, LangOption, RunsOption, check_language, print_json
from afina.language import _

if TYPE_CHECKING:
    from afina.registry.promotion import Promotion

app = typer.Typer(
    help=_("Register releases, promote one to champion, go back to the one before."),
    no_args_is_help=True,
)

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="local|URI",
        help=_("The registry; without it $AFINA_REGISTRY, else the one beside the runs."),
    ),
]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help=_("The reason, for the journal."))]
Chosen = Annotated[
    str,
    typer.Argument(
        metavar="RUN-or-VERSION", help=_("A run, or a version: NAME@v3, NAME@champion, NAME@candidate.")
    ),
]


@app.command(
    help=_("Register the finished release of a run as a new version, the candidate."),
    epilog=_("Example: afina registry add phishing@2 --why 'more rows of August'"),
)
def add(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("A run: a path, NAME or NAME@2."))],
    why: WhyOption = "",
    registry: RegistryOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Register the finished release of a run as a new version, the candidate."""
    from afina import registry_api

    check_language(lang)
    version = registry_api.register(run, why=why, runs=runs, registry=registry, say=Console().say)
    if json:
        print_json(version.as_json())
        return
    line = _("{title} is the release of {run}").format(title=version.title, run=version.run)
    print(f"{line} ({', '.join(version.aliases)})" if version.aliases else line)
    print(_("next: afina registry promote {title}").format(title=version.title))


@app.command(
    "list",
    help=_("List the registered versions with their aliases, the gate's word and the main figure."),
    epilog=_("Example: afina registry list"),
)
def list_(
    registry: RegistryOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """List the registered versions with their aliases, the gate's word and the main figure."""
    from afina import registry_api
    from afina.cli.registry_lines import list_lines

    check_language(lang)
    found = registry_api.registered(runs=runs, registry=registry)
    if json:
        print_json([one.as_json() for one in found])
        return
    for line in list_lines(found):
        print(line)


@app.command(
    help=_("Show a model's versions and its journal, or one version: parents, gate, figures."),
    epilog=_("Example: afina registry show phishing@champion"),
)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@ALIAS]",
            help=_("NAME, NAME@v3, NAME@champion, NAME@candidate, NAME@previous."),
        ),
    ],
    registry: RegistryOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Show a model's versions and its journal, or one version: parents, gate, figures."""
    from afina import registry_api
    from afina.cli.registry_lines import model_lines, version_lines
    from afina.registry.version import standing

    check_language(lang)
    if "@" in name:
        version = registry_api.registered_version(name, runs=runs, registry=registry)
        if json:
            print_json({**version.as_json(), "standing": standing(version)})
            return
        lines = version_lines(version, standing(version))
    else:
        found = registry_api.registered(name, runs=runs, registry=registry)[0]
        if json:
            print_json(found.as_json())
            return
        lines = model_lines(found)
    for line in lines:
        print(line)


@app.command(
    help=_("Compare two releases: paired figures where both answered the same test rows."),
    epilog=_("Example: afina registry compare phishing@candidate phishing@champion"),
)
def compare(
    a: Chosen,
    b: Chosen,
    registry: RegistryOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Compare two releases: paired figures where both answered the same test rows."""
    from afina import registry_api
    from afina.cli.registry_lines import comparison_lines

    check_language(lang)
    found = registry_api.compare_registered(a, b, runs=runs, registry=registry, say=Console().say)
    if json:
        print_json(found.as_json())
        return
    for line in comparison_lines(found):
        print(line)


@app.command(
    help=_(
        "Make a release the champion, if the gate and its hashes say yes; exit code 1 when they do not."
    ),
    epilog=_("Example: afina registry promote phishing@candidate --why 'fewer false alarms'"),
)
def promote(
    name: Chosen,
    to: Annotated[
        str, typer.Option("--to", metavar="ALIAS", help=_("champion or candidate."))
    ] = "champion",
    why: WhyOption = "",
    require_signature: Annotated[
        bool,
        typer.Option("--require-signature", help=_("Refuse a release that nobody trusted has signed.")),
    ] = False,
    registry: RegistryOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make a release the champion, if the gate and its hashes say yes; exit code 1 when they do not."""
    from afina import registry_api

    check_language(lang)
    _print_promotion(
        registry_api.promote(
            name,
            to=to,
            why=why,
            require_signature=require_signature,
            runs=runs,
            registry=registry,
            say=Console().say,
        ),
        json,
    )


@app.command(
    help=_("Make the previous version the champion again."),
    epilog=_("Example: afina registry rollback phishing --why 'too many complaints'"),
)
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help=_("A registered model."))],
    why: WhyOption = "",
    registry: RegistryOption = None,
    runs: RunsOption = "runs",
    json: JsonOption = False,
    lang: LangOption = None,
) -> None:
    """Make the previous version the champion again."""
    from afina import registry_api

    check_language(lang)
    done = registry_api.rollback(name, why=why, runs=runs, registry=registry, say=Console().say)
    _print_promotion(done, json)


def _print_promotion(done: Promotion, json: bool) -> None:
    from afina.cli.registry_lines import promotion_lines

    if json:
        value: dict[str, Any] = done.as_json()
        print_json(value)
        return
    for line in promotion_lines(done):
        print(line)
