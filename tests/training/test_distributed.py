"""Several processes train as one does: same losses, and going on gives the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from afina.errors import AfinaError, RecipeError, Stopped
from afina.training.checkpoint import newest_checkpoint
from afina.training.distributed.fsdp import own_part
from afina.workflow import Workflow
from tests.tiny import Tiny, adapter_hash, losses, metrics, value

# Twelve steps of three or four micro-batches; dropout, so that masks must be the same ones.
SETTINGS = (
    "train.patience=null",
    "train.checkpoint_steps=2",
    "train.micro_batch_tokens=40",
    "adapter.dropout=0.2",
)
ENGINES = {
    "ddp": ("train.distributed.engine=ddp",),
    "zero2": ("train.distributed.engine=deepspeed",),
    "zero3": ("train.distributed.engine=deepspeed", "train.distributed.stage=3"),
    "fsdp": ("train.distributed.engine=fsdp",),
}
TWO = ("train.distributed.processes=2",)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, llama3_folder, llama3) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("distributed"), llama3_folder, llama3)


@pytest.fixture(scope="module")
def alone(tiny):
    """What one process makes of it."""
    return tiny.run(*SETTINGS, runs="alone")


@pytest.fixture(scope="module")
def alone_plain(tiny):
    """The same by transformers' own layers, as where the base is divided: other dropout masks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("afina.models.fast_decoder.covers", lambda _decoder: False)
        return tiny.run(*SETTINGS, runs="alone-plain")


def prepared(tiny: Tiny, alone, *overrides: str, runs: str) -> Workflow:
    """A run up to where its processes would be started: rows and probe are there."""
    flow = tiny.workflow(*SETTINGS, *overrides, runs=runs)
    flow.do("data")
    for name in ("probe.json", "head.safetensors", "start.safetensors"):
        target = flow.run.path("probe") / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((alone.path("probe") / name).read_bytes())
    known = alone.resolved()
    flow.run.resolve(**{name.replace(".", "__"): value for name, value in known.items()})
    return flow


def in_processes(folder: Path, jobs: list[dict], processes: int = 2) -> None:
    """Runs tests/training/distributed_programs.py in as many processes."""
    folder.mkdir(parents=True, exist_ok=True)
    meeting = f"file://{folder}/meeting"
    (folder / "jobs.json").write_text(json.dumps([{**job, "method": meeting} for job in jobs]))
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.distributed_programs", str(folder / "jobs.json")],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            },
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, "\n".join(said)[-6000:]


def job(flow: Workflow, *stop_at: int, to_the_end: bool = True) -> dict:
    run = flow.run
    return {
        "run": str(run.root),
        "name": run.name,
        "number": run.number,
        "base": flow.base.as_json(),
        "stop_at": stop_at,
        "to_the_end": to_the_end,
    }


