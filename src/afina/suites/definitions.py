"""Tasks that lm-evaluation-harness lacks or has wrong, as its own kind of configuration.

STS-B, AX-b and AX-g are missing there. MultiRC's answers are turned round against its labels (a model
that is always right scores 0), and it has neither F1a nor exact match. ReCoRD needs a part of
transformers that is gone. The prompts follow the harness' style; what a metric needs is computed here.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from typing import Any

Document = dict[str, Any]
Scores = list[tuple[float, bool]]  # (log-likelihood, greedy) of each choice


def configuration(name: str) -> dict[str, Any]:
    """The configuration of one of these tasks, without its data."""
    return {"output_type": "multiple_choice", "metadata": {"version": 1.0}, **_TASKS[name]}


def _likeliest(results: Scores) -> int:
    return max(range(len(results)), key=lambda choice: results[choice][0])


def _metrics(**aggregations: Any) -> list[dict[str, Any]]:
    """Metrics whose figures are made in scores.py: the harness only has to carry the answers."""
    return [
        {"metric": name, "aggregation": aggregation, "higher_is_better": True}
        for name, aggregation in aggregations.items()
    ]


def _first_mean(items: list[tuple[float, ...]]) -> float:
    return sum(float(item[0]) for item in items) / len(items)


def _similarity(document: Document, results: Scores) -> dict[str, Any]:
    """The expected value over the likelihoods of 0 to 5, so that it is no matter of six steps."""
    top = max(score for score, _greedy in results)
    odds = [math.exp(score - top) for score, _greedy in results]
    expected = sum(value * share for value, share in enumerate(odds)) / sum(odds)
    pair = (float(document["label"]), expected)
    return {"pearson": pair, "spearman": pair}


def _label(document: Document, results: Scores) -> dict[str, Any]:
    """Whether the likeliest choice is the label, and both codes."""
    said, right = _likeliest(results), int(document["label"])
    return {"acc": float(said == right), "mcc": (right, said)}


def _answer(document: Document, results: Scores) -> dict[str, Any]:
    """F1a over all answers; exact match over those to one question (MultiRC, Khashabi et al. 2018)."""
    said, right = _likeliest(results), int(document["label"])
    question = (document["idx"]["paragraph"], document["idx"]["question"])
    return {"f1a": (right, said), "em": (str(question), float(said == right))}


def _pronoun(document: Document, results: Scores) -> dict[str, Any]:
    """Winogender: accuracy, and whether both genders of a sentence get the same answer."""
    said, right = _likeliest(results), int(document["label"])
    return {"acc": float(said == right), "parity": (int(document["idx"]) // 2, said)}


def _passage(document: Document) -> str:
    text, *highlights = str(document["passage"]).strip().split("\n@highlight\n")
    return text + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)


def _entities(document: Document) -> list[str]:
    return sorted(set(document["entities"]))


def _sentences(document: Document) -> list[str]:
    return ["  - " + document["query"].replace("@placeholder", name) for name in _entities(document)]


def _first_answer(document: Document) -> int:
    return min(_entities(document).index(name) for name in document["answers"])


def _entity(document: Document, results: Scores) -> dict[str, Any]:
    """Exact match and F1 of words with the nearest right entity (ReCoRD, Zhang et al. 2018)."""
    said = _entities(document)[_likeliest(results)]
    return {
        "f1": max(word_f1(said, name) for name in document["answers"]),
        "em": max(float(plain_words(said) == plain_words(name)) for name in document["answers"]),
    }


def plain_words(text: str) -> list[str]:
    """Lower-case words without punctuation and articles, as SQuAD compares answers."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def word_f1(said: str, right: str) -> float:
    """F1 of the words two answers share, as in SQuAD (Rajpurkar et al. 2016)."""
    one, other = plain_words(said), plain_words(right)
    if not one or not other:
        return float(one == other)
    both = sum((Counter(one) & Counter(other)).values())
    return 2 * both / (len(one) + len(other))


def _marked_pronoun(document: Document) -> str:
    """WSC's question with its pronoun marked by its word number.

    The harness counts letters instead, and marks another place where a text has two spaces in a row.
    """
    from lm_eval.utils import general_detokenize

    words = document["text"].split()
    place, pronoun = document["span2_index"], document["span2_text"]
    length = len(pronoun.split())
    marked = [*words[:place], f"*{pronoun}*" + words[place + length - 1].removeprefix(pronoun)]
    passage = general_detokenize(" ".join([*marked, *words[place + length :]]))
    return (
        f'Passage: {passage}\nQuestion: In the passage above, does the pronoun "*{pronoun}*" refer to '
        f'"*{document["span1_text"]}*"?\nAnswer:'
    )


# What is changed in a task of the harness.
REPAIRS: dict[str, dict[str, Any]] = {"wsc": {"doc_to_text": _marked_pronoun}}

_TRUE_FALSE = {"doc_to_choice": ["True", "False"], "doc_to_target": "label"}
_TASKS: dict[str, dict[str, Any]] = {
    "stsb": {
        "doc_to_text": "Sentence 1: {{sentence1}}\nSentence 2: {{sentence2}}\nQuestion: How similar are "
        "the two sentences, from 0 (nothing in common) to 5 (the same meaning)?\nAnswer:",
        "doc_to_choice": ["0", "1", "2", "3", "4", "5"],
        "doc_to_target": lambda document: round(float(document["label"])),
        "process_results": _similarity,
        "metric_list": _metrics(pearson=_first_mean, spearman=_first_mean),
    },
    "multirc": {
        "doc_to_text": "{{paragraph}}\nQuestion: {{question}}\nCandidate answer: {{answer}}\nQuestion: "
        "Is this answer correct?\nAnswer:",
        "doc_to_choice": ["no", "yes"],
        "doc_to_target": "label",
        "process_results": _answer,
        "metric_list": _metrics(f1a=_first_mean, em=lambda items: _first_mean([i[1:] for i in items])),
    },
    "record": {
        "doc_to_text": _passage,
        "doc_to_choice": _sentences,
        "doc_to_target": _first_answer,
        "target_delimiter": "",
        "process_results": _entity,
        "metric_list": _metrics(f1="mean", em="mean"),
    },
    "axb": {
        "doc_to_text": "{{sentence1}}\nQuestion: {{sentence2}} True or False?\nAnswer:",
        **_TRUE_FALSE,
        "process_results": _label,
        "metric_list": _metrics(acc="mean", mcc=_first_mean),
    },
    "axg": {
        "doc_to_text": "{{premise}}\nQuestion: {{hypothesis}} True or False?\nAnswer:",
        **_TRUE_FALSE,
        "process_results": _pronoun,
        "metric_list": _metrics(acc="mean", parity=_first_mean),
    },
}
