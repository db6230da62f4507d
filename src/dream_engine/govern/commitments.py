"""Salted commitments to rows of data: the ledger can say which rows a night learned from without holding anything about them.

Each row is committed to as SHA-256(salt ‖ its bytes) under a random salt of 32 bytes; the ledger keeps the Merkle root over a night's
commitments, in the order of the rows' ids. The salts lie in the run folder. Erasing a row throws its salt away: the root still
verifies, every other row can still be shown to belong to it, and the erased one can no longer be told from any other text.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream_engine.errors import InputError, IntegrityError
from dream_engine.files import write_json
from dream_engine.govern import merkle
from dream_engine.govern.ledger import Entry, Ledger

FILE = "commitments.json"


@dataclass(frozen=True)
class Commitment:
    """One row's commitment (hex) and its salt (hex), None once the row was erased."""

    value: str
    salt: str | None

    def opens(self, content: bytes) -> bool:
        """Whether this is the row that was committed to; never for an erased one."""
        return self.salt is not None and _commit(bytes.fromhex(self.salt), content) == self.value


def committed(folder: Path, rows: Mapping[str, bytes]) -> str:
    """The root over these rows' commitments; salts are drawn once and kept in `folder`, so that a night that goes on finds them again.

    Raises:
        StorageError: the disk refused.
        IntegrityError: what lies in the folder belongs to other rows.
    """
    if not (folder / FILE).is_file():
        salts = {id: secrets.token_bytes(32) for id in rows}
        write_json(folder / FILE, {id: {"salt": salts[id].hex(), "value": _commit(salts[id], rows[id])} for id in rows})
    found = read(folder)
    if set(found) != set(rows) or not all(found[id].opens(content) for id, content in rows.items() if found[id].salt):
        raise IntegrityError(f"{folder / FILE} belongs to other rows; remove the run folder and start the cycle again")
    return root(found)


def read(folder: Path) -> dict[str, Commitment]:
    """The commitments of one night, by row id; empty when it had none."""
    path = folder / FILE
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {id: Commitment(str(item["value"]), item["salt"]) for id, item in raw.items()}


def root(commitments: Mapping[str, Commitment]) -> str:
    """Merkle root (RFC 6962, hex) over the commitments in the order of the ids."""
    nodes: dict[merkle.Node, bytes] = {}
    for count, id in enumerate(sorted(commitments)):
        nodes.update(merkle.appended(count, merkle.leaf_hash(bytes.fromhex(commitments[id].value)), nodes.__getitem__))
    return merkle.root(len(commitments), nodes.__getitem__).hex()


def erase(ledger: Ledger, runs: Path, row: str, by: str, reason: str) -> Entry:
    """Throws away the salt of a row in every night that learned from it; recorded, then done, and done again if it was interrupted.

    Raises:
        InputError: no night knows the row, or name or reason is missing.
        StorageError: the disk refused; run it again.
    """
    if not by.strip() or not reason.strip():
        raise InputError("an erasure needs a name and a reason: --by NAME --reason '...'")
    nights = {folder: found for folder in sorted(runs.glob("*")) if row in (found := read(folder))}
    if not nights:
        raise InputError(f"no cycle here learned from row {row!r}; ids are those of the data file")
    values = [found[row].value for found in nights.values()]
    entry = ledger.append("erase", {"runs": [f.name for f in nights], "commitments": values, "by": [by], "reason": reason})
    for folder in nights:
        throw_away(folder, {row})
    return entry


def throw_away(folder: Path, rows: Collection[str]) -> list[str]:
    """Removes the salts of these rows from one folder's commitments; returns the values that can no longer be opened."""
    found = read(folder)
    write_json(folder / FILE, {id: {"salt": None if id in rows else c.salt, "value": c.value} for id, c in found.items()})
    return [c.value for id, c in found.items() if id in rows]


def _commit(salt: bytes, content: bytes) -> str:
    return hashlib.sha256(salt + content).hexdigest()
