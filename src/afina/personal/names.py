"""Names of people, by Presidio with a spaCy model that is installed already; nothing is downloaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from afina.errors import AfinaError, MissingExtra
from afina.language import _
from afina.personal.finding import Finding

KIND = "name"
PERSON = "PERSON"
LONGEST_PART = 50_000  # characters that the model reads at one time; spaCy refuses a million


class NameFinder:
    """Finds the names of people that a spaCy model sees (its labels PER and PERSON).

    Args:
        model: the name of an installed spaCy model, such as es_core_news_md, or a folder with one.
    Raises:
        MissingExtra: without presidio-analyzer or spaCy. AfinaError: without the model.
    """

    def __init__(self, model: str) -> None:
        self._analyzer, self._language = _load(model)

    def __call__(self, text: str) -> list[Finding]:
        """The names of a text, in its order, without overlaps."""
        found: list[Finding] = []
        for start, part in _parts(text):
            for one in self._analyzer.analyze(part, language=self._language, entities=[PERSON]):
                finding = Finding(KIND, start + one.start, start + one.end)
                if all(finding.end <= other.start or other.end <= finding.start for other in found):
                    found.append(finding)
        return sorted(found, key=lambda finding: finding.start)


def _load(model: str) -> tuple[Any, str]:
    """Presidio's analyzer with nothing in it but the model's names, and the model's language."""
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NlpEngineProvider
        from presidio_analyzer.predefined_recognizers import SpacyRecognizer
    except ImportError:
        raise MissingExtra(
            _("names of people are found by presidio-analyzer, which is not installed"),
            fix=_("pip install 'afina[names]', and a spaCy model such as es_core_news_md"),
        ) from None
    # Presidio would download a model that is not there.
    if not spacy.util.is_package(model) and not (Path(model) / "meta.json").is_file():
        raise AfinaError(
            _("the spaCy model {model} is not installed").format(model=model),
            fix=_(
                "install it where there is a network: python -m spacy download {model}; or give a "
                "folder with a model"
            ).format(model=model),
        )
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    language = str(spacy.info(model, silent=True)["lang"])
    engine = NlpEngineProvider(
        nlp_configuration={
            "nlp_engine_name": "spacy",
            "models": [{"lang_code": language, "model_name": model}],
        }
    ).create_engine()
    names = SpacyRecognizer(supported_language=language, supported_entities=[PERSON])
    registry = RecognizerRegistry(recognizers=[names], supported_languages=[language])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])
    return analyzer, language


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """A long text in parts that end between words, each with its place."""
    start = 0
    while start < len(text):
        end = start + LONGEST_PART
        if end < len(text):
            gap = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = gap + 1 if gap > start else end
        yield start, text[start:end]
        start = end
