"""Which column plays which role, and what a row must hold to be used."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from afina.errors import DataError
from afina.kinds import in_words
from afina.language import _
from afina.recipe import Columns

NAMES = {
    "text": (
        *("text", "texto", "message", "mensaje", "body", "content", "sms", "email", "document"),
        *("sentence", "code", "request"),
    ),
    "label": (
        *("label", "etiqueta", "class", "clase", "category", "categoria", "categoría", "target"),
        *("type", "tipo"),
    ),
    "prompt": ("prompt", "instruction", "question", "pregunta", "instruccion", "instrucción", "input"),
    "response": ("response", "output", "answer", "completion", "respuesta"),
    "messages": ("messages", "conversations", "conversation", "mensajes"),
}
ROLES_OF_KIND = {"classify": ("text", "label"), "generate": ("prompt", "response"), "text": ("text",)}
EXAMPLES = {
    "classify": '{"text": "Su paquete llega hoy", "label": "legitimate"}',
    "generate": '{"prompt": "¿Qué es un oráculo?", "response": "Un servicio que…"} or '
    '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    "text": '{"text": "…"}',
}
_SHAREGPT = {
    **{"human": "user", "user": "user", "system": "system"},
    **{"gpt": "assistant", "assistant": "assistant"},
}


@dataclass
class Row:
    """One example.

    Attributes:
        id: first 16 hexadecimal digits of the SHA-256 of its content; the same in every run.
        text: the classified text, or the document.
        label: of a classified text, else None.
        messages: of a conversation: role, content, and whether an assistant's message is trained.
        extra: the other columns, as text, numbers or truth values.
        source: the name of the source it came from.
        weight: how often it is seen in an epoch.
        masked: pieces of personal data that a placeholder stands for, by kind.
    """

    text: str = ""
    label: str | None = None
    messages: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    weight: float = 1.0
    id: str = ""
    masked: dict[str, int] = field(default_factory=dict)

    def content(self) -> str:
        """All the text of the row, for comparing rows."""
        if self.messages is not None:
            return "\n".join(str(message["content"]) for message in self.messages)
        return self.text

    def make_id(self) -> str:
        """Sets and returns the id."""
        value = [self.text, self.label, [[m["role"], m["content"]] for m in self.messages or []]]
        self.id = hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]
        return self.id


def find_roles(kind: str, columns: Columns, found: list[str], where: str) -> dict[str, str]:
    """Which column plays which role: as the recipe says, else by its name.

    Raises:
        DataError: when a needed role has no column; names the columns there are.
    """
    lower = {name.lower(): name for name in reversed(found)}
    roles = {}
    for role, names in NAMES.items():
        wanted = getattr(columns, role)
        if wanted is not None:
            if wanted not in found:
                raise DataError(
                    _("there is no column `{column}` (data.columns.{role})").format(
                        column=wanted, role=role
                    ),
                    where=where,
                    fix=_("columns here: {columns}").format(columns=", ".join(found)),
                )
            roles[role] = wanted
        else:
            match = next((lower[name] for name in names if name in lower), None)
            if match is not None:
                roles[role] = match
    if kind == "generate" and "messages" in roles and (columns.messages or "response" not in roles):
        return {"messages": roles["messages"]}
    needed = ROLES_OF_KIND[kind]
    missing = [role for role in needed if role not in roles]
    if missing:
        raise DataError(
            _("no column for {roles} was found").format(roles=", ".join(missing)),
            where=where,
            fix=_(
                "columns here: {columns}. Say which one it is with --set data.columns.{role}=NAME. "
                "A valid row: {example}"
            ).format(columns=", ".join(found), role=missing[0], example=EXAMPLES[kind]),
        )
    chosen = {role: roles[role] for role in needed}
    if (
        columns.prompt is None
        and "input" in lower
        and chosen.get("prompt") == lower.get("instruction", "")
    ):
        chosen["input"] = lower["input"]  # the alpaca form: the instruction, then what it is about
    return chosen


def make_row(kind: str, roles: dict[str, str], raw: dict[str, Any], where: str) -> Row:
    """A row from a raw one. Raises DataError that names the field, what was found and a valid row."""
    row = Row()
    if "messages" in roles:
        row.messages = _messages(raw.get(roles["messages"]), roles["messages"], where)
    elif kind == "generate":
        prompt = _text(raw, roles["prompt"], kind, where)
        if "input" in roles and raw.get(roles["input"]) not in (None, ""):
            prompt = f"{prompt}\n\n{_text(raw, roles['input'], kind, where)}"
        row.messages = [
            {"role": "user", "content": prompt, "train": False},
            {"role": "assistant", "content": _text(raw, roles["response"], kind, where), "train": True},
        ]
    else:
        row.text = _text(raw, roles["text"], kind, where)
    if kind == "classify":
        row.label = _label(raw.get(roles["label"]), roles["label"], where)
    used = set(roles.values())
    others = {name: _scalar(value) for name, value in raw.items() if name not in used}
    row.extra = {name: value for name, value in others.items() if value is not None}
    for name, value in row.extra.items():
        if isinstance(value, str):
            _whole(value, name, where)
    return row


def _scalar(value: Any) -> Any:
    """A value that JSON can hold, dates as text; None for lists, objects, bytes and NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    return value if isinstance(value, str | int) else None


