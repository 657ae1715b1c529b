"""Names of people by Presidio: with a small spaCy pipeline made here: no trained one is at hand."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from afina.errors import AfinaError, MissingExtra
from afina.personal.masking import make_masker
from afina.personal.names import LONGEST_PART, NameFinder, _parts

needs_presidio = pytest.mark.skipif(
    importlib.util.find_spec("presidio_analyzer") is None, reason="needs presidio-analyzer"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A Spanish pipeline whose entities are a list: it finds what is listed and nothing else."""
    import spacy

    nlp = spacy.blank("es")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "PER", "pattern": "Ana Pérez"},
            {"label": "PER", "pattern": "Luis"},
            {"label": "LOC", "pattern": "Lima"},
        ]
    )
    folder = tmp_path_factory.mktemp("spacy")
    nlp.to_disk(folder)
    return str(folder)


@needs_presidio
def test_names_are_masked_beside_the_patterns(model: str) -> None:
    text = "Ana Pérez (ana@x.example) vive en Lima; Luis llama a Ana Pérez, tel. 5551234567"
    masked, pieces = make_masker(model).text(text)
    assert masked == "[NAME_1] ([EMAIL_1]) vive en Lima; [NAME_2] llama a [NAME_1], tel. [PHONE_1]"
    assert pieces == {"name": 3, "email": 1, "phone": 1}
    assert make_masker(model).text(masked) == (masked, {})


@needs_presidio
def test_a_long_text_is_read_in_parts(model: str) -> None:
    text = "palabra " * (LONGEST_PART // 8 + 10) + "Luis"
    (found,) = NameFinder(model)(text)
    assert text[found.start : found.end] == "Luis"


@needs_presidio
def test_a_model_that_is_not_there_is_named_and_never_downloaded(monkeypatch) -> None:
    import spacy

    monkeypatch.setattr(spacy.cli, "download", lambda *_given: pytest.fail("a download began"))
    with pytest.raises(AfinaError, match="xx_no_such_model is not installed") as told:
        NameFinder("xx_no_such_model")
    assert "spacy download xx_no_such_model" in str(told.value.fix)


def test_without_presidio_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(MissingExtra) as told:
        NameFinder("es_core_news_md")
    assert "afina[names]" in str(told.value.fix)


def test_parts_are_the_text_and_end_between_words() -> None:
    text = "ab cde " * 20_000
    parts = list(_parts(text))
    assert "".join(part for _start, part in parts) == text
    assert all(text[start : start + len(part)] == part for start, part in parts)
    assert all(part.endswith(" ") for _start, part in parts)
    assert "".join(part for _start, part in _parts("x" * 120_000)) == "x" * 120_000
    assert list(_parts("")) == []
