"""A workspace folder: the ledger, the registry, the runs and the cached evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
        ledger = Ledger.open(root / "ledger.db", create)
        return cls(root, ledger, Registry(root / "registry", ledger))

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def evaluation(self, weights: str, bench: str) -> Path:
        """Where the evaluation of these weights on this bench is kept, so that T is measured once."""
        return self.root / "evals" / f"{weights[:16]}-{bench[:16]}.jsonl"
