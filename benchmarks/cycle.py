"""Share of a cycle's wall time outside model compute, on the sandbox or (with --real) on the demo model.

Model compute is the time inside the transformer, the head, the backward pass and the optimiser's step; everything else (tokenizing,
batching, screening, statistics, files, ledger) is overhead. Measured with the profiler's own clock around those calls.

    python benchmarks/cycle.py [--workspace demo-workspace]      reads the events of a finished run
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def timed(owner: Any, name: str, total: list[float]) -> None:
    """Wraps a method so that its outermost calls add to `total`."""
    inner: Callable[..., Any] = getattr(owner, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        total[1] += 1
        try:
            return inner(*args, **kwargs)
        finally:
            total[1] -= 1
            if total[1] == 0:
                total[0] += time.perf_counter() - begun

    setattr(owner, name, outer)


def main() -> None:
    """Runs a commissioning cycle of the given size and prints the shares."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--pairs", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(2)
    from dream_engine.config import load_config
    from dream_engine.cycle import run_cycle
    from dream_engine.dream import rehearse
    from dream_engine.models.hf import ChatModel
    from dream_engine.workspace import Workspace

    compute = [0.0, 0.0]
    for owner, name in ((ChatModel, "_forward"), (ChatModel, "_head"), (torch.Tensor, "backward"), (rehearse.AdapterFit, "update")):
        timed(owner, name, compute)
    settings = [f"model.name={options.model}", f"commission.pairs={options.pairs}", "commission.prefaced_pairs=0", "commission.self_texts=0"]
    settings += ["commission.self_anchors=40", "commission.anchors=40"]
    if options.model == "sandbox":
        settings.append("policy.pack=sandbox")
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run_cycle(load_config(None, settings), Workspace.open(Path(folder)))
        wall = time.perf_counter() - begun
    print(f"wall {wall:.1f} s, model compute {compute[0]:.1f} s, outside {100 * (1 - compute[0] / wall):.1f} % (model loading included)")


if __name__ == "__main__":
    main()
