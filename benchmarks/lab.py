"""Speed of the lab on split MNIST, class incremental: processor seconds, steps a second and accuracy, in float32 and with bf16 products, one thread.

The reference code needs 459 CPU seconds (DGR + distillation) and 426 (BI-R) for the same 5 × 2,000 steps of batch 128 on one core of another machine,
so the rate of this machine's matrix products is measured beside it, and the least time that those products would take.

    python benchmarks/lab.py --data-dir DATA [--iterations 2000] [--methods dgr+distill bi-r]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from dream_engine.lab.data import permuted_stream, read_mnist, split_stream
from dream_engine.lab.methods import Plan
from dream_engine.lab.metrics import average_accuracy
from dream_engine.lab.run import Run, learn

REFERENCE = {"dgr+distill": 459.0, "bi-r": 426.0}
REFERENCE_STEPS = 10_000
GFLOP_A_STEP = 2.7


def main() -> None:
    """The matmul rate, one run a method and precision, and the cost by number of contexts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--methods", nargs="+", default=list(REFERENCE))
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = read_mnist(options.data_dir / "mnist")
    stream = split_stream(train, test, "class", 5)
    for bf16 in (False, True):
        rate = products_a_second(torch.bfloat16 if bf16 else torch.float32)
        least = 1e12 * GFLOP_A_STEP / rate
        print(f"{'bf16' if bf16 else 'fp32'}: {rate / 1e12:.2f} TFLOP/s, so {GFLOP_A_STEP} GFLOP a step take {least:.1f} ms at best")
        for method in options.methods:
            run, _ = learn(stream, method, Plan(iterations=options.iterations, bf16=bf16), 0)
            print("  " + described(run), flush=True)
    for contexts in (5, 10, 20):
        plan = replace(Plan(), iterations=60, permuted=True)
        run, _ = learn(permuted_stream(train, test, "domain", contexts, 0), "dgr+distill", plan, 0)
        print(f"{contexts} contexts (permuted, dgr+distill): {1000 * run.cpu_seconds / run.iterations:.1f} ms CPU a step")


def products_a_second(dtype: torch.dtype, size: int = 1024, count: int = 60) -> float:
    """FLOP/s of a square matrix product, after a first one."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    a @ b
    begun = time.perf_counter()
    for _ in range(count):
        a @ b
    return 2 * size**3 * count / (time.perf_counter() - begun)


def described(run: Run) -> str:
    """Processor seconds, their share of the reference's for as many steps, steps a second, accuracy."""
    reference = REFERENCE.get(run.method)
    share = "" if reference is None else f", {run.cpu_seconds / (reference * run.iterations / REFERENCE_STEPS):.2f} of the reference's"
    speed = run.iterations / run.wall_seconds
    return f"{run.method}: {run.cpu_seconds:.0f} CPU s{share}, {speed:.0f} steps/s, average accuracy {100 * average_accuracy(run.matrix):.1f} %"


if __name__ == "__main__":
    main()
