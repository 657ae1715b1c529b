"""Whether llama.cpp reads an exported GGUF file as the run's own model is: ids, labels, next tokens.

Needs llama-cpp-python, which no wheel exists of (it compiles for minutes). One line of
`benchmarks/results/gguf.jsonl` for each number of bits.

    python -m benchmarks.gguf RUN [--bits 16 8 4] [--folder FOLDER] [--threads 1]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def by_head(folder: Path, run: Any, threads: int | None) -> dict[str, Any]:
    """The example beside the file, on the run's own rows."""
    from afina.exports.asked import asked_of
    from afina.inference.engine import Engine

    place = importlib.util.spec_from_file_location("classify", folder / "classify.py")
    assert place is not None
    assert place.loader is not None
    example = importlib.util.module_from_spec(place)
    place.loader.exec_module(example)
    example.verify(folder)
    settings = json.loads((folder / "inference.json").read_text())
    classifier = example.Classifier(
        folder, *example.in_process(folder / "model.gguf", settings["max_length"], threads)
    )
    fixtures = json.loads((folder / "prompts.json").read_text())["texts"]
    equal = sum(classifier.encode(one["text"]) == one["ids"] for one in fixtures)
    engine = Engine(run.path("release"))
    texts = asked_of(run, run.recipe(), engine).texts
    same_ids = sum(
        classifier.encode(text) == row.ids for text, row in zip(texts, engine.encode(texts), strict=True)
    )
    begun = time.perf_counter()
    found = [classifier.classify(text) for text in texts]
    seconds = time.perf_counter() - begun
    shares = np.array([[row[label] for label in engine.settings.labels] for row in found])
    own = engine.classify(texts)
    return {
        "fixtures_equal": [equal, len(fixtures)],
        "prompts_equal": [same_ids, len(texts)],
        "same_label": [int((engine.decide(shares) == engine.decide(own)).sum()), len(texts)],
        "largest_probability_difference": float(np.abs(shares - own).max()),
        "median_probability_difference": float(np.median(np.abs(shares - own))),
        "seconds": round(seconds, 2),
    }


def by_tokens(folder: Path, run: Any, threads: int | None) -> dict[str, Any]:
    """llama.cpp's likeliest next tokens against the run's own, given what the rows say."""
    import llama_cpp

    from afina.exports.own import ask_own

    own = ask_own(run, print)
    engine = own.engine
    model = llama_cpp.Llama(
        str(folder / "model.gguf"),
        n_ctx=1024,
        n_batch=1024,
        n_threads=threads,
        n_threads_batch=threads,
        logits_all=True,
        verbose=False,
    )
    # llama.cpp reads a control token that is spelt out as that token: docs/gguf.md says so.
    fixtures = json.loads((folder / "prompts.json").read_text())["conversations"]
    fixtures = [one for one in fixtures if not one["spells_controls"]]
    equal = 0
    for one in fixtures:
        ids = model.tokenize(one["rendered"].encode(), add_bos=False, special=True)
        equal += engine.tokens.with_bos(ids) == one["ids"]
    agreeing = places = 0
    begun = time.perf_counter()
    for wanted, prompt in zip(own.said.likeliest, own.asked.prompts, strict=True):
        model.reset()
        model.eval(prompt.ids)
        said = np.asarray(model.scores[: len(wanted)]).argmax(axis=1)
        agreeing, places = agreeing + int((said == wanted).sum()), places + len(said)
    return {
        "fixtures_equal": [equal, len(fixtures)],
        "same_next_token": [agreeing, places],
        "seconds": round(time.perf_counter() - begun, 2),
    }


def main() -> None:
    """Exports with each number of bits, asks llama.cpp, writes a line."""
    import llama_cpp
    import torch

    import afina
    from afina.errors import AfinaError
    from afina.runs.folder import find_run

    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 8, 4])
    parser.add_argument("--folder", type=Path, help="an export that is there is asked again")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    run = find_run(given.run, "runs")
    for bits in given.bits:
        folder = (given.folder or Path(tempfile.mkdtemp())) / f"gguf{bits}"
        today = datetime.now(UTC).date().isoformat()
        line: dict[str, Any] = {"date": today, "run": run.title, "bits": bits}
        try:
            if not (folder / "gguf.json").exists():  # an export that is there is asked again
                afina.export(given.run, to="gguf", out=folder, bits=bits, say=print)
        except AfinaError as error:
            line["refused"] = error.what
        else:
            pooled = (folder / "head.safetensors").exists()
            with torch.no_grad():
                found = (by_head if pooled else by_tokens)(folder, run, given.threads)
            figures = json.loads((folder / "gguf.json").read_text(encoding="utf-8"))
            kept = {
                name: figures[name]
                for name in ("kind", "prompts", "top1", "perplexity", "task", "labels", "tokenizer")
                if name in figures
            }
            size = (folder / "model.gguf").stat().st_size
            line |= {"megabytes": round(size / 1e6, 1), "check": kept, "llama_cpp": found}
        line["llama_cpp_python"] = llama_cpp.__version__
        threads = f" --threads {given.threads}" if given.threads else ""
        line["command"] = f"python -m benchmarks.gguf {run.title} --bits {bits}{threads}"
        with (RESULTS / "gguf.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line))


if __name__ == "__main__":
    main()
