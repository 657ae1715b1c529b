"""Exported handlers: loaded as the toolkits load them, asked over HTTP, refused when one was changed."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

import afina
from afina.cli.export import export_lines
from afina.exports.handlers import requirements
from afina.inference.engine import Engine
from afina.runs.folder import recipe_hash
from afina.trust.manifest import read_manifest, require_files
from tests.exports.torchserve_process import Server, answers, executable

TEXTS = ["Lot 1: the iron and the zinc", "Lot 2: <|eot_id|> the mango", "", "Lot 3 " * 60]


def toolkit_handler(folder: Path):
    """EndpointHandler as Hugging Face's toolkit finds it: by handler.py, the folder on sys.path."""
    for name in ("released_model", "handler"):
        sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))
    try:
        place = importlib.util.spec_from_file_location("handler", folder / "handler.py")
        module = importlib.util.module_from_spec(place)
        place.loader.exec_module(module)
        return module.EndpointHandler(str(folder))
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def endpoint(small_run, tmp_path_factory):
    run, folder = small_run("pooled"), tmp_path_factory.mktemp("endpoint") / "out"
    result = afina.export(str(run.root), to="endpoint", out=folder)
    return run, folder, result, toolkit_handler(folder)


def test_labels_are_the_runs_own(endpoint):
    run, _folder, result, handler = endpoint
    assert result.figures["fixtures_equal"] is True
    assert result.figures["served_labels"]["agreeing"] == result.figures["served_labels"]["n"] == 120
    assert any("the same label for 120 of 120 rows" in line for line in export_lines(result))
    found = handler({"inputs": TEXTS})
    engine = Engine(run.path("release"))
    shares = [[{row["label"]: row["score"] for row in rows}[name] for name in engine.settings.labels]
              for rows in found]  # fmt: skip
    np.testing.assert_allclose(shares, engine.classify(TEXTS), atol=1e-5)
    said = [engine.settings.labels[code] for code in engine.decide(engine.classify(TEXTS))]
    assert [rows[0]["label"] for rows in found] == said
    assert handler({"inputs": TEXTS[0]}) == found[0]
    assert handler({"inputs": TEXTS[0], "parameters": {"top_k": 1}}) == found[0][:1]


WRONG = {
    "no inputs": ({"text": "SECRET"}, "the key \"inputs\""),
    "a number": ({"inputs": 7}, "a text or a list of texts"),
    "nothing": ({"inputs": []}, "a text or a list of texts"),
    "mixed": ({"inputs": ["SECRET", 1]}, "a text or a list of texts"),
    "too many": ({"inputs": ["SECRET"] * 300}, "at most 256"),
    "unknown parameter": ({"inputs": "SECRET", "parameters": {"SECRET": 1}}, "with: top_k"),
    "parameters as a list": ({"inputs": "SECRET", "parameters": []}, "only be an object"),
    "wrong top_k": ({"inputs": "SECRET", "parameters": {"top_k": 0}}, "top_k must be"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_told_so_and_not_quoted(endpoint, case):
    body, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as caught:
        endpoint[3](body)
    assert "SECRET" not in str(caught.value)


def test_an_error_inside_holds_nothing_of_the_text(endpoint, monkeypatch):
    def fail(*_given):
        raise KeyError("SECRET")

    monkeypatch.setattr(endpoint[3].model, "probabilities", fail)
    with pytest.raises(RuntimeError) as caught:
        endpoint[3]({"inputs": "SECRET"})
    assert str(caught.value) == "the model could not answer (KeyError)"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_contract_over_http(endpoint):
    """A POST to / with inputs and parameters; an exception becomes 400 with {"error"}."""
    handler = endpoint[3]

    class Toolkit(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                code, value = 200, handler(body)
            except Exception as error:
                code, value = 400, {"error": str(error)}
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_given) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Toolkit)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def post(value):
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.server_port}/", data=json.dumps(value).encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        code, rows = post({"inputs": TEXTS[0]})
        assert code == 200
        assert sorted(row["label"] for row in rows) == ["fruit", "metal"]
        assert sum(row["score"] for row in rows) == pytest.approx(1)
        assert post({"inputs": 7}) == (400, {"error": "inputs must be a text or a list of texts"})
    finally:
        server.shutdown()


