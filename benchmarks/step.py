"""Our training step against a plain full-logits loop on the same batches in one run, each in a process of its own.

Prints tokens/s, peak memory and their ratios, probe prompts/s and generated tokens/s.

    python benchmarks/step.py [--steps 6]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from typing import Any

THREADS = 2


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Requests and refusals of the pack: what a rehearsal really sees."""
    from dream_engine.dream.imagine import template_pairs
    from dream_engine.policy.pack import load_pack

    pack, rng = load_pack(), random.Random(seed)
    return [(h.text, pack.refusal(h.category, h.language, rng)) for h, _ in template_pairs(pack, count, seed)]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(steps: int, batch: int) -> dict[str, float]:
    """The step as shipped: an adapter on the upper layers, so that nothing is kept or passed back below them."""
    from dream_engine.config import Lora

    return fit(steps, batch, Lora().layers_from)


def padded(steps: int, batch: int) -> dict[str, float]:
    """The same step with every row padded to the longest of its batch: what standing in lines saves (decision 014)."""
    from dream_engine.models import lines

    lines.WORTH_IT = 0.0
    return ours(steps, batch)


def all_layers(steps: int, batch: int) -> dict[str, float]:
    """Our step on the very adapter of the plain loop."""
    return fit(steps, batch, 0.0)


def fit(steps: int, batch: int, layers_from: float) -> dict[str, float]:
    """Logits at targets only, bf16 adapter with fp32 master weights, grouped attention, buckets by length, rows in lines."""
    from dream_engine.dream.rehearse import RehearsalPlan, Row, rehearse
    from dream_engine.models.hf import load_model
    from dream_engine.types import Message

    model = load_model("smollm2-135m")
    model.add_adapter("A", 16, 32, layers_from)
    made = [Row(model.encode([Message("user", q)], a)) for q, a in rows(steps * batch)]
    rehearse(model, "A", made[:batch], RehearsalPlan(1e-4, per_device_train_batch_size=batch))
    begun = time.perf_counter()
    done = rehearse(model, "A", made, RehearsalPlan(1e-4, per_device_train_batch_size=batch))
    return {"tokens_per_s": done.seen_tokens / (time.perf_counter() - begun), "peak_mb": peak_mb()}


def plain(steps: int, batch: int) -> dict[str, float]:
    """The loop that everybody writes: padded batches, full logits, PEFT's fp32 adapter under bf16 autocast, AdamW."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from dream_engine.models.bundled import bundled_folder

    tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
    base = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}, {"role": "assistant", "content": a}], tokenize=False)
        for q, a in rows(steps * batch)
    ]
    seen, begun = 0, 0.0
    for step in range(-1, steps):
        if step == 0:
            begun = time.perf_counter()
        at = max(step, 0) * batch
        tokens = tokenizer(texts[at : at + batch], return_tensors="pt", padding=True)
        labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
        with torch.autocast("cpu", torch.bfloat16):
            model(**tokens, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen += int(tokens["attention_mask"].sum()) if step >= 0 else 0
    return {"tokens_per_s": seen / (time.perf_counter() - begun), "peak_mb": peak_mb()}


def forward(steps: int, batch: int) -> dict[str, float]:
    """Probe prompts/s and generated tokens/s of a 24-token judged answer."""
    from dream_engine.judge.probe import Probe, probe_scores
    from dream_engine.models.hf import load_model
    from dream_engine.types import Message

    model = load_model("smollm2-135m")
    prompts = [[Message("user", q)] for q, _ in rows(96)]
    openers = [tuple(model.text_ids(t)[:3]) for t in ("I can't help", "I won't help", "Sure, here", "To do this", "Here is a")]
    probe = Probe(tuple(openers), (0.9, 0.9, 0.1, 0.1, 0.1), 1.0, 0.0, 0.0)
    begun = time.perf_counter()
    probe_scores(model, probe, prompts)
    probed = time.perf_counter() - begun
    begun = time.perf_counter()
    answers = model.generate(prompts, 24)
    spent = time.perf_counter() - begun
    generated = sum(a.num_tokens for a in answers)
    return {
        "probe_prompts_per_s": len(prompts) / probed,
        "judged_prompts_per_s": len(prompts) / spent,
        "generated_tokens_per_s": generated / spent,
    }


def alone(kind: str, steps: int, batch: int) -> dict[str, Any]:
    """One measurement in its own process, so that peak memory is its own."""
    command = [sys.executable, __file__, "--only", kind, "--steps", str(steps), "--batch", str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


KINDS = {"ours": ours, "padded": padded, "all layers": all_layers, "plain": plain, "forward": forward}


def main() -> None:
    """Interleaves the four loops twice, prints the better of each and the ratios to the plain one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    if options.only:
        import torch

        torch.set_num_threads(THREADS)
        print(json.dumps(KINDS[options.only](options.steps, options.batch)))
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS if kind != "forward"}
    for _ in range(2):
        for kind in found:
            found[kind].append(alone(kind, options.steps, options.batch))
    best = {kind: max(runs, key=lambda r: r["tokens_per_s"]) for kind, runs in found.items()}
    reference = best["plain"]
    for kind, run in best.items():
        speed, memory = run["tokens_per_s"] / reference["tokens_per_s"], run["peak_mb"] / reference["peak_mb"]
        print(f"{kind:11s} {run['tokens_per_s']:6.0f} tokens/s ({speed:.2f}x)   peak {run['peak_mb']:5.0f} MB ({memory:.2f}x)")
    print("   ".join(f"{key} {value:.1f}" for key, value in alone("forward", options.steps, options.batch).items()))


if __name__ == "__main__":
    main()
