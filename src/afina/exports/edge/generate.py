"""Asks the model in this folder; needs only onnxruntime-genai: python edge.py "…" """

import json
import sys
from pathlib import Path

import onnxruntime_genai as og

here = Path(__file__).parent
settings = json.loads((here / "inference.json").read_text(encoding="utf-8"))
prompts = json.loads((here / "prompts.json").read_text(encoding="utf-8"))
model = og.Model(str(here))
tokenizer = og.Tokenizer(model)


def token_ids(text):
    if prompts["reads"] == "conversations":
        messages = [{"role": "user", "content": text}]
        if settings["instruction"]:
            messages.insert(0, {"role": "system", "content": settings["instruction"]})
        text = tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
    ids = [int(i) for i in tokenizer.encode(text)]
    return ids if prompts["bos"] is None or ids[:1] == [prompts["bos"]] else [prompts["bos"], *ids]


def ask(text):
    ids, generation = token_ids(text), settings["generation"]
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + generation["max_new_tokens"])
    generator = og.Generator(model, parameters)
    generator.append_tokens(ids)
    while not generator.is_done():
        generator.generate_next_token()
    written = [int(i) for i in generator.get_sequence(0)[len(ids) :]]
    return tokenizer.decode([i for i in written if i not in generation["eos_token_ids"]])


if __name__ == "__main__":
    print(ask(sys.argv[1]))
