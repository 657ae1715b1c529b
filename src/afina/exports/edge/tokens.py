"""Classifies a text with the model in this folder; needs only onnxruntime-genai: python edge.py "…" """

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime_genai as og

here = Path(__file__).parent
settings = json.loads((here / "inference.json").read_text(encoding="utf-8"))
prompts = json.loads((here / "prompts.json").read_text(encoding="utf-8"))
model = og.Model(str(here))
tokenizer = og.Tokenizer(model)


def token_ids(messages, answer_follows=True):
    text = tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=answer_follows)
    ids = [int(i) for i in tokenizer.encode(text)]
    return ids if prompts["bos"] is None or ids[:1] == [prompts["bos"]] else [prompts["bos"], *ids]


def likelihood(messages, label):  # of the label and the token that ends it, after the question
    ends, asked = set(settings["generation"]["eos_token_ids"]), token_ids(messages)
    ids = token_ids([*messages, {"role": "assistant", "content": label}], False)
    ids = ids[: max(i for i, token in enumerate(ids) if token in ends) + 1]
    if len(ids) > settings["max_length"]:
        raise SystemExit(f"too long: {len(ids)} tokens, the model reads {settings['max_length']}")
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + 1)
    generator = og.Generator(model, parameters)
    generator.append_tokens(ids)
    logits = generator.get_output("logits")[0][len(asked) - 1 : -1].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return float(sum(row[i] - np.log(np.exp(row).sum()) for row, i in zip(logits, ids[len(asked) :])))


def classify(text):
    messages = [{"role": "user", "content": f"{settings['instruction']}\n\n{text}"}]
    logits = np.array([likelihood(messages, label) for label in settings["labels"]])
    odds = np.exp((logits - logits.max()) / settings["temperature"])
    return dict(zip(settings["labels"], (odds / odds.sum()).tolist()))


if __name__ == "__main__":
    print(json.dumps(classify(sys.argv[1])))
