"""The one SQLite file of a workspace: durable, single writer, opened through apsw.

apsw carries its own SQLite, because the interpreter's can lie inside a known WAL corruption range (3.7.0 – 3.51.2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from dream_engine.errors import BusyError, IntegrityError, StorageError

SCHEMA_VERSION = 2
APPLICATION_ID = 0x44524D45
_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, body BLOB NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE aliases (name TEXT PRIMARY KEY, digest TEXT NOT NULL, seq INTEGER NOT NULL REFERENCES entries(seq)) STRICT;
CREATE TABLE nodes (level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
""" + "".join(
    f"CREATE TRIGGER {table}_{name} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    for table in ("entries", "nodes", "settings")
    for name, verb in (("keep", "UPDATE"), ("stay", "DELETE"))
)


def open_store(path: Path, create: bool = True) -> apsw.Connection:
    """Opens or creates the store. A foreign, damaged or newer file is refused and not touched.

    Raises:
        IntegrityError: not our file, damaged, or written by a newer version.
        StorageError: the disk refused.
    """
    if not create and not path.is_file():
        raise IntegrityError(f"{path} does not exist; run 'dream init' or 'dream run' first")
    try:
        fresh = not path.exists() or path.stat().st_size == 0
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(5000)
        if not fresh:
            _check(connection, path)
        connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON")
        if fresh:
            with connection:
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}")
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise IntegrityError(f"{path} is not a readable ledger ({error}); restore it from a copy, nothing was changed") from error
    except apsw.Error as error:
        raise as_storage_error(path, error) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error}") from error
    return connection


def as_storage_error(path: Path, error: apsw.Error) -> StorageError | BusyError:
    """What a failed statement means for the user."""
    if isinstance(error, apsw.BusyError):
        return BusyError(f"{path} is being written by another process; try again when it has finished")
    return StorageError(f"{path}: {type(error).__name__}: {error}")


def _check(connection: apsw.Connection, path: Path) -> None:
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if application != APPLICATION_ID:
        raise IntegrityError(f"{path} is an SQLite file of another program; choose another workspace, nothing was changed")
    if version > SCHEMA_VERSION:
        raise IntegrityError(f"{path} has format {version}, this version reads up to {SCHEMA_VERSION}; update dream-engine")
    if version < SCHEMA_VERSION:
        raise IntegrityError(f"{path} has format {version} of an unreleased version; start a new workspace, nothing was changed")


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
            raise BusyError(f"workspace {lock_path.parent} is held by {holder}; wait for it or use another --workspace") from error
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
