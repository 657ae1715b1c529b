"""What models, metrics, stages and methods are called on the page, and what they mean."""

from __future__ import annotations

from afina.language import _
from afina.metric_names import METRICS
from afina.models.embedded import EMBEDDED_HUB_ID

METRIC_ORDER = tuple(METRICS)
QUANTISED = ("tuned_8bit", "tuned_4bit")


def base_title(model: str) -> str:
    """The base as a reader knows it: `embedded` says nothing about which model that is."""
    return f"{EMBEDDED_HUB_ID.partition('/')[2]} ({model})" if model == "embedded" else model


def capital(text: str) -> str:
    """The same text beginning with a capital letter."""
    return text[:1].upper() + text[1:]


def model_name(model: str, language: str) -> str:
    """A model's short name, for labels."""
    names = {
        "base": _("base model", language),
        "probe": _("linear probe", language),
        "tuned": _("tuned model", language),
        "tfidf": _("TF-IDF", language),
        "blend": _("blend", language),
        "prompted": _("prompted base", language),
        "tuned_8bit": _("tuned model, 8 bits", language),
        "tuned_4bit": _("tuned model, 4 bits", language),
    }
    return capital(names[model]) if model in names else model


def model_phrase(model: str, language: str) -> str:
    """A model's name inside a sentence."""
    names = {
        "base": _("the base model", language),
        "probe": _("the linear probe", language),
        "tuned": _("the tuned model", language),
        "tfidf": _("TF-IDF with logistic regression", language),
        "blend": _("the blend of tuned model and TF-IDF", language),
        "prompted": _("the prompted base", language),
        "tuned_8bit": _("the tuned model in 8 bits", language),
        "tuned_4bit": _("the tuned model in 4 bits", language),
    }
    return names.get(model, model)


def model_meaning(model: str, language: str) -> str:
    """What a model is, for people who meet it here for the first time."""
    return {
        "base": _("The pretrained model as it was found, asked without any training.", language),
        "probe": _(
            "A linear classifier on what the untouched base model computes: no adapter.", language
        ),
        "tuned": _("The base model with the adapter trained in this run.", language),
        "tfidf": _(
            "A classical baseline: weighted counts of words and logistic regression, no language model.",
            language,
        ),
        "blend": _(
            "The tuned model and TF-IDF together: a weighted sum of their log-odds, fitted on the "
            "validation rows. It is not what is released.",
            language,
        ),
        "prompted": _(
            "The base model without any training, asked with the best of several prompts; which one was "
            "chosen on the validation rows.",
            language,
        ),
        "tuned_8bit": _("The tuned model with its base held in 8 bits.", language),
        "tuned_4bit": _("The tuned model with its base held in 4 bits.", language),
    }.get(model, _("The model of another run, asked about the same rows.", language))


def model_kind(model: str) -> str:
    """The kind of a model that gives it its colour and mark."""
    if model in QUANTISED:
        return "quantised"
    own = ("base", "probe", "tuned", "tfidf", "blend", "prompted")
    return model if model in own else "other"


def calibration_name(method: str | None, language: str) -> str:
    """What was done about the base's liking for a label."""
    return {
        "none": _("none", language),
        "contextual": _("contextual, by texts without content", language),
        "bias": _("bias, fitted on validation rows", language),
    }.get(method or "", "–")


def metric_name(metric: str, language: str) -> str:
    """A metric's name inside a sentence."""
    return {
        "accuracy": _("accuracy", language),
        "macro_f1": _("macro F1", language),
        "auc": _("AUC", language),
        "false_positive_rate": _("false-positive rate", language),
        "recall": _("recall", language),
        "precision": _("precision", language),
        "perplexity": _("perplexity", language),
        "bits_per_byte": _("bits per byte", language),
        "micro_f1": _("micro F1", language),
        "mcc": _("Matthews correlation", language),
        "calibration_error": _("calibration error", language),
        "recall_at_1_fpr": _("recall at 1 % false alarms", language),
        "exact_match": _("exact match", language),
        "rouge1": "ROUGE-1",
        "rouge2": "ROUGE-2",
        "rouge_l": "ROUGE-L",
        "bleu": "BLEU",
        "chrf": "chrF",
        "suite_score": _("suite figure", language),
    }.get(metric, metric.replace("_", " "))


