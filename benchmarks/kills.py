"""Kills a run at random moments, runs it again until it is done, and compares the adapter's hash.

A real `afina run` of the tiny random Llama 3 (with the real tokenizer) is killed with SIGKILL, SIGTERM
and SIGINT: at start-up, in data, in training, while a checkpoint is written, in evaluation. A round is
one run with up to six kills. Its adapter and head must have the SHA-256 of the run that nobody killed.
Rounds that are done are kept in the folder, so that this can be stopped too; at the end one line goes
to `benchmarks/results/kills.jsonl`.

    python -m benchmarks.kills [--kills 50] [--folder /tmp/afina-kills] [--seed 13]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# In the order in which a run comes to them.
MOMENTS = ("start", "data", "train", "train", "checkpoint", "evaluate")
LONGEST_SECONDS = 300

RECIPE = """name: kills
base: '{base}'
data: {{train: '{rows}', near_duplicate: null, max_length: 64}}
adapter: {{rank: 4, alpha: 8}}
train:
  {{epochs: 6, precision: fp32, learning_rate: 0.003, batch_rows: 8, patience: null,
  checkpoint_steps: 2}}
evaluate: {{baselines: []}}
"""


@dataclass
class Killer:
    """One run that is killed and begun again."""

    folder: Path
    runs: str
    random: random.Random

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / self.runs / "kills" / "1"

    def start(self) -> subprocess.Popen[str]:
        """`afina run` in its own process, with as many threads each time: sums keep their last bits."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "AFINA_CACHE": str(self.folder / "cache")}
        return subprocess.Popen(
            [sys.executable, "-m", "afina", "--lang", "en", "run", "r.yaml", "--runs", self.runs],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kill(self, moment: str, number: int) -> bool:
        """Begins the run and kills it at such a moment. Returns False when it was done before.

        Raises:
            AssertionError: when it left a traceback, or an exit code that says something else.
        """
        reached = self._moment(moment)
        process = self.start()
        begun = time.monotonic()
        while not reached():
            if process.poll() is not None or time.monotonic() - begun > LONGEST_SECONDS:
                _out, err = _ended(process)
                assert process.returncode == 0, err
                return False
            time.sleep(0.0005)
        process.send_signal(number)
        out, err = _ended(process)
        code = process.returncode
        if code == 0:
            return False  # it was faster
        early = moment == "start"  # Python itself, before it knows of Afina, may end in its own way
        assert "inside Afina" not in err, err
        assert early or "Traceback" not in out + err, err
        expected = {signal.SIGKILL: {-9}, signal.SIGTERM: {3}, signal.SIGINT: {130}}[
            signal.Signals(number)
        ]
        assert code in expected or (early and code in (-number, 1)), (code, number, err)
        return True

    def finish(self) -> str:
        """Runs to the end. Returns the SHA-256 of adapter and head."""
        process = self.start()
        _out, err = _ended(process)
        assert process.returncode == 0, err
        assert not list(self.run.rglob("*.part")), "nothing half-written is left"
        digest = hashlib.sha256()
        for name in ("adapter/adapter_model.safetensors", "head.safetensors"):
            digest.update((self.run / "release" / name).read_bytes())
        return digest.hexdigest()

    def _moment(self, moment: str) -> Callable[[], bool]:
        """Whether the moment has come, a random while after something that can be seen from outside."""
        if moment == "checkpoint":
            before = time.monotonic() + self.random.uniform(0, 1)
            return lambda: (
                time.monotonic() > before and bool(list((self.run / "checkpoints").glob(".step-*.part")))
            )
        longest = {"start": 3.0, "data": 0.3, "train": 4.0, "evaluate": 0.5}[moment]
        wait, known, seen = self.random.uniform(0, longest), self._begun(moment), []

        def reached() -> bool:
            if not seen and (moment == "start" or self._begun(moment) > known):
                seen.append(time.monotonic())
            return bool(seen) and time.monotonic() >= seen[0] + wait

        return reached

    def _begun(self, stage: str) -> int:
        """How often a stage was started."""
        path = self.run / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum('"stage started"' in line and f'"{stage}"' in line for line in lines)


def _ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process wrote, once it has ended; one that does not end is not left behind."""
    try:
        return process.communicate(timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def prepare(folder: Path, base: Path | None = None, rows: int = 120) -> None:
    """Writes base model, rows and recipe."""
    from tests.conftest import colour_rows, make_tokenizer, save_tiny, write_jsonl

    folder.mkdir(parents=True, exist_ok=True)
    base = base or save_tiny(folder / "base", make_tokenizer())
    path = write_jsonl(folder / "rows.jsonl", colour_rows(rows))
    (folder / "r.yaml").write_text(RECIPE.format(base=base, rows=path), encoding="utf-8")


def measure(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Rounds until so many kills; those done before are read from the folder. Returns the line."""
    if not (folder / "r.yaml").exists():
        prepare(folder)
    notes = folder / "rounds.jsonl"
    known = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    whole = Killer(folder, "whole", random.Random(0)).finish()
    while sum(len(one["kills"]) for one in known) < kills:
        number = len(known)
        shutil.rmtree(folder / f"round{number}", ignore_errors=True)
        killer = Killer(folder, f"round{number}", random.Random(seed + number))
        left = kills - sum(len(one["kills"]) for one in known)
        done = []
        for moment in MOMENTS:
            signal_number = killer.random.choice(SIGNALS)
            if len(done) < left and killer.kill(moment, signal_number):
                done.append([moment, signal_number.name])
        known.append({"kills": done, "equal": killer.finish() == whole})
        with notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(known[-1]) + "\n")
        print(f"round {number}: {done}, equal: {known[-1]['equal']}", file=sys.stderr, flush=True)
        shutil.rmtree(folder / f"round{number}", ignore_errors=True)
    every = [tuple(kill) for one in known for kill in one["kills"]]
    return {
        "kills": len(every),
        "rounds": len(known),
        "rounds_with_the_same_hash": sum(one["equal"] for one in known),
        "by_moment": {name: sum(kill[0] == name for kill in every) for name in dict.fromkeys(MOMENTS)},
        "by_signal": {one.name: sum(kill[1] == one.name for kill in every) for one in SIGNALS},
        "adapter_sha256": whole,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "command": f"python -m benchmarks.kills --kills {kills} --seed {seed}",
        "date": date.today().isoformat(),
    }


def main() -> None:
    """Measures and appends the line; exit code 1 when a hash differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/afina-kills"))
    parser.add_argument("--seed", type=int, default=13)
    given = parser.parse_args()
    line = measure(given.folder.resolve(), given.kills, given.seed)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "kills.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))
    sys.exit(line["rounds"] != line["rounds_with_the_same_hash"])


if __name__ == "__main__":
    main()
