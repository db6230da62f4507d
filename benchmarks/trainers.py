"""Three trainers on the same rows in one run, each in a process of its own: ours, TRL's SFTTrainer, and the loop that everybody writes.

Prints trained-batch tokens/s (padding left out), peak memory, and start-up: from the process's first line to the end of its first step.

    python benchmarks/trainers.py [--model smollm2-135m | sandbox] [--steps 6] [--batch 8]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from step import THREADS, peak_mb, rows

BEGUN = time.perf_counter()
LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def folder_of(model: str) -> Path:
    """The model's files."""
    from dream_engine.models.bundled import bundled_folder
    from dream_engine.models.sandbox import sandbox_folder

    return sandbox_folder() if model == "sandbox" else bundled_folder()


def ours(model: str, steps: int, batch: int) -> dict[str, float]:
    """Logits at targets only, adapter on every layer, so that the three train the same thing."""
    from dream_engine.dream.rehearse import RehearsalPlan, Row, rehearse
    from dream_engine.models.hf import load_model
    from dream_engine.types import Message

    chat = load_model(model)
    chat.add_adapter("A", 16, 32)
    made = [Row(chat.encode([Message("user", q)], a)) for q, a in rows((steps + 1) * batch)]
    plan = RehearsalPlan(1e-4, per_device_train_batch_size=batch)
    rehearse(chat, "A", made[:batch], plan)
    started, begun = time.perf_counter() - BEGUN, time.perf_counter()
    done = rehearse(chat, "A", made[batch:], plan)
    return {"tokens_per_s": done.seen_tokens / (time.perf_counter() - begun), "peak_mb": peak_mb(), "start_s": started}


def trl(model: str, steps: int, batch: int) -> dict[str, float]:
    """SFTTrainer as its documentation shows it: prompt and completion, loss on the completion, bf16 where the model is real."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        """When the first step had ended."""

        first = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.first = self.first or time.perf_counter()

    place, clock = folder_of(model), Clock()
    tokenizer = AutoTokenizer.from_pretrained(place)
    made = [{"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]} for q, a in rows((steps + 1) * batch)]
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(), max_steps=steps + 1, per_device_train_batch_size=batch, learning_rate=1e-4, use_cpu=True,
        bf16=model != "sandbox",
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    base = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    trainer = SFTTrainer(
        model=base,
        args=settings,
        train_dataset=Dataset.from_list(made),
        processing_class=tokenizer,
        peft_config=LoraConfig(**LORA),
        callbacks=[clock],
    )
    tokens = sum(map(len, trainer.train_dataset["input_ids"])) * steps / (steps + 1)
    trainer.train()
    return {"tokens_per_s": tokens / (time.perf_counter() - clock.first), "peak_mb": peak_mb(), "start_s": clock.first - BEGUN}


def plain(model: str, steps: int, batch: int) -> dict[str, float]:
    """Padded batches, full logits, PEFT's fp32 adapter under autocast, AdamW."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder_of(model))
    net = get_peft_model(AutoModelForCausalLM.from_pretrained(folder_of(model), dtype=torch.float32), LoraConfig(**LORA))
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-4)
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}, {"role": "assistant", "content": a}], tokenize=False)
        for q, a in rows((steps + 1) * batch)
    ]
    seen, started = 0, 0.0
    for step in range(steps + 1):
        tokens = tokenizer(texts[step * batch : (step + 1) * batch], return_tensors="pt", padding=True)
        labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
        with torch.autocast("cpu", torch.bfloat16, enabled=model != "sandbox"):
            net(**tokens, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen += int(tokens["attention_mask"].sum()) if step else 0
        started = started or time.perf_counter()
    return {"tokens_per_s": seen / (time.perf_counter() - started), "peak_mb": peak_mb(), "start_s": started - BEGUN}


KINDS = {"ours": ours, "trl": trl, "plain": plain}


def main() -> None:
    """Each trainer twice, interleaved; the better run of each, and ratios to TRL."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    if options.only:
        import torch

        torch.set_num_threads(THREADS)
        print(json.dumps(KINDS[options.only](options.model, options.steps, options.batch)))
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(2):
        for kind in KINDS:
            command = [
                sys.executable,
                __file__,
                "--only",
                kind,
                "--model",
                options.model,
                "--steps",
                str(options.steps),
                "--batch",
                str(options.batch),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    best = {kind: max(runs, key=lambda run: run["tokens_per_s"]) for kind, runs in found.items()}
    for kind, run in best.items():
        speed, memory = run["tokens_per_s"] / best["trl"]["tokens_per_s"], run["peak_mb"] / best["trl"]["peak_mb"]
        shown = f"{kind:6s} {run['tokens_per_s']:7.0f} tokens/s ({speed:.2f}x)   peak {run['peak_mb']:5.0f} MB ({memory:.2f}x)"
        print(f"{shown}   first step after {run['start_s']:.1f} s")


if __name__ == "__main__":
    main()