def metric_meaning(metric: str, positive: str | None, language: str) -> str:
    """What a metric says, in one sentence."""
    meanings = {
        "accuracy": _("Share of rows with the right label.", language),
        "macro_f1": _(
            "Balance of finding a label and being right about it, averaged over the labels, each "
            "counting the "
            "same; 1 is perfect.",
            language,
        ),
        "auc": _(
            "How often a row with the label {positive} gets a higher probability of it than a row "
            "without; "
            "0.5 is guessing, 1 is perfect.",
            language,
        ),
        "false_positive_rate": _(
            "Share of the rows without the label {positive} that get it: false alarms.", language
        ),
        "recall": _("Share of the rows with the label {positive} that are found.", language),
        "precision": _("Share of the rows said to be {positive} that are.", language),
        "perplexity": _(
            "How surprised the model is by the right text: 1 is not at all, and lower is better.",
            language,
        ),
        "bits_per_byte": _(
            "How many bits the model needs for a byte of the right text; lower is better. It compares "
            "models with different tokenizers.",
            language,
        ),
        "micro_f1": _("F1 over all rows together; with one label a row, the accuracy.", language),
        "mcc": _(
            "How far answers and true labels go together: 1 always, 0 as by chance, below 0 against "
            "each other.",
            language,
        ),
        "calibration_error": _(
            "How far the probability that the model names is from how often it is right, on average; "
            "lower is better.",
            language,
        ),
        "recall_at_1_fpr": _(
            "Share of the rows with the label {positive} that are found when the threshold is set so "
            "that at most 1 % of the others raise an alarm.",
            language,
        ),
        "exact_match": _(
            "Share of written answers that equal the right one but for case, spaces and forms of "
            "accents.",
            language,
        ),
        "rouge1": _("Shared words of written and right answer (F-measure, no stemming).", language),
        "rouge2": _("Shared pairs of words of written and right answer (F-measure).", language),
        "rouge_l": _("Longest common order of words of written and right answer (F-measure).", language),
        "bleu": _("Shared runs of one to four words, 0 to 100, by sacrebleu over the set.", language),
        "chrf": _("Shared runs of one to six letters, 0 to 100, by sacrebleu over the set.", language),
    }
    return meanings.get(metric, "").format(positive=positive or "–")


def stage_name(stage: str, language: str) -> str:
    """A stage's name."""
    return {
        "data": _("data", language),
        "train": _("training", language),
        "evaluate": _("evaluation", language),
        "gate": _("gate", language),
    }.get(stage, stage)


def split_name(split: str, language: str) -> str:
    """A split's or a test set's name."""
    return {
        "train": _("training", language),
        "validation": _("validation", language),
        "test": _("test", language),
        "left_out": _("left out", language),
    }.get(split, split)


def split_title(split: str, language: str) -> str:
    """A split's name with a capital; a further set's name as its owner wrote it."""
    name = split_name(split, language)
    return capital(name) if split in ("train", "validation", "test", "left_out") else name


def verdict_name(verdict: str, language: str) -> str:
    """What a check of the gate decided."""
    return {
        "pass": _("kept", language),
        "fail": _("broken", language),
        "undecided": _("undecided", language),
    }.get(verdict, verdict)


def drop_reason(reason: str, language: str) -> str:
    """Why a row was dropped."""
    return {
        "over_long": _("longer than data.max_length", language),
        "no_trained_token": _("nothing in it to learn from", language),
    }.get(reason, reason)


def role_name(role: str, language: str) -> str:
    """What a column of the data is for."""
    return {
        "text": _("text", language),
        "label": _("label", language),
        "prompt": _("prompt", language),
        "response": _("response", language),
        "messages": _("messages", language),
    }.get(role, role)


def rows_and_groups(rows: int | None, groups: int | None, language: str) -> str:
    """How much a number was measured on."""
    if rows is None:
        return _("an unknown number of rows", language)
    if groups is None:
        return _("{rows} rows", language).format(rows=f"{rows:,}")
    return _("{rows} rows in {groups} groups", language).format(rows=f"{rows:,}", groups=f"{groups:,}")
