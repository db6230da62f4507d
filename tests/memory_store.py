"""A second `Store`, in memory: shows that the protocol is not SQLite in disguise, and keeps whole logs for property tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from dream_engine.errors import StorageError
from dream_engine.govern.merkle import Node
from dream_engine.govern.store import Row


class MemoryStore:
    """Rows, nodes and settings in dictionaries; a failed transaction puts everything back."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._aliases: dict[str, str] = {}
        self._nodes: dict[Node, bytes] = {}
        self._notes: dict[int, str] = {}
        self._settings: dict[str, str] = {}
        self._epoch = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        before = copy.deepcopy(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.update(before)
            raise

    def add_row(self, row: Row) -> None:
        if row[0] != len(self._rows) + 1:
            raise StorageError(f"entry {row[0]} does not come after {len(self._rows)}")
        self._rows.append(row)

    def rows(self, after: int = 0) -> Iterator[Row]:
        return iter(self._rows[after:])

    def last_row(self) -> Row | None:
        return self._rows[-1] if self._rows else None

    def set_alias(self, name: str, digest: str, seq: int) -> None:
        self._aliases[name] = digest

    def aliases(self) -> dict[str, str]:
        return dict(self._aliases)

    def add_node(self, node: Node, value: bytes) -> None:
        if node in self._nodes:
            raise StorageError(f"node {node} is stored already")
        self._nodes[node] = value

    def node(self, node: Node) -> bytes | None:
        return self._nodes.get(node)

    def num_nodes(self) -> int:
        return len(self._nodes)

    def set_checkpoint(self, size: int, note: str) -> None:
        self._notes[size] = note

    def checkpoint(self) -> str | None:
        return self._notes[max(self._notes)] if self._notes else None

    def add_setting(self, name: str, value: str) -> None:
        if name in self._settings:
            raise StorageError(f"setting {name!r} is stored already")
        self._settings[name] = value

    def setting(self, name: str) -> str | None:
        return self._settings.get(name)

    def claim(self) -> int:
        self._epoch += 1
        return self._epoch

    def epoch(self) -> int:
        return self._epoch

    def close(self) -> None:
        """Nothing to let go of."""
