"""An export of kind ray: settings of Ray Serve and manifests of KServe, with the merged model.

A model that writes is served by Ray Serve LLM, or KServe's Hugging Face runtime, both on vLLM. A model
of labels is served by its own program on either: neither knows a pooled head or label likelihoods.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from afina.exports.handlers import write_served
from afina.exports.vllm import serve_arguments
from afina.inference.settings import InferenceSettings, read_settings
from afina.runs.files import atomic_folder, read_json, write_text
from afina.runs.folder import Run

KSERVE = "0.21.0"  # whose models the manifests were validated with
# Where the folder lies on a cluster's machines; the only line that a person has to change.
PLACE = "/models"
_ENGINE = {"dtype", "max-model-len", "override-generation-config"}


def ray(run: Run, folder: Path, bits: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes the merged model with ray-serve.yaml and kserve.yaml. Returns handler.json's value.

    Raises:
        AfinaError: when the merge or the handler differs from the run's own model.
    """
    settings = read_settings(run.path("release/inference.json"))
    with atomic_folder(folder) as temporary:
        writes = settings.kind != "classify"
        code = () if writes else ("serve_app.py", "kserve_model.py", "Dockerfile")
        serving = _by_vllm if writes else _by_handler

        def add(inside: Path) -> None:
            for name, value in serving(run.name, settings, inside).items():
                write_text(inside / name, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))

        return write_served(run, temporary, "ray", bits, say, code, add)


def _by_vllm(name: str, settings: InferenceSettings, folder: Path) -> dict[str, Any]:
    """ray-serve.yaml and kserve.yaml of a model that writes."""
    positions = int(read_json(folder / "config.json")["max_position_embeddings"])
    arguments = serve_arguments(name, settings, None, positions)
    engine = {key.replace("-", "_"): value for key, value in arguments.items() if key in _ENGINE} | {
        "generation_config": f"{PLACE}/{name}"
    }
    config = {
        "model_loading_config": {"model_id": name, "model_source": f"{PLACE}/{name}"},
        "engine_kwargs": engine,
        "deployment_config": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2}},
    }
    application = {
        "name": name,
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [config]},
    }
    given = [f"--model_name={name}"]
    given += [f"--{key}={arguments[key]}" for key in ("dtype", "max-model-len")]
    model = {
        "modelFormat": {"name": "huggingface"},
        "args": given,
        "storageUri": f"pvc://models/{name}",
        "resources": _resources(gpu=True),
    }
    return {"ray-serve.yaml": _serve(application), "kserve.yaml": _service(name, {"model": model})}


def _by_handler(name: str, settings: InferenceSettings, folder: Path) -> dict[str, Any]:
    """ray-serve.yaml and kserve.yaml of a model of labels."""
    application = {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "serve_app:app",
        "runtime_env": {"env_vars": {"PYTHONPATH": f"{PLACE}/{name}"}},
        "deployments": [{"name": "Released", "num_replicas": 1, "max_ongoing_requests": 8}],
    }
    container = {
        "name": "kserve-container",
        "image": f"REGISTRY/{service_name(name)}:1",  # built from the Dockerfile in this folder
        "args": [f"--model_name={name}"],
        "resources": _resources(gpu=False),
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    predictor = {"containers": [container]}
    return {"ray-serve.yaml": _serve(application), "kserve.yaml": _service(name, predictor)}


def _serve(application: dict[str, Any]) -> dict[str, Any]:
    """A file for `serve run`, which listens on this machine alone."""
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": 8000},
        "logging_config": {"enable_access_log": False},
        "applications": [application],
    }


def _service(name: str, predictor: dict[str, Any]) -> dict[str, Any]:
    """A KServe InferenceService."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service_name(name), "labels": {"app.kubernetes.io/created-by": "afina"}},
        "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 2, **predictor}},
    }


def service_name(name: str) -> str:
    """A name as Kubernetes takes it: RFC 1123, at most 63 characters."""
    found = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    return found or "model"


def _resources(gpu: bool) -> dict[str, Any]:
    limits: dict[str, str] = {"cpu": "4", "memory": "16Gi"}
    if gpu:
        limits["nvidia.com/gpu"] = "1"
    return {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": limits}
