"""Shared fixtures: the sandbox model (trained once, cached) and a commissioned workspace on it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
SHARED = "PYTEST_XDIST_WORKER" in os.environ
"""Whether another test process has the other core."""
if SHARED:
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # what joblib.cpu_count() gives, to the commands too

SANDBOX = {
    "model": {"name": "sandbox", "threads": 1},
    "policy": {"pack": "sandbox"},
    "judge": {"answers": "rules"},
    "lora": {"r": 16, "lora_alpha": 32, "layers_from": 0.0},
    "commission": {
        "pairs": 360, "prefaced_pairs": 60, "anchors": 90, "self_anchors": 40, "self_texts": 0, "answer_tokens": 12, "learning_rate": 1.2e-3,
        "num_train_epochs": 3, "per_device_train_batch_size": 8, "ema_decay": 0.9, "harmful_weight": 1.0, "anchor_weight": 1.0,
    },
    "wake": {"learning_rate": 9e-4, "per_device_train_batch_size": 8, "num_train_epochs": 3},
    "dream": {
        "pairs": 440, "reworded_pairs": 0, "prefaced_pairs": 60, "anchors": 160, "self_anchors": 10, "self_texts": 40, "wake_rows": 30,
        "answer_tokens": 16, "learning_rate": 4e-4, "num_train_epochs": 4, "per_device_train_batch_size": 8, "first_weight": 3.0,
        "harmful_weight": 1.0, "prefix_recovery": 0.0, "ema_decay": 0.9,
    },
}  # fmt: skip


def approve_as_demo(workspace: Any, run: str) -> None:
    """Registers a key marked demo and approves a first model with it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from dream_engine.govern import approvals, reviewers
    from dream_engine.govern.decisions import decide
    from dream_engine.govern.keys import LocalSigner

    signer = LocalSigner("demo", Ed25519PrivateKey.generate())
    reviewers.add(workspace.ledger, signer.public, human=False)
    stake = approvals.at_stake(approvals.held_cycle(workspace.ledger, run), "approve")
    signed = decide(workspace.ledger, signer, stake, "for the tests")
    approvals.approve(workspace.ledger, workspace.registry, signed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The real model's file, the longest, begins first: the other process takes the rest meanwhile."""
    if SHARED:
        items.sort(key=lambda item: "real" not in item.keywords)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--assurance", action="store_true", help="run the promises' checks at their stated N (docs/assurance.md); needs strace")


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`size(reduced, full)`: how often a promise is checked, in `make test` and in `make assurance`."""
    whole = bool(request.config.getoption("--assurance"))
    return lambda reduced, full: full if whole else reduced


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The sandbox model is too small for more, and a thread that waits for a busy core takes longer than none."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sandbox_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wake data in the sandbox world's language."""
    from dream_engine.models.sandbox import wake_dialogues

    folder = tmp_path_factory.mktemp("data")
    for name, count, seed in (("wake", 160, 1), ("heldout", 60, 2)):
        rows = "".join(json.dumps(row) + "\n" for row in wake_dialogues(count, seed))
        (folder / f"{name}.jsonl").write_text(rows)
    return folder


@pytest.fixture(scope="session")
def sandbox_config(sandbox_data: Path) -> Callable[..., Any]:
    """Makes a sandbox Config; keyword arguments replace whole sections' keys."""
    from dream_engine.config import Config

    def make(seed: int = 0, **sections: dict[str, Any]) -> Any:
        raw: dict[str, Any] = json.loads(json.dumps(SANDBOX)) | {"seed": seed}
        raw["wake"] |= {"data": str(sandbox_data / "wake.jsonl"), "heldout": str(sandbox_data / "heldout.jsonl")}
        for name, values in sections.items():
            raw[name] = raw.get(name, {}) | values
        return Config.model_validate(raw)

    return make


@pytest.fixture(scope="session")
def commissioned_root(sandbox_config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose first cycle was commissioned and approved. Do not write to it; use `commissioned`."""
    from dream_engine.cycle import run_cycle
    from dream_engine.workspace import Workspace

    root = tmp_path_factory.mktemp("workspace")
    workspace = Workspace.open(root)
    outcome = run_cycle(sandbox_config(), workspace)
    assert outcome.gated.verdict.name == "hold", outcome.gated.verdict
    approve_as_demo(workspace, outcome.run_id)
    workspace.ledger.close()
    return root


@pytest.fixture
def commissioned(commissioned_root: Path, tmp_path: Path) -> Any:
    """A private copy of the commissioned workspace."""
    from dream_engine.workspace import Workspace

    shutil.copytree(commissioned_root, tmp_path / "ws")
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def dream(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `dream ...` in an empty folder; gives exit code, stdout, stderr."""
    from dream_engine import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["dream", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out, out.err

    return call
