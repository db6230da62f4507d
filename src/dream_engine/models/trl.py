"""The wake fitted by TRL's SFTTrainer instead of our loop, for those who want its schedulers, integrations and many GPUs.

Only rows without a teacher go through here; dreams have soft targets, which SFTTrainer does not know. A contract test holds its loss on the
same rows to ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dream_engine.errors import InputError
from dream_engine.files import write_json
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.models.template import Encoded


def trainer_for(
    model: ChatModel, rows: Sequence[Encoded], learning_rate: float, epochs: float, batch: int, accumulation: int, seed: int, folder: str
) -> Any:
    """TRL's trainer around the active adapter, over rows that we have tokenized; the loss is on the answers only.

    Raises:
        InputError: TRL is not installed.
    """
    try:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
    except ImportError as error:
        raise InputError("wake.trainer: trl is not installed; run: pip install 'dream-engine[trl]'") from error
    made = [{"input_ids": list(r.ids), "completion_mask": [0] * r.num_prompt + [1] * (len(r.ids) - r.num_prompt)} for r in rows]
    settings = SFTConfig(
        output_dir=folder,
        learning_rate=learning_rate,
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=len(rows),
        gradient_accumulation_steps=accumulation,
        warmup_steps=0.1,  # a share of the steps
        lr_scheduler_type="cosine",
        completion_only_loss=True,
        max_length=None,
        packing=False,
        bf16=False,
        ddp_backend="gloo" if model.device.type == "cpu" and "LOCAL_RANK" in os.environ else None,
        use_cpu=model.device.type == "cpu",
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=seed,
    )
    return SFTTrainer(model=model.trainable, args=settings, train_dataset=Dataset.from_list(made), processing_class=model.tokenizer)


def fit(
    model: ChatModel, adapter: str, rows: Sequence[Encoded], learning_rate: float, epochs: float, batch: int, accumulation: int, seed: int
) -> int:
    """Fits one adapter in this process; returns the optimiser's steps.

    Raises:
        InputError: TRL is not installed.
    """
    with model.lent(adapter), tempfile.TemporaryDirectory() as folder:
        trainer = trainer_for(model, rows, learning_rate, epochs, batch, accumulation, seed, folder)
        trainer.train()
        return int(trainer.state.global_step)


def fit_on_many(
    model: ChatModel,
    adapter: str,
    rows: Sequence[Encoded],
    processes: int,
    learning_rate: float,
    epochs: float,
    batch: int,
    accumulation: int,
    seed: int,
) -> int:
    """Fits one adapter by as many processes as there are devices, started by `accelerate launch`; this process only waits.

    Raises:
        InputError: a worker failed; its last words are in the message.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_adapter(adapter, folder / "adapter")
        plan = {"learning_rate": learning_rate, "epochs": epochs, "batch": batch, "accumulation": accumulation, "seed": seed}
        job = {"model": model.stands_on(adapter)[0], "dtype": str(model.dtype).removeprefix("torch."), "plan": plan}
        write_json(folder / "job.json", {**job, "rows": [[list(row.ids), row.num_prompt] for row in rows]})
        # `--multi_gpu` is accelerate's word for several processes on one machine; without a GPU they talk through gloo.
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--num_processes", str(processes)]
        launch += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "dream_engine.models.trl", name]
        on_cpu = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"} if model.device.type == "cpu" else {}
        done = subprocess.run(launch, check=False, capture_output=True, text=True, env={**os.environ, **on_cpu})
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"wake.num_processes: a training process ended with {done.returncode}: {last}")
        model.load_adapter(adapter, folder / "made")
        return int(json.loads((folder / "made.json").read_text())["steps"])


def worker(folder: Path) -> None:
    """One of those processes: trains its share, and the first of them saves."""
    job = json.loads((folder / "job.json").read_text())
    model = load_model(job["model"], "auto", job["dtype"])
    model.load_adapter("W", folder / "adapter")
    rows = [Encoded(tuple(ids), num_prompt) for ids, num_prompt in job["rows"]]
    with model.lent("W"):
        trainer = trainer_for(model, rows, **job["plan"], folder=str(folder / "out"))
        trainer.train()
    if trainer.is_world_process_zero():
        model.save_adapter("W", folder / "made")
        write_json(folder / "made.json", {"steps": int(trainer.state.global_step), "processes": trainer.args.world_size})


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
