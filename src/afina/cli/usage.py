"""What click and typer say by themselves, as Afina says it: one message, in the language in use."""

from __future__ import annotations

from typing import Any

from afina.errors import AfinaError
from afina.language import _


def usage_error(error: Any) -> AfinaError:
    """A click.ClickException (a wrong option, argument or command) as an error of Afina's."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "afina"
    fix = _("see `{command} --help`").format(command=path)
    near = _nearest(error, context)
    if near:
        fix = _("did you mean `{name}`?").format(name=near) + " " + fix
    return AfinaError(_in_words(error), fix=fix)


def _in_words(error: Any) -> str:
    import click

    if isinstance(error, click.NoSuchOption):
        return _("there is no option `{name}`").format(name=error.option_name)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        name = error.param.metavar or error.param.human_readable_name
        return _("`{name}` is missing").format(name=name)
    if isinstance(error, click.BadParameter):
        hint = error.param_hint or (error.param.opts[0] if error.param is not None else "")
        return f"{hint}: {error.message}" if hint else str(error.message)
    if isinstance(error, click.BadOptionUsage):
        return _("`{name}` needs a value").format(name=error.option_name)
    command = _command_of(error)
    if command is not None:
        return _("there is no command `{name}`").format(name=command)
    sentence = str(error.format_message())
    if sentence == "Missing command.":
        return _("no command was given")
    if sentence.startswith("Got unexpected extra argument"):
        return _("there is too much on the command line: {rest}").format(
            rest=sentence.partition("(")[2].rstrip(").")
        )
    return sentence


def _command_of(error: Any) -> str | None:
    """The command that there is not. Click before 8.4 names it in its sentence only."""
    name = getattr(error, "command_name", None)
    sentence = error.format_message()
    if name is None and sentence.startswith("No such command '"):
        name = sentence.partition("'")[2].partition("'")[0]
    return None if name is None else str(name)


def _nearest(error: Any, context: Any) -> str | None:
    """The name that was probably meant."""
    import difflib

    import click

    if isinstance(error, click.NoSuchOption):
        wrong: str | None = error.option_name
        names: list[str] = []
        if context is not None:
            names = [name for param in context.command.params for name in param.opts]
    else:
        wrong = _command_of(error)
        names = list(getattr(getattr(context, "command", None), "commands", {}))
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6) if wrong else []
    return near[0] if near else None


def _metavars() -> dict[str, str]:
    """What stands for a value in help pages."""
    return {
        "COMMAND [ARGS]...": _("COMMAND [ARGS]..."),
        "[OPTIONS]": _("[OPTIONS]"),
        "RECIPE-or-RUN": _("RECIPE-or-RUN"),
        "SOURCE-or-RECIPE": _("SOURCE-or-RECIPE"),
        "FOLDER-or-URI": _("FOLDER-or-URI"),
        "FIELD=VALUE": _("FIELD=VALUE"),
        "FOLDER": _("FOLDER"),
        "FILE": _("FILE"),
        "FIELD": _("FIELD"),
        "KIND": _("KIND"),
        "RECIPE": _("RECIPE"),
        "SOURCE": _("SOURCE"),
        "RUN RUN…": _("RUN RUN…"),
        "RUN": _("RUN"),
        "NAME": _("NAME"),
        "MODEL": _("MODEL"),
    }


def _context() -> Any:
    """click's context whose help pages begin with "Usage:" in the language in use."""
    import click

    class Formatter(click.HelpFormatter):
        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            super().write_usage(prog, args, prefix or _("Usage:") + " ")

    class Context(click.Context):
        formatter_class = Formatter

    return Context


def translate_help(command: Any) -> None:
    """Puts what typer itself writes into the help pages into the language in use."""
    import click
    from typer import rich_utils

    metavars, context = _metavars(), _context()

    rich_utils.ARGUMENTS_PANEL_TITLE = _("Arguments")
    rich_utils.OPTIONS_PANEL_TITLE = _("Options")
    rich_utils.COMMANDS_PANEL_TITLE = _("Commands")
    rich_utils.REQUIRED_LONG_STRING = _("[required]")
    rich_utils.DEFAULT_STRING = _("[default: {}]")
    own = {
        "install_completion": _("Install completion for this shell."),
        "show_completion": _("Print the completion script, to copy or change it."),
    }
    names, pending = command.context_settings["help_option_names"], [command]
    while pending:
        one = pending.pop()
        one.context_class = context
        one.options_metavar = metavars.get(one.options_metavar, one.options_metavar)
        if hasattr(one, "subcommand_metavar"):
            one.subcommand_metavar = metavars.get(one.subcommand_metavar, one.subcommand_metavar)
        pending += getattr(one, "commands", {}).values()
        for option in (*one.params, one.get_help_option(click.Context(one, help_option_names=names))):
            if option is not None and option.metavar in metavars:
                option.metavar = metavars[option.metavar]
            if option is not None and option.name in own:
                option.help = own[option.name]
            elif option is not None and option.name == "help":
                option.help = _("Show this page.")
