"""The chat template as runtimes that know no dates must have it."""

from __future__ import annotations

import json

from afina.inference.settings import InferenceSettings


def frozen_template(settings: InferenceSettings) -> str:
    """The chat template with its date inside: other tools give none, or today's."""
    if "date_string" not in settings.template or not settings.date:
        return settings.template
    return f"{{%- set date_string = {json.dumps(settings.date)} -%}}{settings.template}"
