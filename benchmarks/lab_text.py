"""Experiment 1 on public text: toxic or not (davidson), then 77 intents (banking77), then 150 (clinc150); macro F1 on each after each.

    python benchmarks/lab_text.py --data-dir DATA [--seeds 3] [--method er dgr+distill …]

Writes the tables of `dream lab text` from the data folder and runs it, class incremental. Texts stay in files and memory; only scores are shown.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

Row = tuple[str, str, str]


def main() -> None:
    """The tables, then the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/lab-text"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", nargs="+", default=["er", "dgr+distill", "generator-each", "bi-r"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, rows in {
        "A-toxic": davidson(options.data_dir),
        "B-banking77": banking(options.data_dir),
        "C-clinc150": clinc(options.data_dir),
    }.items():
        files.append(options.out / f"{name}.csv")
        with files[-1].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label", "split"), *rows])
    names = [word for name in options.method for word in ("--method", name)]
    numbers = ["--seeds", str(options.seeds), "--iterations", str(options.iterations), "--threads", str(options.threads)]
    command = [sys.executable, "-m", "dream_engine.cli", "lab", "text", *map(str, files), *names, *numbers, "--scenario", "class"]
    sys.exit(subprocess.run([*command, "--rows", str(options.out / "rows.jsonl")], check=False).returncode)


def davidson(data: Path) -> Iterable[Row]:
    """Toxic unless its class is 2; the split is drawn by each text's digest."""
    with (data / "davidson" / "labeled_data.csv").open(encoding="utf-8") as file:
        return [(" ".join(r["tweet"].split()), "safe" if r["class"] == "2" else "unsafe", "") for r in csv.DictReader(file)]


def banking(data: Path) -> Iterable[Row]:
    rows: list[Row] = []
    for split in ("train", "test"):
        with (data / "banking77" / f"{split}.csv").open(encoding="utf-8") as file:
            rows += [(" ".join(r["text"].split()), r["category"], split) for r in csv.DictReader(file)]
    return rows


def clinc(data: Path) -> Iterable[Row]:
    raw = json.loads((data / "clinc150" / "data_small.json").read_text(encoding="utf-8"))
    return [(" ".join(text.split()), label, split) for split in ("train", "test") for text, label in raw[split]]


if __name__ == "__main__":
    main()
