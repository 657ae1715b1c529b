"""Wrong use of the command line: one message, the nearest name, in the language in use."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("rnu",),
            "error: there is no command `rnu`\n  what to do: did you mean `run`? see `afina --help`",
        ),
        (("run",), "error: `RECIPE-or-RUN` is missing\n  what to do: see `afina run --help`"),
        (("run", "r.yaml", "--jsn"), "there is no option `--jsn`\n  what to do: did you mean `--json`?"),
        (("run", "r.yaml", "--runs"), "error: `--runs` needs a value"),
        (("run", "a", "b"), "error: there is too much on the command line: b"),
        (("runs", "list", "--lang", "xx"), "error: --lang: choose en or es"),
        (("run", ""), "error: `recipe` must be a path or the name of a run; it is empty"),
        ((), "error: no command was given"),
    ],
)
def test_one_message_says_what_and_where_to_look(fresh, arguments, said) -> None:
    answer = fresh.inside(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("error: ") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "error: no existe el comando `nosuch`\n  qué hacer: mira `afina --help`"),
        (("run",), "error: falta `RECETA-o-EJECUCIÓN`"),
        (("run", "--help"), "Muestra esta página."),
        (("run", "--help"), "Opciones"),
        (("--help",), "Imprime el script de autocompletado"),
    ],
)
def test_the_same_in_spanish(fresh, arguments, said) -> None:
    answer = fresh.inside("--lang", "es", *arguments)
    text = " ".join((answer.out + answer.err).split(" "))
    assert " ".join(said.split()) in " ".join(text.split())


def test_a_wrong_use_is_one_json_value_too(fresh) -> None:
    value = fresh.inside("runs", "lst", "--json").json()
    assert value["what"] == "there is no command `lst`"
    assert (value["fix"], value["exit_code"]) == ("did you mean `list`? see `afina runs --help`", 2)


def test_help_has_its_short_form(fresh) -> None:
    answer = fresh.inside("run", "-h")
    assert answer.code == 0
    assert "-h" in answer.out.split("--help")[1]
