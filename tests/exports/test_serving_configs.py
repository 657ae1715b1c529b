"""Files for vLLM, Ray Serve and KServe: only names that those tools know; the same model and ids."""

from __future__ import annotations

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml

import afina
from afina.exports.ray import service_name
from afina.exports.vllm import RANKS, adapter_rank
from afina.inference.engine import Engine
from afina.inference.settings import read_settings

SCHEMAS = Path(__file__).parent / "schemas"


def vllm_names() -> set[str]:
    lines = (SCHEMAS / "vllm_arguments.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if not line.startswith("#")}


def test_an_adapter_beside_its_base(small_run, tmp_path):
    run = small_run("writes")
    result = afina.export(str(run.root), to="vllm", out=tmp_path / "out")
    assert result.figures["top1"]["share"] == 1.0
    assert result.figures["prompts"] == 120
    value = yaml.safe_load((tmp_path / "out/vllm.yaml").read_text())
    assert set(value) <= vllm_names()
    assert value["host"] == "127.0.0.1"
    assert value["lora-modules"] == ["tiny=adapter"]
    assert value["max-lora-rank"] == 8  # the smallest of vLLM's that holds rank 4
    assert value["model"] == "base"
    assert value["override-generation-config"]["temperature"] == 0.0
    config = json.loads((tmp_path / "out/adapter/adapter_config.json").read_text())
    assert (config["r"], config["use_dora"]) == (4, False)
    ends = json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"]
    assert ends == sorted(Engine(run.path("release")).tokens.ends)
    for name in ("base/model.safetensors", "adapter/adapter_model.safetensors", "chat_template.jinja"):
        assert (tmp_path / "out" / name).exists()


def test_what_vllm_cannot_load_as_an_adapter_is_merged(small_run, tmp_path):
    release = small_run("writes").path("release")
    settings = read_settings(release / "inference.json")
    assert adapter_rank(release, settings) == 4
    assert adapter_rank(small_run("pooled").path("release"), read_settings(
        small_run("pooled").path("release/inference.json"))) is None  # fmt: skip
    copy = tmp_path / "release/adapter"
    copy.mkdir(parents=True)
    known = json.loads((release / "adapter/adapter_config.json").read_text())
    for change in ({"use_dora": True}, {"r": RANKS[-1] + 1}, {"modules_to_save": ["lm_head"]}):
        (copy / "adapter_config.json").write_text(json.dumps({**known, **change}))
        assert adapter_rank(tmp_path / "release", settings) is None


def test_a_pooled_head_reads_the_mean_states_that_vllm_serves(small_run, tmp_path):
    """The example speaks /v1/embeddings with token ids; here the exported model makes the means."""
    from transformers import AutoModelForCausalLM

    run, folder = small_run("pooled"), tmp_path / "out"
    afina.export(str(run.root), to="vllm", out=folder)
    value = yaml.safe_load((folder / "vllm.yaml").read_text())
    assert set(value) <= vllm_names()
    assert (value["runner"], value["convert"]) == ("pooling", "embed")
    assert value["pooler-config"] == {"seq_pooling_type": "MEAN", "use_activation": False}
    assert "enable-lora" not in value
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)

    class VLLM(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert (self.path, body["model"]) == ("/v1/embeddings", "tiny")
            with torch.no_grad():
                means = [model.model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0).tolist()
                         for ids in body["input"]]  # fmt: skip
            rows = [{"index": place, "embedding": mean} for place, mean in enumerate(means)]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"data": rows[::-1]}).encode())

        def log_message(self, *_given) -> None:
            pass

    place = importlib.util.spec_from_file_location("classify_vllm", folder / "classify.py")
    example = importlib.util.module_from_spec(place)
    place.loader.exec_module(example)
    example.verify(folder)
    server = HTTPServer(("127.0.0.1", 0), VLLM)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        classifier = example.Classifier(folder, f"http://127.0.0.1:{server.server_port}")
        for one in json.loads((folder / "prompts.json").read_text())["texts"]:
            assert classifier.encode(one["text"]) == one["ids"]
        texts = ["Lot 1: the iron and the zinc", "Lot 2: <|eot_id|> the mango", ""]
        found = [list(row.values()) for row in classifier.classify(texts)]
    finally:
        server.shutdown()
    np.testing.assert_allclose(found, Engine(run.path("release")).classify(texts), atol=1e-5)


@pytest.mark.parametrize("name", ["tokens", "writes"])
def test_ray_and_kserve_know_every_key(small_run, name, tmp_path):
    afina.export(str(small_run(name).root), to="ray", out=tmp_path / "out")
    serve = yaml.safe_load((tmp_path / "out/ray-serve.yaml").read_text())
    jsonschema.validate(serve, json.loads((SCHEMAS / "ray_serve.json").read_text()))
    application = serve["applications"][0]
    assert serve["http_options"]["host"] == "127.0.0.1"
    if name == "writes":
        assert application["import_path"] == "ray.serve.llm:build_openai_app"
        (config,) = application["args"]["llm_configs"]
        jsonschema.validate(config, json.loads((SCHEMAS / "ray_llm.json").read_text()))
        assert {key.replace("_", "-") for key in config["engine_kwargs"]} <= vllm_names()
    else:
        assert application["import_path"] == "serve_app:app"
        assert (tmp_path / "out/serve_app.py").exists()
    service = yaml.safe_load((tmp_path / "out/kserve.yaml").read_text())
    known = json.loads((SCHEMAS / "kserve_fields.json").read_text())
    _known_keys(service, "V1beta1InferenceService", known)
    assert service["metadata"]["name"] == "tiny"


def _known_keys(value: dict, kind: str, known: dict) -> None:
    """Every key of a manifest is one that KServe's own model of it has."""
    assert set(value) <= set(known[kind]), kind
    for key, inside in value.items():
        if known[kind][key] in known and isinstance(inside, dict):
            _known_keys(inside, known[kind][key], known)


def test_names_for_kubernetes():
    assert service_name("Phishing LATAM_2.5") == "phishing-latam-2-5"
    assert service_name("é!") == "model"
    assert len(service_name("a" * 200)) == 63
