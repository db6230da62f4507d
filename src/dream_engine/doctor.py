"""`dream doctor`: is everything here that a cycle needs?"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dream_engine.config import Config
from dream_engine.errors import DreamError

MIN_FREE_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One finding; `detail` says what was found and what to do when it is not ok."""

    name: str
    ok: bool
    detail: str


def examine(config: Config, workspace: Path) -> list[Check]:
    """All checks, in the order in which they would stop a run."""
    return [
        _check("python", lambda: f"{sys.version.split()[0]}"),
        *(_check(name, lambda name=name: version(name)) for name in ("torch", "transformers", "peft", "apsw")),  # type: ignore[misc]
        _check("sqlite", _sqlite),
        _check("disk", lambda: _disk(workspace)),
        _check("policy pack", lambda: _pack(config)),
        _check("data", lambda: _data(config)),
        _check("ledger", lambda: _ledger(workspace)),
        _check("model", lambda: _model(config)),
        Check("offline", True, f"HF_HUB_OFFLINE={os.environ.get('HF_HUB_OFFLINE', 'not set')}"),
    ]


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except PackageNotFoundError:
        return Check(name, False, "not installed; run: pip install 'dream-engine[train]'")
    except (DreamError, OSError, ImportError) as error:
        return Check(name, False, str(error))


def _sqlite() -> str:
    import apsw

    return f"{apsw.sqlite_lib_version()} (through apsw)"


def _disk(workspace: Path) -> str:
    place = next(p for p in [workspace.absolute(), *workspace.absolute().parents] if p.exists())
    free = shutil.disk_usage(place).free / 1e9
    if free < MIN_FREE_GB:
        raise OSError(f"{free:.1f} GB free at {place}; at least {MIN_FREE_GB:g} are needed")
    return f"{free:.1f} GB free"


def _pack(config: Config) -> str:
    from dream_engine.policy.pack import load_pack, problems

    found = problems(load_pack(config.policy.pack))
    if found:
        raise OSError(f"{found[0]}; 'dream validate' lists everything")
    return f"{config.policy.pack} is complete"


def _data(config: Config) -> str:
    from dream_engine.capture.read import read_conversations

    if config.wake.data is None:
        return "no wake.data: only commissioning is possible"
    return f"{len(read_conversations(config.wake.data))} dialogues in {config.wake.data}"


def _ledger(workspace: Path) -> str:
    from dream_engine.workspace import Workspace

    if not (workspace / "ledger.db").exists():
        return "no workspace yet"
    return f"{Workspace.open(workspace, create=False).ledger.verify().entries} entries verify"


def _model(config: Config) -> str:
    from dream_engine.inputs import configured_model
    from dream_engine.models.pretrained import multiplies_bf16

    model = configured_model(config)
    found = f"{model.name} on {model.device} in {str(model.dtype).removeprefix('torch.')}, chat template found"
    if model.name == "sandbox" or multiplies_bf16(model.device.type):
        return found
    return f"{found}; this processor does not multiply bfloat16, so a cycle takes three to six times as long"
