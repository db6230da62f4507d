"""Where the ledger's records lie: the protocol, and the lock that makes one writer of many.

`Store` is all that the ledger asks of a database; tests/govern/test_store.py is its contract. `sqlite.py` is the one that ships.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from dream_engine.errors import BusyError
from dream_engine.govern.merkle import Node

Row = tuple[int, bytes, str, str]
"""(seq, exact bytes of the entry, previous hash, hash)."""


class Store(Protocol):
    """Append-only rows, tree nodes and settings; aliases and the newest checkpoint may be replaced. Durable when a transaction ends.

    Every method may raise StorageError (the medium refused), BusyError (another writer) or IntegrityError (what is read is damaged).
    """

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside the block are made, durably, or none."""

    def add_row(self, row: Row) -> None:
        """Adds the entry after the last one."""

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Entries in order, those with a number above `after`."""

    def last_row(self) -> Row | None:
        """The newest entry."""

    def set_alias(self, name: str, digest: str, seq: int) -> None:
        """Points a name to a digest, by entry `seq`."""

    def aliases(self) -> dict[str, str]:
        """Every name and where it points."""

    def add_node(self, node: Node, value: bytes) -> None:
        """Stores one full subtree."""

    def node(self, node: Node) -> bytes | None:
        """The hash of a full subtree, or None when it was never stored."""

    def num_nodes(self) -> int:
        """How many subtrees are stored."""

    def set_checkpoint(self, size: int, note: str) -> None:
        """Stores or replaces the signed checkpoint of one size."""

    def checkpoint(self) -> str | None:
        """The checkpoint of the greatest size."""

    def add_setting(self, name: str, value: str) -> None:
        """Stores a value once and for all."""

    def setting(self, name: str) -> str | None:
        """A stored value."""

    def claim(self) -> int:
        """Takes the pen: a new fencing epoch, greater than every one before."""

    def epoch(self) -> int:
        """The epoch of whoever holds the pen."""

    def close(self) -> None:
        """Lets go of the file or connection."""


@contextmanager
def exclusive(lock_path: Path) -> Iterator[None]:
    """Holds a workspace for one run; the lock goes with the process, so a killed run leaves none behind.

    Raises:
        BusyError: another process holds it; the message says which.
    """
    import fcntl

    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            raise BusyError(f"workspace {lock_path.parent} is held by {holder}; wait for it or use another folder") from error
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
