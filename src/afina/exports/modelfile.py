"""Ollama's Modelfile: the run's chat template in Go's template language, stop texts, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afina.errors import AfinaError, BaseModelError
from afina.inference.settings import InferenceSettings
from afina.language import _
from afina.models.tokenizer import Tokens

# Texts that stand for contents while the template's own parts are read off.
_MARKS = ("Q1q", "A1a", "Q2q", "S1s")
Turn = tuple[str, str]


@dataclass(frozen=True)
class Parts:
    """A chat template taken apart: what it writes around each content.

    Attributes:
        opening: before the first turn when there is no system message.
        system, user, assistant: (before, after) of a message; answer: what opens the answer.
    """

    opening: str
    system: Turn | None
    user: Turn
    assistant: Turn
    answer: str

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The conversation that the assistant is to answer, put together again."""
        text = "" if messages and messages[0]["role"] == "system" else self.opening
        for message in messages:
            before, after = self._of(message["role"])
            text += before + message["content"] + after
        return text + self.answer

    def _of(self, role: str) -> Turn:
        if role == "system":
            assert self.system is not None
            return self.system
        return self.user if role == "user" else self.assistant


def parts_of_template(tokens: Tokens) -> Parts | None:
    """A template's parts; None when it does more than write something around each content."""
    question, reply, second, system = _MARKS
    talk = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": reply},
        {"role": "user", "content": second},
    ]
    once = tokens.render(talk[:1])
    whole = tokens.render(talk, answer_follows=True)
    try:
        opening_user, after_user = once.split(question)
        first, rest = whole.split(reply)
        before_reply = first.split(question)[1].removeprefix(after_user)
        middle, ending = rest.split(second)
    except ValueError:
        return None
    # An answer mostly ends as a question does; only where that does not fit are other cuts tried.
    likely = len(after_user) if middle.startswith(after_user) else 0
    for cut in dict.fromkeys([likely, *range(len(middle) + 1)]):
        after_reply, before_user = middle[:cut], middle[cut:]
        if not opening_user.endswith(before_user) or not ending.startswith(after_user):
            continue
        opening = opening_user[: len(opening_user) - len(before_user)]
        found = Parts(
            opening,
            _system_of(tokens, before_user, system, question),
            (before_user, after_user),
            (before_reply, after_reply),
            ending[len(after_user) :],
        )
        if _is_whole(tokens, found):
            return found
    return None


def _system_of(tokens: Tokens, before_user: str, system: str, question: str) -> Turn | None:
    """What is written around a system message; None when the template has no place for one."""
    try:
        text = tokens.render(
            [{"role": "system", "content": system}, {"role": "user", "content": question}]
        )
        before, rest = text.split(system)
        after = rest.split(question)[0]
    except (BaseModelError, ValueError):
        return None
    return (before, after.removesuffix(before_user)) if after.endswith(before_user) else None


def _is_whole(tokens: Tokens, parts: Parts) -> bool:
    """Whether the parts put together are what the template writes, for conversations of other texts."""
    talks = [
        [{"role": "user", "content": "one"}],
        [
            {"role": "user", "content": "uno"},
            {"role": "assistant", "content": "dos\ntres"},
            {"role": "user", "content": "4"},
            {"role": "assistant", "content": "five"},
            {"role": "user", "content": "six"},
        ],
    ]
    if parts.system is not None:
        talks += [[{"role": "system", "content": "be brief"}, *talk] for talk in talks]
    return all(parts.render(talk) == tokens.render(talk, answer_follows=True) for talk in talks)


def go_template(parts: Parts, begin: str, wrap: str = "") -> str:
    """The parts in Ollama's template language.

    Args:
        begin: the begin token's text, which Ollama's runner writes itself. wrap: put before each of the
            user's contents, for a model that answers one question about every text.
    """
    opening = parts.opening.removeprefix(begin)
    lines = "{{- if .Messages }}"
    if parts.system is not None:
        before, after = parts.system
        lines += (
            '{{- if eq (index .Messages 0).Role "system" }}{{- else }}' + _go(opening) + "{{- end }}"
        )
        lines += '{{- range .Messages }}{{- if eq .Role "system" }}'
        lines += _go(before.removeprefix(begin)) + "{{ .Content }}" + _go(after)
        lines += '{{- else if eq .Role "user" }}'
    else:
        lines += _go(opening) + '{{- range .Messages }}{{- if eq .Role "user" }}'
    lines += _go(parts.user[0]) + _go(wrap) + "{{ .Content }}" + _go(parts.user[1])
    lines += '{{- else if eq .Role "assistant" }}'
    lines += _go(parts.assistant[0]) + "{{ .Content }}" + _go(parts.assistant[1])
    return lines + "{{- end }}{{- end }}" + _go(parts.answer) + "{{- end }}"


def _go(text: str) -> str:
    """A text as an action of Go's templates, so that no space of it is trimmed."""
    if not text:
        return ""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '{{ "' + quoted.replace("\r", "\\r") + '" }}'


def modelfile(settings: InferenceSettings, tokens: Tokens, file: str) -> str:
    """The Modelfile of a model that answers.

    Raises:
        AfinaError: when the chat template has no form in Ollama's language.
    """
    if settings.kind == "text":  # it goes on with a text; nothing is written around it
        return "\n".join(
            [f"FROM ./{file}", 'TEMPLATE """{{ .Prompt }}"""', *_parameters(settings, tokens)]
        )
    parts = parts_of_template(tokens)
    if parts is None:
        raise AfinaError(
            _("this base's chat template has no form in Ollama's template language"),
            fix=_("use --to merged, or serve the model with another tool"),
        )
    begin = "" if tokens.bos is None else str(tokens.tokenizer.convert_ids_to_tokens(tokens.bos))
    classifies = settings.kind == "classify"
    wrap = f"{settings.instruction}\n\n" if classifies else ""
    lines = [f"FROM ./{file}", f'TEMPLATE """{go_template(parts, begin, wrap)}"""']
    if settings.kind == "generate" and settings.instruction:
        lines.append(f'SYSTEM """{settings.instruction}"""')
    return "\n".join([*lines, *_parameters(settings, tokens)])


def _parameters(settings: InferenceSettings, tokens: Tokens) -> list[str]:
    lines = []
    for number in settings.generation["eos_token_ids"]:
        stop = str(tokens.tokenizer.convert_ids_to_tokens(number))
        lines.append(f"PARAMETER stop {_quoted(stop)}")
    longest = settings.generation["max_new_tokens"]
    if settings.kind == "classify":
        longest = 1 + max(len(tokens.encode(label)) for label in settings.labels)
    return [
        *lines,
        f"PARAMETER temperature {settings.generation['temperature']:g}",
        f"PARAMETER num_predict {longest}",
        f"PARAMETER num_ctx {max(512, settings.max_length + longest)}",
        "",
    ]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
