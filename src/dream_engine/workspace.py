"""A workspace folder: the ledger, the registry, the runs and the cached evaluations; and files that are whole or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream_engine.errors import StorageError
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.registry import Registry


@dataclass(frozen=True)
class Workspace:
    """Paths and stores of one workspace."""

    root: Path
    ledger: Ledger
    registry: Registry

    @classmethod
    def open(cls, root: Path, create: bool = True) -> Workspace:
        """Opens a workspace.

        Raises:
            IntegrityError: there is none and `create` is false, or its ledger cannot be read.
            StorageError: the folder cannot be made.
        """
        if create:
            try:
                root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"workspace {root} cannot be made: {error}") from error
        ledger = Ledger(root / "ledger.db", create)
        return cls(root, ledger, Registry(root / "registry", ledger))

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def evaluation(self, weights: str, bench: str) -> Path:
        """Where the evaluation of these weights on this bench is kept, so that T is measured once."""
        return self.root / "evals" / f"{weights[:16]}-{bench[:16]}.jsonl"


def write_whole(path: Path, text: str) -> None:
    """Writes beside the place and renames, so that a kill leaves the old file or the new one.

    Raises:
        StorageError: the disk refused.
    """
    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
