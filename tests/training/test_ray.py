"""A Ray Train job on a Ray of this machine: one of its two workers is killed, and it goes on."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
import torch

from afina.errors import AfinaError
from tests.tiny import Tiny, losses, metrics

SETTINGS = (
    "train.patience=null",
    "train.epochs=4",
    "train.checkpoint_steps=3",
    "train.micro_batch_tokens=40",
    "adapter.dropout=0.2",
)
RAY = ("train.distributed.engine=ray", "train.distributed.processes=2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("ray"), llama3_folder, llama3)


def workers() -> list[psutil.Process]:
    """The training processes of the Ray that this test started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("RayTrainWorker" in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.bench
def test_a_job_survives_the_loss_of_a_worker_and_has_the_losses_of_one_process(tiny):
    alone = tiny.run(*SETTINGS, runs="alone")
    flow = tiny.workflow(*SETTINGS, *RAY, runs="lost")
    said: list[str] = []
    killed: list[int] = []

    def say(text: str) -> None:
        said.append(text)
        if not killed and "step 9/" in text:
            one = workers()[-1]
            killed.append(one.pid)
            os.kill(one.pid, signal.SIGKILL)

    flow.run.say = say
    flow.run.lock()
    flow.do("train")
    flow.run.unlock()
    assert killed
    assert any("going on after step" in line for line in said), said
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert [(line["step"], line["split"]) for line in metrics(flow.run)] == [
        (line["step"], line["split"]) for line in metrics(alone)
    ]
    for split in ("train", "validation"):
        torch.testing.assert_close(
            torch.tensor(losses(flow.run, split)),
            torch.tensor(losses(alone, split)),
            rtol=1e-5,
            atol=1e-6,
        )
    assert flow.run.path("release/adapter/adapter_model.safetensors").exists()


def test_an_address_where_no_cluster_is_gives_an_error(tiny):
    with pytest.raises(AfinaError, match="there is no Ray cluster at"):
        tiny.run(*SETTINGS, *RAY, "train.distributed.address=127.0.0.1:1", runs="nowhere")
