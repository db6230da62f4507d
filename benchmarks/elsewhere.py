"""An adapter that TRL's SFTTrainer made goes through the README's three commands: judged, repaired, given back.

TRL goes on training the sealed adapter of a workspace (such as the demo's) on 120 rows of dolly_1k and 180 of gpteacher_roleplay. Then: is it
refused, is its repair sealed, and does plain PEFT answer with the repaired folder token for token as we do (in fp32)?

    python benchmarks/elsewhere.py --data-dir DATA --workspace demo-workspace [--learning-rate 2e-4] [--out runs/elsewhere]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from replay import wake_rows


def main() -> None:
    """Train, gate, run, export, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--workspace", type=Path, default=Path("demo-workspace"))
    parser.add_argument("--out", type=Path, default=Path("runs/elsewhere"))
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    place = options.out / "workspace"
    shutil.copytree(options.workspace, place)
    train, heldout = wake_rows(options.data_dir, 0)
    for name, rows in (("train", train), ("heldout", heldout)):
        (options.out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--workspace", str(place), "--set", f"model.threads={options.threads}"]
    files = ["--set", f"wake.data={options.out.absolute() / 'train.jsonl'}", "--set", f"wake.heldout={options.out.absolute() / 'heldout.jsonl'}"]
    dream("export", "adapter", "--to", str(options.out / "sealed"), "--workspace", str(place))
    made = sft(options.out, train, options.learning_rate, options.threads)
    judged = dream("gate", "--adapter", str(made), "--json", *common, *files)
    print(f"gate: {judged['verdict']}, failing {', '.join(judged['failing'])}")
    planned = dream("run", "--adapter", str(made), "--dry-run", "--json", *common, *files)["seconds"]
    begun = time.perf_counter()
    repaired = dream("run", "--adapter", str(made), "--json", *common, *files)
    took = time.perf_counter() - begun
    print(f"dry run: {planned:.0f} s foreseen, {took:.0f} s taken: {took / planned:.2f}")
    print(f"run: {repaired['verdict']}, failing {repaired['failing']}, undecided {repaired['undecided']}, Peace² {repaired['stability_ratio']}")
    for name, column in repaired["table"]["models"].items():
        print(name, {key: round(one["value"], 4) for key, one in column.items() if one["value"] is not None})
    print("gain lost", repaired["table"]["gain_lost"])
    folder = place / "registry" / repaired["weights"]
    print(f"plain PEFT: {same_answers(folder, heldout[:12], options.threads)} of 12 answers of 24 tokens equal ours")


def sft(out: Path, rows: list[dict[str, Any]], learning_rate: float, threads: int) -> Path:
    """One epoch of TRL's trainer, one row a step, from the sealed adapter."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from dream_engine.models.bundled import bundled_folder

    torch.set_num_threads(threads)
    base = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, out / "sealed", is_trainable=True, autocast_adapter_dtype=True)
    made = Dataset.from_list([{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows])
    settings = SFTConfig(
        output_dir=str(out / "trl"), num_train_epochs=1, per_device_train_batch_size=1, learning_rate=learning_rate, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=0, max_length=512,
    )  # fmt: skip
    trainer = SFTTrainer(model=model, args=settings, train_dataset=made, processing_class=AutoTokenizer.from_pretrained(bundled_folder()))
    trainer.train()
    trainer.save_model(str(out / "made"))
    return out / "made"


def dream(*arguments: str) -> Any:
    """Runs a command; gives its JSON, or its text."""
    done = subprocess.run([sys.executable, "-m", "dream_engine.cli", *arguments], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1, 3, 4):
        sys.exit(done.returncode)
    return json.loads(done.stdout) if "--json" in arguments else print(done.stdout, end="")


def same_answers(folder: Path, rows: list[dict[str, Any]], threads: int) -> int:
    """How many greedy answers of plain PEFT equal ours, both in fp32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from dream_engine.models.bundled import bundled_folder
    from dream_engine.models.hf import load_model
    from dream_engine.types import Message

    torch.set_num_threads(threads)
    ours = load_model("smollm2-135m", dtype="float32")
    ours.load_adapter("C", folder)
    asked = [[Message(m["role"], m["content"]) for m in row["messages"][:-1]] for row in rows]
    with ours.using("C"):
        answers = [g.text for g in ours.generate(asked, 24)]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32), folder).eval()
    equal = 0
    for turn, answer in zip(asked, answers, strict=True):
        ids = torch.tensor([ours.encode_prompt(turn)])
        made = theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        equal += ours.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip() == answer
    return equal


if __name__ == "__main__":
    main()
