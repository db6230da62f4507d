"""Trains the sandbox model's base on its grammar's text and writes its weights in bfloat16 (1.7 MB) to src/dream_engine/models/sandbox.safetensors.

python tools/train_sandbox.py [--out FILE]

A minute or two on one core. Another processor's weights are another model (docs/decisions/022): after a new file all tests have to be run.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from dream_engine.models import sandbox

STEPS, BATCH, LEARNING_RATE, WARM_UP = 900, 32, 2e-3, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=sandbox.WEIGHTS)
    out = parser.parse_args().out
    model = train()
    weights = {name: value.detach().bfloat16() for name, value in model.named_parameters()}
    save_file(weights, out, metadata={"format": "pt", "world": sandbox.world()})


def train() -> LlamaForCausalLM:
    """The base after `STEPS` batches of the grammar's documents; the learning rate rises and falls in straight lines."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    tokenizer = sandbox.tokenizer()
    model = LlamaForCausalLM(sandbox.architecture(len(tokenizer)))
    documents = islice(sandbox.documents(), sandbox.TOKENIZER_TEXTS, None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / WARM_UP) * (1 - step / STEPS)
        batch = tokenizer(list(islice(documents, BATCH)), return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


if __name__ == "__main__":
    main()
