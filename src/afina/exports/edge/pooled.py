"""Classifies a text with the model in this folder; needs only onnxruntime-genai: python edge.py "…" """

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime_genai as og

here = Path(__file__).parent
settings = json.loads((here / "inference.json").read_text(encoding="utf-8"))
prompts = json.loads((here / "prompts.json").read_text(encoding="utf-8"))
model = og.Model(str(here))
tokenizer = og.Tokenizer(model)
raw = (here / settings["head"]["path"]).read_bytes()  # safetensors: a length, a JSON header, numbers
start = 8 + int.from_bytes(raw[:8], "little")
head = {}
for name, part in json.loads(raw[8:start]).items():
    if name != "__metadata__":
        numbers = raw[start:][slice(*part["data_offsets"])]
        head[name] = np.frombuffer(numbers, "<f4").reshape(part["shape"])


def token_ids(text):  # what looks like a control token in a text is text: it is read in two parts
    ids = [int(i) for part in re.split(r"(?<=<)(?=\|)", text) for i in tokenizer.encode(part)]
    ids = ids if prompts["bos"] is None or ids[:1] == [prompts["bos"]] else [prompts["bos"], *ids]
    return ids[: settings["max_length"]] or [settings["generation"]["pad_token_id"]]


def classify(text):
    ids, parameters = token_ids(text), og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + 1)
    generator = og.Generator(model, parameters)
    generator.append_tokens(ids)
    mean = (generator.get_output("mean_state")[0] - head["mean"]) / head["scale"]
    logits = (mean @ head["weight"].T + head["bias"]) / settings["temperature"]
    odds = np.exp(logits - logits.max())
    return dict(zip(settings["labels"], (odds / odds.sum()).tolist()))


if __name__ == "__main__":
    print(json.dumps(classify(sys.argv[1])))
