"""The store that ships: one SQLite file, durable, single writer, through apsw.

apsw carries its own SQLite, because the interpreter's can lie inside a known WAL corruption range (3.7.0 – 3.51.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from dream_engine.errors import BusyError, DreamError, IntegrityError, StorageError
from dream_engine.govern.merkle import Node, creation_number
from dream_engine.govern.store import Row

SCHEMA_VERSION = 3
APPLICATION_ID = 0x44524D45
DURABILITY = "FULL"
"""SQLite syncs at every commit; with NORMAL a power cut takes acknowledged entries back (shown in tests/assurance)."""
_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, body BLOB NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TABLE aliases (name TEXT PRIMARY KEY, digest TEXT NOT NULL, seq INTEGER NOT NULL REFERENCES entries(seq)) STRICT;
CREATE TABLE nodes (number INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE pen (only INTEGER PRIMARY KEY CHECK (only = 1), epoch INTEGER NOT NULL) STRICT;
INSERT INTO pen VALUES (1, 0);
""" + "".join(
    f"CREATE TRIGGER {table}_{name} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    for table in ("entries", "nodes", "settings")
    for name, verb in (("keep", "UPDATE"), ("stay", "DELETE"))
)


class SqliteStore:
    """`Store` in one file: WAL, synchronous=FULL, append-only by triggers. After a failed write it is fenced until reopened."""

    def __init__(self, path: Path, create: bool = True) -> None:
        self._path = path
        self._db = _open(path, create)
        self._fenced = ""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._fenced:
            raise StorageError(f"{self._path} is closed to writing since a write failed ({self._fenced}); start the command again")
        try:
            with self._db:
                yield
        except DreamError:
            raise
        except apsw.Error as error:
            raise self._failed(error) from error

    def add_row(self, row: Row) -> None:
        self._db.execute("INSERT INTO entries VALUES (?,?,?,?)", row)

    def rows(self, after: int = 0) -> Iterator[Row]:
        for row in self._read("SELECT seq, body, previous, hash FROM entries WHERE seq > ? ORDER BY seq", (after,)):
            yield self._typed(row, (int, bytes, str, str))

    def last_row(self) -> Row | None:
        found = self._one("SELECT seq, body, previous, hash FROM entries ORDER BY seq DESC LIMIT 1")
        return self._typed(found, (int, bytes, str, str)) if found else None

    def set_alias(self, name: str, digest: str, seq: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO aliases VALUES (?,?,?)", (name, digest, seq))

    def aliases(self) -> dict[str, str]:
        return dict(self._typed(row, (str, str)) for row in self._read("SELECT name, digest FROM aliases"))

    def add_node(self, node: Node, value: bytes) -> None:
        self._db.execute("INSERT INTO nodes VALUES (?,?)", (creation_number(node), value))

    def node(self, node: Node) -> bytes | None:
        found = self._one("SELECT hash FROM nodes WHERE number=?", (creation_number(node),))
        return self._typed(found, (bytes,))[0] if found else None

    def num_nodes(self) -> int:
        return self._number("SELECT count(*) FROM nodes")

    def set_checkpoint(self, size: int, note: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO checkpoints VALUES (?,?)", (size, note))

    def checkpoint(self) -> str | None:
        found = self._one("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return self._typed(found, (str,))[0] if found else None

    def add_setting(self, name: str, value: str) -> None:
        self._db.execute("INSERT INTO settings VALUES (?,?)", (name, value))

    def setting(self, name: str) -> str | None:
        found = self._one("SELECT value FROM settings WHERE name=?", (name,))
        return self._typed(found, (str,))[0] if found else None

    def claim(self) -> int:
        with self.transaction():
            self._db.execute("UPDATE pen SET epoch = epoch + 1")
            return self.epoch()

    def epoch(self) -> int:
        return self._number("SELECT epoch FROM pen")

    def close(self) -> None:
        self._db.close()

    def _one(self, query: str, values: tuple[int | str, ...] = ()) -> Any:
        return next(self._read(query, values), None)

    def _number(self, query: str) -> int:
        found = self._one(query)
        return int(self._typed(found, (int,))[0]) if found else 0

    def _read(self, query: str, values: tuple[int | str, ...] = ()) -> Iterator[Any]:
        try:
            yield from self._db.execute(query, values)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise IntegrityError(f"{self._path} cannot be read: {error}; restore it from a copy") from error

    def _typed(self, row: Any, kinds: tuple[type, ...]) -> Any:
        """A damaged file can hold anything in any column."""
        if tuple(map(type, row)) != kinds:
            raise IntegrityError(f"{self._path} is damaged: it holds {[type(v).__name__ for v in row]} where others belong; restore it from a copy")
        return row

    def _failed(self, error: apsw.Error) -> StorageError | BusyError:
        """A lock is waited for; anything else may have torn the file's newest pages, so nothing more is written through this handle."""
        if isinstance(error, apsw.BusyError):
            return BusyError(f"{self._path} is being written by another process; try again when it has finished")
        self._fenced = f"{type(error).__name__}: {error}"
        return StorageError(f"{self._path}: {self._fenced}; nothing was recorded")


def _open(path: Path, create: bool) -> apsw.Connection:
    """Opens or creates the file. A foreign, damaged or newer one is refused and not touched.

    Raises:
        IntegrityError: not ours, damaged, or written by a newer version.
        StorageError: the disk refused.
    """
    if not create and not path.is_file():
        raise IntegrityError(f"{path} does not exist; run 'dream init' or 'dream run' first")
    try:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(5000)
        if connection.pragma("page_count"):
            _check(connection, path)
        elif create:
            _create(connection)
        else:
            raise IntegrityError(f"{path} is empty: no ledger was ever begun in it; run 'dream run', or restore it from a copy")
        for name, value in (("journal_mode", "WAL"), ("synchronous", DURABILITY), ("foreign_keys", True)):
            connection.pragma(name, value)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise IntegrityError(f"{path} is not a readable ledger ({error}); restore it from a copy, nothing was changed") from error
    except apsw.BusyError as error:
        raise BusyError(f"{path} is being written by another process; try again when it has finished") from error
    except (apsw.Error, OSError) as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error
    return connection


def _create(connection: apsw.Connection) -> None:
    """Schema and marks in one transaction, before WAL: a cut leaves a file of no pages (its journal undoes the rest) or a whole one."""
    connection.pragma("synchronous", "FULL")
    connection.execute("BEGIN IMMEDIATE")
    if connection.pragma("user_version") == 0:
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _check(connection: apsw.Connection, path: Path) -> None:
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if application != APPLICATION_ID:
        raise IntegrityError(f"{path} is an SQLite file of another program; choose another workspace, nothing was changed")
    if version > SCHEMA_VERSION:
        raise IntegrityError(f"{path} has format {version}, this version reads up to {SCHEMA_VERSION}; update dream-engine")
    if version < SCHEMA_VERSION:
        raise IntegrityError(f"{path} has format {version} of an unreleased version; start a new workspace, nothing was changed")
