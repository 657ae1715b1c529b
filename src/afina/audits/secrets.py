"""Secrets in texts: keys, tokens and passwords in the forms that their makers document."""

from __future__ import annotations

import re
from collections.abc import Iterator

from afina.personal.finding import Finding

SECRETS: dict[str, re.Pattern[str]] = {
    "private_key": re.compile(
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:.{0,8000}?-----END [A-Z0-9 ]+-----)?",
        re.S,
    ),
    "aws_key": re.compile(r"(?<![A-Za-z0-9/+=])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9/+=])"),
    "github_token": re.compile(r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{50,255})(?!\w)"),
    "gitlab_token": re.compile(r"(?<!\w)glpat-[\w\-]{20,}"),
    "slack_token": re.compile(r"(?<!\w)xox[abeoprs]-[A-Za-z0-9\-]{10,}"),
    "google_key": re.compile(r"(?<!\w)AIza[\w\-]{35}(?![\w\-])"),
    "stripe_key": re.compile(r"(?<!\w)(?:sk|rk)_live_[A-Za-z0-9]{16,}"),
    "openai_key": re.compile(r"(?<!\w)sk-(?:proj-|svcacct-|ant-)?[\w\-]{32,}"),
    "hugging_face_token": re.compile(r"(?<!\w)hf_[A-Za-z]{30,}(?!\w)"),
    "json_web_token": re.compile(r"(?<!\w)eyJ[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]{16,}"),
    "url_password": re.compile(
        r"(?<!\w)[a-z][a-z0-9+.\-]{1,20}://[^\s:/@]{1,64}:[^\s/@]{1,128}@[^\s/@]+"
    ),
    "ethereum_key": re.compile(
        r"(?:(?<=private.key.{3})|(?<=clave.privada.{3})|(?<=PRIVATE_KEY=)|(?<=PRIVATE_KEY=\"))"
        r"(?:0x)?[0-9a-fA-F]{64}(?![0-9a-fA-F])"
    ),
}


def find_secrets(text: str) -> Iterator[Finding]:
    """The secrets of a text; the texts of two kinds may overlap."""
    for kind, form in SECRETS.items():
        for match in form.finditer(text):
            yield Finding(kind, match.start(), match.end())
