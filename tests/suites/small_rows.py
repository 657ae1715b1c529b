"""A few rows of every known task, in the form of the public ones, written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAIRS = [("The dog sleeps.", "A dog is asleep."), ("The bank is shut.", "It rains in Lima.")]
_ENTAIL = [{"premise": a, "hypothesis": b} for a, b in PAIRS]
_SENTENCES = [{"sentence1": a, "sentence2": b} for a, b in PAIRS]


def _labelled(rows: list[dict[str, Any]], *labels: float) -> list[dict[str, Any]]:
    return [
        {**rows[index % len(rows)], "label": label, "idx": index} for index, label in enumerate(labels)
    ]


ROWS: dict[str, list[dict[str, Any]]] = {
    "glue/cola": _labelled([{"sentence": "The cat sat."}, {"sentence": "Cat the sat."}], 1, 0, 1, 1),
    "glue/sst2": _labelled([{"sentence": "a joy "}, {"sentence": "a bore "}], 1, 0, 1),
    "glue/mrpc": _labelled(_SENTENCES, 1, 0, 1),
    "glue/stsb": _labelled(_SENTENCES, 5, 0, 3, 1, 4),
    "glue/qqp": _labelled([{"question1": a, "question2": b} for a, b in PAIRS], 1, 0, 0),
    "glue/mnli_matched": _labelled(_ENTAIL, 0, 1, 2),
    "glue/mnli_mismatched": _labelled(_ENTAIL, 2, 1, 0),
    "glue/qnli": _labelled([{"question": a, "sentence": b} for a, b in PAIRS], 0, 1),
    "glue/rte": _labelled(_SENTENCES, 0, 1),
    "glue/wnli": _labelled(_SENTENCES, 1, 0),
    "superglue/boolq": _labelled(
        [{"passage": a, "question": "is the dog asleep"} for a, _b in PAIRS], 1, 0, 1
    ),
    "superglue/cb": _labelled(_ENTAIL, 0, 1, 2, 0),
    "superglue/copa": _labelled(
        [
            {
                "premise": "It rained.",
                "choice1": "I got wet.",
                "choice2": "I ate.",
                "question": "effect",
            },
            {
                "premise": "I ate.",
                "choice1": "I was hungry.",
                "choice2": "It rained.",
                "question": "cause",
            },
        ],
        0,
        1,
        0,
    ),
    "superglue/multirc": [
        {
            "paragraph": f"Text {paragraph} about mail.",
            "question": f"What of {question}?",
            "answer": f"answer {answer}",
            "label": (question + answer) % 2,
            "idx": {"paragraph": paragraph, "question": question, "answer": answer},
        }
        for paragraph in range(2)
        for question in range(2)
        for answer in range(2)
    ],
    "superglue/record": [
        {
            "passage": "Ana Ruiz met Juan in Quito.\n@highlight\nThey talked",
            "query": f"{query} met @placeholder",
            "entities": ["Juan", "Quito", "Ana Ruiz", "Ruiz"],
            "answers": answers,
            "idx": {"passage": 0, "query": index},
        }
        for index, (query, answers) in enumerate(
            [("Juan", ["Ana Ruiz", "Ruiz"]), ("Ana", ["Juan"]), ("They", ["Quito"])]
        )
    ],
    "superglue/rte": _labelled(_ENTAIL, 1, 0),
    "superglue/wic": _labelled(
        [
            {
                "word": "bank",
                "sentence1": "The bank is shut.",
                "sentence2": "A river bank.",
                "start1": 4,
                "end1": 8,
                "start2": 8,
                "end2": 12,
            }
        ],
        0,
        1,
    ),
    "superglue/wsc": [
        {
            "text": "Ana told Eva that she  won, and she laughed .",
            "span1_index": 0,
            "span1_text": "Ana",
            "span2_index": place,
            "span2_text": "she",
            "label": label,
            "idx": place,
        }
        for place, label in ((4, 1), (7, 0))
    ],
    "superglue/axb": _labelled(_SENTENCES, 0, 1, 1),
    "superglue/axg": [
        {
            "premise": f"The nurse met the client to hear {word} case {pair}.",
            "hypothesis": "The nurse had a case.",
            "label": pair % 2,
            "idx": 2 * pair + place,
        }
        for pair in range(3)
        for place, word in enumerate(("his", "her"))
    ],
    "xnli_es/xnli_es": _labelled(
        [{"premise": "El perro duerme.", "hypothesis": "Un perro duerme."}], 0, 1, 2
    ),
}


def write_small_rows(folder: Path) -> Path:
    """Writes every task's rows, and the same as its examples."""
    for name, rows in ROWS.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".train.jsonl").write_text(text, encoding="utf-8")
    return folder
