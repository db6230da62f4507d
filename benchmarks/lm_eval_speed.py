"""What a judged answer costs beside lm-eval's Hugging Face backend: the same shipped prompts, 24 greedy tokens, both in bf16, in one run.

Each reads all prompts once at every batch size of theirs that is asked for; ours at its own. Prompts a second, and how many answers agree.

    pip install lm-eval
    python benchmarks/lm_eval_speed.py [--prompts 450] [--batch-sizes 1 16 96] [--threads 2]
"""

from __future__ import annotations

import argparse
import logging
import time

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from dream_engine.judge.suites import Prompt, shipped_suites
from dream_engine.models.bundled import bundled_folder
from dream_engine.models.hf import ChatModel, load_model

TOKENS = 24


def main() -> None:
    """Ours before and after theirs, so that a machine that changes its speed shows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=450)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 96])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    prompts = list(shipped_suites())[: options.prompts]
    model = load_model("smollm2-135m", dtype="bfloat16")
    first, answers = ours(model, prompts)
    print(f"ours: {first:.1f} prompts/s")
    for size in options.batch_sizes:
        speed, others = theirs(size, prompts)
        same = sum(a.strip() == b.strip() for a, b in zip(answers, others, strict=True))
        print(f"lm-eval, batch {size}: {speed:.1f} prompts/s, ours {first / speed:.2f}x; {same} of {len(prompts)} answers the same", flush=True)
    print(f"ours again: {ours(model, prompts)[0]:.1f} prompts/s")


def ours(model: ChatModel, prompts: list[Prompt]) -> tuple[float, list[str]]:
    """Prompts a second and the answers."""
    start = time.perf_counter()
    done = model.generate([p.turns for p in prompts], TOKENS)
    return len(prompts) / (time.perf_counter() - start), [g.text for g in done]


def theirs(batch_size: int, prompts: list[Prompt]) -> tuple[float, list[str]]:
    """The same through lm-eval's own chat template and `generate_until`; loading the model is not counted."""
    lm = HFLM(pretrained=str(bundled_folder()), dtype="bfloat16", device="cpu", batch_size=batch_size)
    turns = [[{"role": m.role, "content": m.content} for m in p.turns] for p in prompts]
    until = {"until": [], "max_gen_toks": TOKENS, "do_sample": False}
    asked = [Instance("generate_until", {}, (lm.apply_chat_template(t), until), i) for i, t in enumerate(turns)]
    start = time.perf_counter()
    answers = lm.generate_until(asked, disable_tqdm=True)
    return len(prompts) / (time.perf_counter() - start), list(answers)


if __name__ == "__main__":
    main()
