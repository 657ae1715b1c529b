"""Writes the figures of READMEs and docs from benchmarks/results, so that none is typed.

    python -m benchmarks.figures [--demo runs/demo/1 --seconds 360 --machine "2 cores" "2 núcleos"]

With --demo it first records that run of `make demo` as `demo.json`.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import heads, training

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
METRICS = ("accuracy", "macro_f1", "false_positive_rate")
WORDS: dict[str, dict[str, str]] = {
    "en": {
        "timed": "{minutes:.0f} minutes with the installation",
        "untimed": "its time on a quiet machine has not been measured on this code yet",
        "demo": "`make demo` on {machine}: {time}, trained on "
        "{rows} rows for {steps} steps, {test} test rows of {groups} scenario families never trained "
        "on, best model first, 95 % intervals in brackets "
        "([`demo.json`](benchmarks/results/demo.json)).",
        "full": "The recipe trained on {rows:,} rows of the built-in corpus for {steps} steps "
        "(`{command}`, [`unseen.jsonl`](benchmarks/results/unseen.jsonl)), on its own test families and "
        "on mail and messages that nobody here wrote, of sources never trained on; {weight:g} of the "
        "adapter was released. Macro-F1:",
        "head": "| Model | Accuracy | Macro-F1 | False-positive rate |",
        "sets": "| Test set | Rows | Tuned | Probe | TF-IDF | Base |",
        "tfidf": "TF-IDF + logistic regression",
        "tuned": "tuned model",
        "probe": "probe: linear head on the frozen base",
        "base": "base, zero-shot",
        "test": "built-in corpus, families never seen",
        "spamassassin_pot": "e-mail: SpamAssassin, phishing_pot",
        "lingspam_nazario": "e-mail: Ling-Spam, Nazario",
        "sms_english": "SMS in English",
        "email_mexico": "e-mail of Mexico, in Spanish",
        "lingspam_pot": "e-mail: Ling-Spam, phishing_pot",
        "real": "The same recipe trained on {rows:,} e-mails of SpamAssassin and Nazario instead "
        "(`{command}`), on sources never trained on; {weight:g} of the adapter was released, by a rule "
        "that was loosened after an earlier run on these sets (docs/decisions/pooled-head.md). "
        "Macro-F1:",
        "own": "the same sources, rows never seen",
        "peers": "| Against | Precision | Answers | Rows a second, ours over theirs "
        "| Peak memory, ours over theirs | Held-out loss, ours minus theirs | Share of matmul rate |",
        "nothing": "Not measured yet.",
    },
    "es": {
        "timed": "{minutes:.0f} minutos con la instalación",
        "untimed": "aún no se midió su tiempo en un equipo sin otras tareas con este código",
        "demo": "`make demo` en {machine}: {time}, {rows} filas de "
        "entrenamiento y {steps} pasos, {test} filas de prueba de {groups} familias de escenarios nunca "
        "vistas al entrenar, el mejor modelo primero, intervalos del 95 % entre paréntesis "
        "([`demo.json`](benchmarks/results/demo.json)).",
        "full": "La receta entrenada con {rows:,} filas del corpus incluido en {steps} pasos "
        "(`{command}`, [`unseen.jsonl`](benchmarks/results/unseen.jsonl)), en sus propias familias de "
        "prueba y en correo y mensajes que nadie escribió aquí, de fuentes nunca vistas al entrenar; se "
        "publicó {weight:g} del adaptador. Macro-F1:",
        "head": "| Modelo | Exactitud | Macro-F1 | Tasa de falsos positivos |",
        "sets": "| Conjunto de prueba | Filas | Ajustado | Sonda | TF-IDF | Base |",
        "tfidf": "TF-IDF + regresión logística",
        "tuned": "modelo ajustado",
        "probe": "sonda: cabeza lineal sobre la base congelada",
        "base": "base, sin ejemplos",
        "test": "corpus incluido, familias nunca vistas",
        "spamassassin_pot": "correo: SpamAssassin, phishing_pot",
        "lingspam_nazario": "correo: Ling-Spam, Nazario",
        "sms_english": "SMS en inglés",
        "email_mexico": "correo de México, en español",
        "lingspam_pot": "correo: Ling-Spam, phishing_pot",
        "real": "La misma receta entrenada con {rows:,} correos de SpamAssassin y Nazario "
        "(`{command}`), en fuentes nunca vistas al entrenar; se publicó {weight:g} del adaptador, por "
        "una regla que se aflojó tras una ejecución anterior en estos conjuntos "
        "(docs/decisions/pooled-head.md). Macro-F1:",
        "own": "las mismas fuentes, filas nunca vistas",
        "peers": "| Contra | Precisión | Respuestas | Filas por segundo, nuestras entre suyas "
        "| Memoria máxima, nuestra entre suya | Pérdida en filas apartadas, nuestra menos suya "
        "| Parte de la tasa de matmul |",
        "nothing": "Aún no medido.",
    },
}


def record_demo(run: Path, seconds: float, machine: list[str]) -> None:
    """Keeps what a run of `make demo` measured."""
    training = json.loads((run / "train.json").read_text(encoding="utf-8"))
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    stages = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["seconds"]
        for path in sorted((run / "stages").glob("*.json"))
    }
    kept = ("best_step", "steps", "peak_memory_bytes", "tokens_per_second")
    value = {
        "command": "make demo",
        "date": date.today().isoformat(),
        "machine": machine[0],
        "machine_es": machine[-1],
        "resolved": json.loads((run / "run.json").read_text(encoding="utf-8"))["resolved"],
        "train_rows": training["rows"],
        "validation_rows": training["validation_rows"],
        **{name: training[name] for name in kept},
        "stage_seconds": stages,
        "wall_seconds_with_installation": seconds or None,
        "ranking": evaluation["ranking"]["test"],
        "results": evaluation["results"],
        "comparisons": evaluation["comparisons"],
    }
    (RESULTS / "demo.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def figures(language: str) -> str:
    """The block of one README."""
    parts = (demo(language), full(language, "builtin"), full(language, "spamassassin+nazario"))
    return "\n\n".join(part for part in parts if part)


def demo(language: str) -> str:
    """Every model of the demo, best first, with intervals."""
    words, value = WORDS[language], json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    found = {(line["model"], line["metric"]): line for line in value["results"]}
    one, seconds = found["tuned", "accuracy"], value["wall_seconds_with_installation"]
    text = words["demo"].format(
        machine=value["machine"] if language == "en" else value["machine_es"],
        time=words["timed" if seconds else "untimed"].format(minutes=(seconds or 0) / 60),
        rows=value["train_rows"],
        steps=value["steps"],
        test=one["n"],
        groups=one["groups"],
    )
    lines = [words["head"], "|---|---|---|---|"]
    for model in value["ranking"]:
        cells = [_cell(found[model, metric]) for metric in METRICS]
        lines.append(f"| {words[model]} | " + " | ".join(cells) + " |")
    return "\n".join([text, "", *lines])


def _cell(line: dict[str, Any]) -> str:
    low, high = line["ci95"]
    return f"{line['value']:.3f} ({low:.3f}–{high:.3f})"


def full(language: str, trained_on: str) -> str:
    """Macro-F1 of the recipe on every test set; empty before it was measured."""
    path, words = RESULTS / "unseen.jsonl", WORDS[language]
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    value = next((one for one in map(json.loads, lines) if one["trained_on"] == trained_on), None)
    if value is None:
        return ""
    table = [words["sets"], "|---|---:|---:|---:|---:|---:|"]
    for name, part in value["sets"].items():
        cells = [f"{part['models'][m]['macro_f1']:.3f}" for m in ("tuned", "probe", "tfidf", "base")]
        own = words["own"] if name == "test" and trained_on != "builtin" else words[name]
        table.append(f"| {own} | {part['rows']} | " + " | ".join(cells) + " |")
    text = words["full" if trained_on == "builtin" else "real"].format(
        rows=value["train_rows"],
        steps=value["steps"],
        command=value["command"],
        weight=value["adapter_weight"],
    )
    return "\n".join([text, "", *table])


def peers(language: str) -> str:
    """Training side by side with other tools."""
    words, lines = WORDS[language], training.known_lines()
    if not lines:
        return words["nothing"]
    table = [words["peers"], "|---|---|---|---:|---:|---:|---:|"]
    for line in lines:
        precision = line["precision"]
        if precision == "auto":
            precision = f"auto ({line['resolved']})"
        table.append(
            f"| `{line['against']}` | {precision} | {line['answers']} | {line['ratio']:.1f} "
            f"({line['ratio_low']:.1f}–{line['ratio_high']:.1f}, n = {line['pairs']}) "
            f"| {line['peak_memory_ratio']:.2f} | {line['held_out_loss_difference']:+.3f} "
            f"| {line['share_of_matmul_rate']:.2f} |"
        )
    flags = sorted({", ".join(line["cpu_flags"]) for line in lines})
    return "\n".join([*table, "", f"CPU: {'; '.join(flags)}. `{lines[-1]['command']}`"])


def main() -> None:
    """Records a demo if one is given, then writes the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, help="folder of a finished run of `make demo`")
    parser.add_argument("--seconds", type=float, default=0.0, help="wall time with the installation")
    parser.add_argument("--machine", nargs=2, default=["2 cores", "2 núcleos"], help="in both languages")
    given = parser.parse_args()
    if given.demo:
        record_demo(given.demo, given.seconds, given.machine)
    write("README.md", "figures", figures("en"))
    write("README.es.md", "figures", figures("es"))
    write("docs/training.md", "training", peers("en"))
    write("docs/es/training.md", "training", peers("es"))
    if heads.known_lines():
        write("docs/decisions/pooled-head.md", "heads", heads.table())


def write(name: str, block: str, text: str) -> None:
    """Puts a text between the block's two marks in a page."""
    begin, end = f"<!-- {block} -->", f"<!-- /{block} -->"
    page = (ROOT / name).read_text(encoding="utf-8")
    before, _begin, rest = page.partition(begin)
    _old, _end, after = rest.partition(end)
    (ROOT / name).write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
