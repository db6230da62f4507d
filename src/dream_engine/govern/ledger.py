"""The Cooling Ledger: an append-only log in which every entry carries the hash of the one before it (level L0).

An entry's bytes are stored exactly as they were hashed: canonical JSON, numbers of metrics as decimal strings. A chain alone
does not notice that its end was cut off, so verification takes the head that the reader remembers.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern.store import as_storage_error, open_store
from dream_engine.types import canonical_json

GENESIS = "0" * 64
LEVEL = "L0 (hash chain; unsigned: whoever can write the file can rewrite it whole)"


@dataclass(frozen=True)
class Entry:
    """One event. `body` holds at least `kind` and `time` (UTC, seconds)."""

    seq: int
    body: Mapping[str, Any]
    previous: str
    hash: str

    @property
    def kind(self) -> str:
        return str(self.body["kind"])


class Ledger:
    """The entries and aliases of one workspace. An alias moves only together with the entry that says so."""

    def __init__(self, path: Path, create: bool = True, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock = path, clock
        self._db = open_store(path, create)

    def append(self, kind: str, body: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> Entry:
        """Adds one entry and moves aliases, in one transaction, durable when this returns.

        Raises:
            InputError: the body holds NaN, infinity, or something that is not JSON.
            StorageError: the disk refused; nothing was added.
        """
        try:
            with self._db:
                seq, previous = self._next()
                data = _encode(kind, {**body, **({"aliases": dict(aliases)} if aliases else {})}, self._now(), seq)
                value = entry_hash(previous, data)
                self._db.execute("INSERT INTO entries VALUES (?,?,?,?)", (seq, data, previous, value))
                for name, digest in (aliases or {}).items():
                    self._db.execute("INSERT OR REPLACE INTO aliases VALUES (?,?,?)", (name, digest, seq))
        except apsw.Error as error:
            raise as_storage_error(self.path, error) from error
        return Entry(seq, json.loads(data), previous, value)

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """Entries in order, all or of one kind."""
        for seq, data, previous, value in self._rows():
            entry = Entry(seq, json.loads(data), previous, value)
            if kind is None or entry.kind == kind:
                yield entry

    def alias(self, name: str) -> str | None:
        """The digest that an alias points to, or None."""
        row = self._db.execute("SELECT digest FROM aliases WHERE name=?", (name,)).fetchone()
        return str(row[0]) if row else None

    @property
    def head(self) -> str:
        """Hash of the newest entry; remember it elsewhere to notice a cut."""
        row = self._db.execute("SELECT hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return str(row[0]) if row else GENESIS

    def verify(self, pinned: str | None = None) -> int:
        """Recomputes every hash, the aliases, and the pinned head; returns the number of entries.

        Raises:
            IntegrityError: names the first entry that does not fit.
        """
        previous, count, hashes = GENESIS, 0, {GENESIS}
        last_alias: dict[str, str] = {}
        for seq, data, claimed_previous, value in self._rows():
            count += 1
            if seq != count or claimed_previous != previous or entry_hash(previous, data) != value:
                raise IntegrityError(f"{self.path}: entry {seq} does not follow from the entry before it; it was changed or moved")
            previous = value
            hashes.add(value)
            last_alias |= json.loads(data).get("aliases", {})
        if pinned and pinned not in hashes:
            raise IntegrityError(f"{self.path}: the pinned head {pinned[:16]}… is not in the ledger; entries were cut off or replaced")
        self._verify_aliases(last_alias)
        return count

    def close(self) -> None:
        self._db.close()

    def _verify_aliases(self, expected: Mapping[str, str]) -> None:
        found = {str(name): str(value) for name, value in self._db.execute("SELECT name, digest FROM aliases")}
        if found != dict(expected):
            raise IntegrityError(f"{self.path}: the live aliases differ from what the entries say: {found} against {dict(expected)}")

    def _rows(self) -> Iterator[tuple[int, bytes, str, str]]:
        try:
            yield from self._db.execute("SELECT seq, body, previous, hash FROM entries ORDER BY seq")
        except apsw.Error as error:
            raise IntegrityError(f"{self.path} cannot be read: {error}") from error

    def _next(self) -> tuple[int, str]:
        row = self._db.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return (row[0] + 1, row[1]) if row else (1, GENESIS)

    def _now(self) -> float:
        return round(self._clock(), 3)


def entry_hash(previous: str, data: bytes) -> str:
    """SHA-256 over the previous hash and this entry's exact bytes."""
    return hashlib.sha256(previous.encode() + b"\n" + data).hexdigest()


def decimals(value: Any) -> Any:
    """Floats as decimal strings, everywhere inside: the ledger holds no binary fractions."""
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise InputError(f"{value} cannot be recorded; a number that was not measured is null with a reason")
        return format(value, ".6g")
    if isinstance(value, Mapping):
        return {str(key): decimals(item) for key, item in value.items()}
    return [decimals(item) for item in value]


def _encode(kind: str, body: Mapping[str, Any], now: float, seq: int) -> bytes:
    try:
        return canonical_json({**decimals(body), "kind": kind, "time": format(now, ".3f"), "seq": seq})
    except (TypeError, ValueError) as error:
        raise InputError(f"a {kind!r} entry cannot be recorded: {error}") from error
