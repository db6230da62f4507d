"""The Python API in five names, on the sandbox model (minutes on two cores). Every line would do in a notebook.

python examples/notebook.py FOLDER
"""

import sys
from pathlib import Path

from dream_engine import Workspace, export_adapter, gate_adapter, load_config, run_cycle

here, folder = Path(__file__).parent, Path(sys.argv[1])
config = load_config(here / "governance.yaml")  # a policy, a wake, a dream, a judge: one file
workspace = Workspace.open(folder / "workspace")

first = run_cycle(config, workspace)  # cycle 1 teaches the policy and waits for a person
print(first.run_id, first.gated.verdict.name, *first.gated.verdict.reasons, sep="\n  ")

made = workspace.registry.verified(first.weights)  # any PEFT folder can be judged by itself
print(gate_adapter(config, workspace, made, commission=True)["verdict"])

if workspace.registry.live:  # once approved: take it elsewhere, with its card
    print(export_adapter(workspace, folder / "adapter"))
