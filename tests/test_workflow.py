"""What `everything` does with a report that stands: it is somebody's, and is left as it is."""

from __future__ import annotations

import shutil

import pytest

from afina.language import choose
from afina.workflow import Workflow
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def done(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    tiny = Tiny(tmp_path_factory.mktemp("workflow"), llama3_folder, llama3)
    flow = tiny.workflow("train.epochs=0.2")
    assert flow.everything()
    return tiny


@pytest.fixture
def again(done: Tiny, tmp_path):
    """The workflow of a copy of that finished run, with the report's settings."""
    shutil.copytree(done.runs, tmp_path / "runs")

    def make(**settings) -> Workflow:
        flow = done.workflow("train.epochs=0.2", runs=str(tmp_path / "runs"))
        for name, value in settings.items():
            setattr(flow, name, value)
        return flow

    return make


def page(flow: Workflow) -> str:
    return flow.run.path("report.html").read_text(encoding="utf-8")


def test_a_report_that_was_asked_for_in_another_language_stays(again) -> None:
    assert 'lang="en"' in page(again())
    assert again(language="es").do("report")
    assert not again().everything()
    assert 'lang="es"' in page(again())
    assert again(language="en").everything()
    assert 'lang="en"' in page(again())


def test_the_locale_does_not_write_a_finished_report_again(again) -> None:
    choose("es")
    assert not again().everything()
    assert 'lang="en"' in page(again())


def test_an_unmasked_report_stays_until_results_change(again) -> None:
    assert again(reveal=True).do("report")
    shown = page(again())
    assert not again().everything()
    assert page(again()) == shown


def test_a_report_that_is_gone_is_written_in_the_language_in_use(again) -> None:
    choose("es")
    again().run.path("report.html").unlink()
    assert again().everything()
    assert 'lang="es"' in page(again())