@pytest.fixture(scope="module")
def runs(tiny, alone, tmp_path_factory) -> dict[str, Workflow]:
    """Each engine's run, and the same again with two stops on its way."""
    flows = {}
    for name, overrides in ENGINES.items():
        flows[name] = prepared(tiny, alone, *overrides, *TWO, runs=name)
        flows[f"{name}, stopped"] = prepared(tiny, alone, *overrides, *TWO, runs=f"{name}-stopped")
    jobs = [job(flow, *((0, 5) if "stopped" in name else ())) for name, flow in flows.items()]
    in_processes(tmp_path_factory.mktemp("processes"), jobs)
    return flows


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_have_the_losses_of_one(runs, alone, alone_plain, engine):
    run = runs[engine].run
    if engine in ("zero3", "fsdp"):
        alone = alone_plain
    assert [(line["step"], line["split"]) for line in metrics(run)] == [
        (line["step"], line["split"]) for line in metrics(alone)
    ]
    for split in ("train", "validation"):
        torch.testing.assert_close(
            torch.tensor(losses(run, split)), torch.tensor(losses(alone, split)), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_going_on_after_the_processes_ended_gives_the_same_bits(runs, engine):
    whole, stopped = runs[engine].run, runs[f"{engine}, stopped"].run
    assert metrics(whole) == metrics(stopped)
    one, other = (newest_checkpoint(run.path("checkpoints")) for run in (whole, stopped))
    assert one is not None
    assert other is not None
    names = sorted(path.name for path in one.iterdir())
    assert names == [
        "rank-0-of-2.safetensors",
        "rank-1-of-2.safetensors",
        "state.json",
        "trained.safetensors",
    ]
    for name in names:
        if name.endswith(".safetensors"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    best = [(run.path("checkpoints/best/trained.safetensors")).read_bytes() for run in (whole, stopped)]
    assert best[0] == best[1]


@pytest.mark.parametrize("engine", ["zero2", "zero3", "fsdp"])
def test_the_optimizers_state_is_divided(runs, engine):
    folder = newest_checkpoint(runs[engine].run.path("checkpoints"))
    assert folder is not None
    trained = load_file(folder / "trained.safetensors")
    adapter = sum(tensor.numel() for name, tensor in trained.items() if not name.startswith("head."))
    shares = []
    for rank in range(2):
        shard = load_file(folder / f"rank-{rank}-of-2.safetensors")
        shares.append(
            sum(
                v.numel()
                for k, v in shard.items()
                if k.endswith("exp_avg") and not k.startswith("head.")
            )
        )
    assert adapter <= sum(shares) < 1.05 * adapter + 64  # DeepSpeed pads its flat parts
    assert max(shares) < 0.6 * adapter + 64


def test_the_stage_takes_what_the_processes_trained(runs, tiny, alone):
    """The release is made by the process that started the others."""
    flow = runs["ddp"]
    trainer = tiny.run(*SETTINGS, *ENGINES["ddp"], *TWO, runs="ddp")
    assert trainer.number == flow.run.number
    kept, reference = (value(run, "train.json") for run in (trainer, alone))
    for name in ("steps", "best_step", "tokens", "trained_parameters"):
        assert kept[name] == reference[name]
    assert kept["best_loss"] == pytest.approx(reference["best_loss"], rel=1e-5)
    one, other = (
        load_file(run.path("release/adapter/adapter_model.safetensors")) for run in (trainer, alone)
    )
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)
    assert not trainer.path("checkpoints").exists()


def test_a_killed_process_is_named_and_the_run_goes_on_to_the_same_bits(tiny, alone):
    settings = (*SETTINGS, *ENGINES["ddp"], *TWO, "train.epochs=6")
    reference = tiny.run(*settings, "train.distributed.restarts=0", runs="unkilled")
    flow = tiny.workflow(*settings, "train.distributed.restarts=0", runs="killed")
    flow.run.lock()
    killed: list[int] = []

    def kill_one(text: str) -> None:
        if not killed and "step 9/" in text:
            me = os.getpid()
            children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
            workers = [
                int(child)
                for child in children
                if b"distributed.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
            killed.append(workers[1])
            os.kill(workers[1], signal.SIGKILL)

    flow.run.say = kill_one
    with pytest.raises(Stopped, match="process 2 of 2 was killed by SIGKILL"):
        flow.do("train")
    flow.run.unlock()
    assert killed
    assert newest_checkpoint(flow.run.path("checkpoints")) is not None
    said: list[str] = []
    again = tiny.workflow(*settings, "train.distributed.restarts=0", runs="killed")
    again.run.say = said.append
    again.run.lock()
    again.do("train")
    again.run.unlock()
    assert any("going on after step" in line for line in said)
    assert metrics(again.run) == metrics(reference)
    assert adapter_hash(again.run) == adapter_hash(reference)


def test_three_processes_go_on_where_two_ended(tiny, alone, alone_plain, tmp_path_factory):
    """The losses stay those of one process, whose work is only divided in another way."""
    folder = tmp_path_factory.mktemp("grown")
    flows = {
        engine: prepared(tiny, alone, *ENGINES[engine], *TWO, runs=f"{engine}-grown")
        for engine in ("ddp", "fsdp")
    }
    in_processes(folder / "two", [job(flow, 5, to_the_end=False) for flow in flows.values()])
    for flow in flows.values():
        newest = newest_checkpoint(flow.run.path("checkpoints"))
        assert newest is not None
        assert newest.name == "step-4"
    in_processes(folder / "three", [job(flow) for flow in flows.values()], 3)
    for engine, flow in flows.items():
        reference = alone_plain if engine == "fsdp" else alone
        for split in ("train", "validation"):
            torch.testing.assert_close(
                torch.tensor(losses(flow.run, split)),
                torch.tensor(losses(reference, split)),
                rtol=1e-5,
                atol=1e-6,
            )


def test_more_or_fewer_processes_take_over_or_refuse(runs, tiny, alone, tmp_path_factory):
    """FSDP divides its state anew; DeepSpeed's flat parts are refused, by name."""
    from afina.training.distributed.fsdp import FullySharded
    from afina.training.distributed.together import Together
    from afina.training.distributed.zero import ZeroTwo

    def as_if(kind: type[Together], rank: int, world: int) -> Together:
        ranks = kind.__new__(kind)
        ranks.rank, ranks.world = rank, world
        return ranks

    assert as_if(Together, 2, 3).needs(2) == {0, 2}
    assert as_if(FullySharded, 1, 2).needs(2) == {1}
    assert as_if(FullySharded, 1, 3).needs(2) == {0, 1}
    assert as_if(ZeroTwo, 1, 2).needs(2) == {1}
    assert as_if(ZeroTwo, 1, 3).needs(2) is None
    refused = as_if(ZeroTwo, 0, 3)._of_others(Path("step-4"), "deepspeed-2", 2)
    assert isinstance(refused, AfinaError)
    assert "made by 2 processes with engine deepspeed-2" in str(refused)


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_parts_of_a_tensor_are_the_tensor(rows, world):
    whole = torch.arange(rows * 3).view(rows, 3)
    assert torch.equal(torch.cat([own_part(whole, rank, world) for rank in range(world)]), whole)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("train.distributed.processes=2",), "several processes need an engine"),
        (
            ("train.distributed.engine=ddp", "train.distributed.stage=3"),
            "stage: belongs to engine deepspeed",
        ),
        (("train.distributed.engine=fsdp", "base.bits=4"), "a base of 4 bits cannot be divided"),
        (
            ("train.distributed.engine=deepspeed", "train.distributed.stage=3", "base.bits=8"),
            "a base of 8 bits cannot be divided",
        ),
        (("train.distributed.engine=fsdp", "adapter.kind=dora"), "dora reads the base's weights"),
        (
            ("train.distributed.engine=ddp", "train.distributed.address=auto"),
            "address: belongs to engine ray",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(tiny, overrides, why):
    with pytest.raises(RecipeError, match=why):
        tiny.recipe(*overrides)


def test_processes_that_nobody_counted_are_asked_for(tiny):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU to count")
    with pytest.raises(AfinaError, match="say how many processes"):
        tiny.run("train.distributed.engine=ddp", runs="uncounted")


def by_torchrun(tiny: Tiny, runs: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`afina train` in two processes that torchrun starts."""
    recipe = tiny.folder / "torchrun.yaml"
    recipe.write_text(tiny.text(), encoding="utf-8")
    given = [part for setting in (*SETTINGS, *overrides) for part in ("--set", setting)]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "afina"]
    return subprocess.run(
        [*command, "train", str(recipe), "--runs", str(tiny.folder / runs), *given],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_torchrun_trains_the_same_and_only_the_first_process_has_the_run(tiny, alone):
    """The other process knows nothing but what the first sends: as on a machine with no shared disk."""
    done = by_torchrun(tiny, "torchrun", *ENGINES["ddp"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run tiny@1") == 1
    run = tiny.workflow(*SETTINGS, *ENGINES["ddp"], runs="torchrun").run
    assert run.number == 1
    torch.testing.assert_close(
        torch.tensor(losses(run, "train")), torch.tensor(losses(alone, "train")), rtol=1e-5, atol=1e-6
    )
    assert run.path("release/adapter/adapter_model.safetensors").exists()


def test_torchrun_with_a_recipe_for_one_process_is_refused(tiny):
    done = by_torchrun(tiny, "refused")
    assert done.returncode != 0
    assert done.stderr.count("error: 2 processes were started, and this recipe trains by one") == 1
    assert "inside Afina" not in done.stderr