def _whole(value: str, name: str, where: str) -> str:
    """`value`, unless it cannot be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            _("field `{field}` holds half a character (a lone surrogate)").format(field=name),
            where=where,
            fix=_("write the character whole, or take the \\ud800–\\udfff escape out"),
        ) from None
    return value


def _readable(value: str, name: str, where: str) -> str:
    """`value`, unless it is not text that a model can read."""
    if "\0" in value:
        raise DataError(
            _("field `{field}` holds a NUL character: this looks like binary data or UTF-16").format(
                field=name
            ),
            where=where,
            fix=_("save the text as UTF-8, without NUL characters"),
        )
    return _whole(value, name, where)


def _text(raw: dict[str, Any], column: str, kind: str, where: str) -> str:
    value = raw.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            _("field `{field}` must be text; found {found}").format(field=column, found=_found(value)),
            where=where,
            fix=_("a valid row: {example}").format(example=EXAMPLES[kind]),
        )
    return _readable(value, column, where)


def _label(value: Any, column: str, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and value.strip():
        return _readable(value.strip(), column, where)
    raise DataError(
        _("field `{field}` must be a label; found {found}").format(field=column, found=_found(value)),
        where=where,
        fix=_("a valid row: {example}").format(example=EXAMPLES["classify"]),
    )


def _found(value: Any) -> str:
    """The kind and size of what was found: never the text itself, which may be private."""
    if isinstance(value, str):
        size = _("text of {count} characters").format(count=len(value))
        return size if value.strip() else _("empty text")
    return in_words(value)


def _messages(value: Any, column: str, where: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    fix = _("a valid row: {example}").format(example=EXAMPLES["generate"])
    if not isinstance(value, list) or not value:
        raise DataError(
            _("field `{field}` must be a list of messages; found {found}").format(
                field=column, found=_found(value)
            ),
            where=where,
            fix=fix,
        )
    messages = []
    for index, message in enumerate(value):
        place = f"{column}[{index}]"
        messages.append(_message(message, place, where, fix))
    return messages


def _message(message: Any, place: str, where: str, fix: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise DataError(_("`{place}` must be an object").format(place=place), where=where, fix=fix)
    role = message.get("role") or _SHAREGPT.get(str(message.get("from")))
    content = message.get("content") if "content" in message else message.get("value")
    if role not in ("system", "user", "assistant"):
        raise DataError(
            _("`{place}.role` must be system, user or assistant; found {found}").format(
                place=place, found=ascii(role)[:40]
            ),
            where=where,
            fix=fix,
        )
    if not isinstance(content, str) or not content.strip():
        raise DataError(
            _("`{place}.content` must be text; found {found}").format(
                place=place, found=_found(content)
            ),
            where=where,
            fix=fix,
        )
    train = message.get("train", role == "assistant")
    if not isinstance(train, bool) or (train and role != "assistant"):
        raise DataError(
            _("`{place}.train` must be true or false, and true only for the assistant").format(
                place=place
            ),
            where=where,
            fix=fix,
        )
    _readable(content, f"{place}.content", where)
    return {"role": role, "content": content, "train": train}