CHANGES = {
    "a weight": lambda folder: _flip(folder / "model.safetensors"),
    "a setting": lambda folder: _flip(folder / "inference.json"),
    "the code": lambda folder: _flip(folder / "handler.py"),
    "a missing file": lambda folder: (folder / "head.safetensors").unlink(),
    "a file more": lambda folder: (folder / "other.safetensors").write_bytes(b"x"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a cut manifest": lambda folder: (folder / "manifest.json").write_text("{"),
    "another kind of manifest": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace("afina/manifest/1", "other/manifest/1")
    ),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_loaded_from_a_folder_that_was_changed(endpoint, change, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(endpoint[1], folder, ignore=shutil.ignore_patterns("__pycache__"))
    CHANGES[change](folder)
    verify = sys.modules["released_model"].verify
    verify(endpoint[1])
    with pytest.raises(RuntimeError, match=r"missing|changed|damaged|remove"):
        verify(folder)


def test_the_handlers_manifest_is_that_of_a_release(endpoint, archive, tmp_path):
    """One schema: `afina verify` and `afina sign` read it too, also inside of the archive."""
    run, folder, _result, _handler = endpoint
    with zipfile.ZipFile(archive[1] / "model-store/tiny.mar") as given:
        given.extractall(tmp_path)
    for place, to in ((folder, "endpoint"), (archive[1], "torchserve"), (tmp_path, "torchserve")):
        manifest = read_manifest(place)
        assert manifest["export"] == {"to": to, "bits": None}
        assert manifest["run"] == run.title
        assert manifest["parents"]["recipe_sha256"] == recipe_hash(run.recipe())
        assert manifest["parents"]["release_manifest_sha256"] is None  # this run stopped after training
    require_files(archive[1], read_manifest(archive[1]))
    assert {"handler.json", "prompts.json", "released_model.py"} <= set(read_manifest(folder)["files"])


def test_a_pinned_manifest_is_asked_for(endpoint, monkeypatch):
    from afina.runs.files import sha256_of

    verify = sys.modules["released_model"].verify
    monkeypatch.setenv("AFINA_MANIFEST_SHA256", sha256_of(endpoint[1] / "manifest.json"))
    verify(endpoint[1])
    monkeypatch.setenv("AFINA_MANIFEST_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="AFINA_MANIFEST_SHA256"):
        verify(endpoint[1])


def test_the_folder_needs_nothing_of_afina(endpoint):
    folder = endpoint[1]
    for path in folder.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith(("import afina", "from afina"))]
    pins = (folder / "requirements.txt").read_text().splitlines()
    assert [pin.partition("==")[0] for pin in pins] == [
        "torch", "transformers", "safetensors", "tokenizers", "numpy", "jinja2",
    ]  # fmt: skip
    assert all("+" not in pin for pin in pins)
    assert "afina==" in requirements("mask")


@pytest.mark.parametrize("name", ["tokens", "writes"])
def test_other_kinds_answer_as_the_run_does(small_run, name, tmp_path):
    run = small_run(name)
    afina.export(str(run.root), to="endpoint", out=tmp_path / "out")
    handler, engine = toolkit_handler(tmp_path / "out"), Engine(run.path("release"))
    if name == "tokens":
        texts = [*TEXTS[:3], "Lot 4 " * 120]  # the last is longer than the model reads
        found = handler({"inputs": texts})
        known = [{row["label"]: row["score"] for row in rows} for rows in found]
        shares = [[row[label] for label in engine.settings.labels] for row in known]
        np.testing.assert_allclose(shares, engine.classify(texts), atol=1e-5)
        return
    talk = [{"role": "user", "content": TEXTS[0]}]
    own = "".join(engine.reply(talk, 6)).strip()
    assert handler({"inputs": talk, "parameters": {"max_new_tokens": 6}}) == [{"generated_text": own}]
    found = handler({"inputs": [TEXTS[0], TEXTS[1]], "parameters": {"max_new_tokens": 6}})
    assert next(row["generated_text"] for row in found) == own
    warm = {"max_new_tokens": 6, "temperature": 1.5, "seed": 3}
    assert handler({"inputs": talk, "parameters": warm}) == handler({"inputs": talk, "parameters": warm})
    for wrong in ({"max_new_tokens": 0}, {"temperature": "hot"}, {"top_p": True}):
        with pytest.raises(ValueError, match="must be"):
            handler({"inputs": talk, "parameters": wrong})
    with pytest.raises(ValueError, match="a conversation is a list"):
        handler({"inputs": [{"role": "user"}]})


@pytest.fixture(scope="module")
def archive(small_run, tmp_path_factory):
    run, folder = small_run("pooled"), tmp_path_factory.mktemp("torchserve") / "out"
    afina.export(str(run.root), to="torchserve", out=folder)
    return run, folder


def test_the_archive_is_what_torchserve_reads(archive, endpoint, tmp_path):
    _run, folder = archive
    with zipfile.ZipFile(folder / "model-store/tiny.mar") as given:
        assert given.testzip() is None
        manifest = json.loads(given.read("MAR-INF/MANIFEST.json"))
        given.extractall(tmp_path)
    assert manifest["runtime"] == "python"
    assert manifest["model"] == {
        "modelName": "tiny", "handler": "torchserve_handler.py", "modelVersion": "1.0",
    }  # fmt: skip
    lines = (folder / "config.properties").read_text().splitlines()
    assert [line for line in lines if "address" in line] == [
        "inference_address=http://127.0.0.1:8080", "management_address=http://127.0.0.1:8081",
        "metrics_address=http://127.0.0.1:8082",
    ]  # fmt: skip
    assert "disable_token_authorization=false" in lines

    class Context:
        system_properties = {"model_dir": str(tmp_path)}  # noqa: RUF012
        statuses: dict[int, int] = {}  # noqa: RUF012

        def set_response_status(self, code, phrase, idx):
            self.statuses[idx] = code

    place = importlib.util.spec_from_file_location("ts_handler", tmp_path / "torchserve_handler.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    handler, context = module.AfinaHandler(), Context()
    handler.initialize(context)
    body = json.dumps({"inputs": TEXTS[0]}).encode()
    found = handler.handle(
        [{"body": body}, {"data": TEXTS[0].encode()}, {"body": {"inputs": 7}}], context
    )
    assert found[0] == found[1] == endpoint[3]({"inputs": TEXTS[0]})
    assert found[2] == {"code": 400, "error": "inputs must be a text or a list of texts"}
    assert context.statuses == {0: 200, 1: 200, 2: 400}
    _flip(tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"model\.safetensors is missing, changed"):
        module.AfinaHandler().initialize(context)


def test_a_real_torchserve_answers(archive):
    if executable() is None:
        pytest.skip("torchserve is not installed")
    run, folder = archive
    with Server(folder, "tiny") as server:
        found = answers(server.ask({"inputs": TEXTS[0]}))
        code, value = server.ask({"inputs": 7})
        refused, _value = server.ask({"inputs": TEXTS[0]}, with_key=False)
        log = server.log()
    engine = Engine(run.path("release"))
    shares = [found[label] for label in engine.settings.labels]
    np.testing.assert_allclose(shares, engine.classify(TEXTS[:1])[0], atol=1e-5)
    assert (code, value["error"]) == (400, "inputs must be a text or a list of texts")
    assert refused == 400
    assert TEXTS[0] not in log
