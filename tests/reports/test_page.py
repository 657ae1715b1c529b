"""The page: complete, self-contained, safe, in both languages, and tolerant of missing files."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from afina.data.roles import Row
from afina.reports import write_report
from afina.reports.mistakes import find_mistakes
from afina.runs.files import read_json, write_json
from afina.runs.folder import Run

from . import fake_run
from .conftest import PACKAGE


def page(run: Run, language: str = "en", reveal: bool = False) -> str:
    path = write_report(run, language, reveal)
    assert path == run.path("report.html")
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element's tag and attributes; raises on crossed tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(html)
    assert not parser.open
    return parser.found


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("make", [fake_run.classify_run, fake_run.generate_run, fake_run.make_run])
def test_is_self_contained_and_well_formed(
    tmp_path: Path, spanish: dict[str, str], make, language: str
) -> None:
    html = page(make(tmp_path), language)
    found = elements(html)
    assert not {tag for tag, _attributes in found} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "base",
        "form",
    }
    for _tag, attributes in found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert "url(" not in html
    assert "@import" not in html
    targets = {attributes["id"] for _tag, attributes in found if attributes.get("id")}
    assert {(a["href"] or "")[1:] for tag, a in found if tag == "a"} <= targets
    identifiers = [attributes["id"] for _tag, attributes in found if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))


def test_charts_have_a_text_alternative(tmp_path: Path) -> None:
    html = page(fake_run.classify_run(tmp_path))
    charts = [
        attributes for tag, attributes in elements(html) if tag == "svg" and attributes.get("role")
    ]
    assert len(charts) == 1 + 2 * 4
    for chart in charts:
        title, description = str(chart["aria-labelledby"]).split()
        assert f'<title id="{title}">' in html
        assert re.search(rf'<desc id="{description}">[^<]+</desc>', html)
    assert "Tuned model 0.871, 95% interval 0.801 to 0.921" in html


def test_spanish_page(tmp_path: Path, spanish: dict[str, str]) -> None:
    html = page(fake_run.classify_run(tmp_path), "es")
    assert '<html lang="es">' in html
    assert "El control se aprueba, pero no todo está demostrado" in html
    assert "+0.315" in html  # the decimal point stays
    visible = re.sub(r"<style>.*?</style>", "", html, flags=re.S)
    visible = re.sub(r'<section id="settings">.*', "", visible, flags=re.S)
    for english in (
        "The gate",
        "passes",
        "The tuned",
        "95% interval",
        "higher is",
        "keeps to",
        "bootstrap over",
    ):
        assert english not in visible


def test_every_text_has_its_spanish(spanish: dict[str, str]) -> None:
    texts = []
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert isinstance(node.args[0], ast.Constant), f"{file.name}:{node.lineno}"
                texts.append(node.args[0].value)
    for file in PACKAGE.glob("*.html"):
        source = file.read_text(encoding="utf-8")
        literals = re.findall(r'\bt\("([^"\\]*)"\)', source)
        assert len(literals) == len(re.findall(r"\bt\(", source)), file.name
        texts += literals
    assert [text for text in texts if text not in spanish] == []
    for text in texts:
        fields = sorted(re.findall(r"\{\w+\}", text))
        assert sorted(re.findall(r"\{\w+\}", spanish[text])) == fields, text


def test_five_errors_of_each_kind_the_surest_first(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    found = find_mistakes(run, fake_run.LABELS, "phishing", "en", reveal=False)
    assert [mistakes.set for mistakes in found] == ["test", "sms"]
    for mistakes in found:
        assert [group.kind for group in mistakes.groups] == ["false_positive", "false_negative"]
        for group in mistakes.groups:
            assert group.count == 7
            assert len(group.shown) == 5
            sure = [row.said_probability for row in group.shown]
            assert sure == sorted(sure, reverse=True)
            assert sure[0] == pytest.approx(0.95)
    assert {row.label for row in found[0].groups[0].shown} == {"legitimate"}
    assert {row.label for row in found[0].groups[1].shown} == {"phishing"}
    html = page(run)
    assert html.index("False positives") < html.index("False negatives")
    assert html.count("<blockquote>") == 20


def test_rows_are_masked_unless_asked(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    masked = page(run)
    assert "banco-seguro" not in masked
    assert "[link]" in masked
    assert "The rows are masked" in masked
    shown = page(run, reveal=True)
    assert "ayuda@banco-seguro.example" in shown
    assert "unmasked" in shown
    assert "Recordatorio: la factura" in shown
    longest = max(re.findall(r"<blockquote>(.*?)</blockquote>", shown, flags=re.S), key=len)
    assert len(longest) > 500


def test_what_rows_hold_is_escaped(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)> {{ 7*7 }}'
    rows = [Row(text=f"{evil} {index}", label=fake_run.LABELS[index % 2]) for index in range(20)]
    for row in rows:
        row.make_id()
    fake_run.add_rows(run, "test", rows)
    found = read_json(run.path("train.json"))
    write_json(
        run.path("train.json"), {**found, "samples": [{"step": 0, "prompt": evil, "answer": evil}]}
    )
    for reveal in (False, True):
        html = page(run, reveal=reveal)
        assert "<script" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html
        assert "{{ 7*7 }}" in html
        elements(html)


def test_labels_are_escaped_in_charts_and_tables(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    text = run.path("evaluation.json").read_text(encoding="utf-8")
    text = (
        text.replace('"sms"', '"<b>sms"')
        .replace('"tfidf"', '"<i>model"')
        .replace('"legitimate"', '"<u>legit"')
    )
    run.path("evaluation.json").write_text(text, encoding="utf-8")
    html = page(run)
    for tag in ("<b>sms", "<i>model", "<u>legit"):
        assert tag not in html
    elements(html)


FILES = [
    "run.json", "gate.json", "evaluation.json", "train.json", "metrics.jsonl", "data/audit.json",
    "predictions/test/tuned.parquet", "data/test.parquet", "stages/train.json",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_any_file_may_be_missing(tmp_path: Path, name: str) -> None:
    run = fake_run.classify_run(tmp_path)
    run.path(name).unlink()
    elements(page(run))


def test_nothing_but_the_recipe(tmp_path: Path) -> None:
    run = fake_run.make_run(tmp_path)
    run.path("run.json").unlink()
    html = page(run)
    assert "has not been evaluated yet" in html
    assert "The gate has not been decided yet." in html


def test_null_values_everywhere(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    for name in ("train.json", "data/audit.json"):
        found = read_json(run.path(name))
        write_json(
            run.path(name), {key: value if key == "schema" else None for key, value in found.items()}
        )
    found = read_json(run.path("evaluation.json"))
    for line in found["results"]:
        line.update(value=None, ci95=[None, None], n=None, groups=None, method=None)
    for line in found["comparisons"]:
        line.update(
            difference=None,
            ci95=None,
            p_value=None,
            test=None,
            minimum_detectable=None,
            rows_needed=None,
        )
    write_json(run.path("evaluation.json"), found)
    elements(page(run))


def test_without_baselines(tmp_path: Path) -> None:
    values = {model: fake_run.VALUES[model] for model in ("tuned", "base")}
    assert "No classical baseline was measured" in page(fake_run.classify_run(tmp_path, values))


def test_a_line_cut_short_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    with run.path("metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 103, "spl')
    assert "curve-loss" in page(run)


def test_generate_has_perplexity_and_samples_and_no_confusion(tmp_path: Path) -> None:
    html = page(fake_run.generate_run(tmp_path))
    assert "curve-perplexity" in html
    assert "Respuesta 2, 40" in html
    assert "correo.example" not in html
    assert html.count('<div class="sample">') == 2
    assert 'id="confusion"' not in html


def test_many_labels(tmp_path: Path) -> None:
    run = fake_run.classify_run(tmp_path)
    labels = [f"intent {index}" for index in range(20)]
    found = read_json(run.path("evaluation.json"))
    counts = [
        [8 if row == column else int(column == row + 1) for column in range(20)] for row in range(20)
    ]
    found.update(
        labels=labels, positive=None, confusion=[{"model": "tuned", "set": "test", "counts": counts}]
    )
    write_json(run.path("evaluation.json"), found)
    run.path("predictions/sms/tuned.parquet").unlink()
    said = [labels[(index + (index < 14)) % 20] for index in range(60)]
    columns = {
        "id": [str(index) for index in range(60)],
        "label": [labels[index % 20] for index in range(60)],
        "said": said,
        "probabilities": [[0.5 if name == word else 0.5 / 19 for name in labels] for word in said],
    }
    pq.write_table(pa.table(columns), str(run.path("predictions/test/tuned.parquet")))
    recipe = run.path("recipe.yaml")
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("positive: phishing", "positive: null"),
        encoding="utf-8",
    )
    html = page(run)
    assert "the largest confusions" in html
    assert "The surest errors" in html
    assert html.count("The text of this row is not in the run.") == 10
    assert "False negatives" not in html


def test_refuses_another_language(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="language must be"):
        write_report(fake_run.make_run(tmp_path), "fr")
