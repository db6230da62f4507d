"""The Cooling Ledger: an append-only log, hash-chained, over a Merkle tree whose root is signed at every append.

An entry's bytes are stored exactly as they were hashed: canonical JSON, numbers of metrics as decimal strings. What verification can
promise depends on what the reader brings (levels of DESIGN §8): nothing, and only the chain is checked (L0); the log's public key
from elsewhere (L1); a witness's key too (L2). A cut-off end shows only against a head or a checkpoint that the reader kept.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern import merkle
from dream_engine.govern.keys import signing_key
from dream_engine.govern.notes import Checkpoint, PublicKey, Signature, SignedCheckpoint, public_key, sign, signed_by, witnesses_of
from dream_engine.govern.store import as_storage_error, open_store
from dream_engine.types import canonical_json

GENESIS = "0" * 64
LEVELS = (
    "L0 (hash chain and tree; no key was given, so whoever can write the file could have rewritten it whole)",
    "L1 (signed checkpoint; whoever holds the signing key could have rewritten it)",
    "L2 (signed and witnessed)",
)
SIGNER = "dream-engine"
EXPORT_FORMAT = "dream-ledger-export/1"


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


@dataclass(frozen=True)
class Verified:
    """What held: how many entries, and the level reached (0, 1 or 2)."""

    entries: int
    level: int


class Ledger:
    """The entries and aliases of one workspace. An alias moves only together with the entry that says so."""

    def __init__(self, path: Path, create: bool = True, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock = path, clock
        self._db = open_store(path, create)

    def append(self, kind: str, body: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> Entry:
        """Adds one entry, moves aliases and signs the new checkpoint, in one transaction, durable when this returns.

        Raises:
            InputError: the body holds NaN, infinity, or something that is not JSON; or the signing key cannot be used.
            StorageError: the disk refused; nothing was added.
        """
        key = signing_key(self.path.parent)
        with self._transaction():
            seq, previous = self._next()
            data = _encode(kind, {**body, **({"aliases": dict(aliases)} if aliases else {})}, self._now(), seq)
            value = entry_hash(previous, data)
            self._db.execute("INSERT INTO entries VALUES (?,?,?,?)", (seq, data, previous, value))
            for name, digest in (aliases or {}).items():
                self._db.execute("INSERT OR REPLACE INTO aliases VALUES (?,?,?)", (name, digest, seq))
            self._grow(seq, data)
            self._sign(seq, key)
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

    @property
    def origin(self) -> str:
        """The log's own name, drawn when it began; part of every checkpoint."""
        row = self._db.execute("SELECT value FROM settings WHERE name='origin'").fetchone()
        return str(row[0]) if row else ""

    def checkpoint(self) -> SignedCheckpoint:
        """The newest signed checkpoint.

        Raises:
            IntegrityError: the ledger is empty, or the stored text is damaged.
        """
        row = self._db.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        if row is None:
            raise IntegrityError(f"{self.path} holds no checkpoint; nothing was recorded yet")
        return SignedCheckpoint.parse(row[0])

    def add_cosignature(self, signature: Signature) -> SignedCheckpoint:
        """Puts a witness's signature below the newest checkpoint.

        Raises:
            StorageError: the disk refused; the checkpoint is as it was.
        """
        note = self.checkpoint()
        kept = tuple(s for s in note.signatures if (s.name, s.key_id) != (signature.name, signature.key_id))
        signed = SignedCheckpoint(note.checkpoint, (*kept, signature))
        with self._transaction():
            self._db.execute("UPDATE checkpoints SET note=? WHERE size=?", (signed.text, note.checkpoint.size))
        return signed

    def leaf(self, seq: int) -> bytes:
        """The leaf hash of entry `seq`."""
        return self._node((0, seq - 1))

    def inclusion(self, seq: int) -> list[bytes]:
        """Proof that entry `seq` is in the newest checkpoint's tree.

        Raises:
            InputError: there is no such entry.
        """
        size = self._next()[0] - 1
        if not 1 <= seq <= size:
            raise InputError(f"entry {seq} does not exist; the ledger holds 1 to {size}")
        return merkle.inclusion_proof(seq - 1, size, self._node)

    def consistency(self, old: int) -> list[bytes]:
        """Proof that the newest tree begins with the first `old` entries.

        Raises:
            InputError: `old` is not a size that the log has had.
        """
        size = self._next()[0] - 1
        if not 1 <= old <= size:
            raise InputError(f"the ledger never had {old} entries; it holds {size}")
        return merkle.consistency_proof(old, size, self._node)

    def export(self) -> bytes:
        """The whole log in one file that `tools/verify_ledger.py` verifies: format line, entries, blank line, checkpoint."""
        note = self.checkpoint()
        entries = b"".join(data + b"\n" for _, data, _, _ in self._rows())
        return EXPORT_FORMAT.encode() + b"\n" + entries + b"\n" + note.text.encode()

    def verify(self, head: str | None = None, key: PublicKey | None = None, witnesses: Sequence[PublicKey] = ()) -> Verified:
        """Recomputes every hash, the tree, the aliases, a pinned head, and the newest checkpoint with the keys that are given.

        Raises:
            IntegrityError: names the first entry, or the checkpoint, that does not fit.
        """
        previous, count, hashes = GENESIS, 0, {GENESIS}
        last_alias: dict[str, str] = {}
        nodes: dict[merkle.Node, bytes] = {}
        for seq, data, claimed_previous, value in self._rows():
            if seq != count + 1 or claimed_previous != previous or entry_hash(previous, data) != value:
                raise IntegrityError(f"{self.path}: entry {seq} does not follow from the entry before it; it was changed or moved")
            nodes.update(merkle.appended(count, merkle.leaf_hash(data), nodes.__getitem__))
            previous, count = value, seq
            hashes.add(value)
            last_alias |= json.loads(data).get("aliases", {})
        if head and head not in hashes:
            raise IntegrityError(f"{self.path}: the pinned head {head[:16]}… is not in the ledger; entries were cut off or replaced")
        self._verify_aliases(last_alias)
        return Verified(count, self._verify_checkpoint(count, nodes, key, witnesses) if count else 0)

    def close(self) -> None:
        self._db.close()

    def _verify_aliases(self, expected: Mapping[str, str]) -> None:
        found = {str(name): str(value) for name, value in self._db.execute("SELECT name, digest FROM aliases")}
        if found != dict(expected):
            raise IntegrityError(f"{self.path}: the live aliases differ from what the entries say: {found} against {dict(expected)}")

    def _verify_checkpoint(self, count: int, nodes: Mapping[merkle.Node, bytes], key: PublicKey | None, witnesses: Sequence[PublicKey]) -> int:
        note = self.checkpoint()
        point = note.checkpoint
        if (point.origin, point.size, point.root) != (self.origin, count, merkle.root(count, nodes.__getitem__)):
            raise IntegrityError(f"{self.path}: the newest checkpoint ({point.size} entries) is not one of these {count} entries")
        if {(level, at): value for level, at, value in self._db.execute("SELECT level, position, hash FROM nodes")} != dict(nodes):
            raise IntegrityError(f"{self.path}: the stored tree differs from the entries; proofs from it would be wrong")
        if key is None:
            return 0
        if not signed_by(note, key):
            raise IntegrityError(f"{self.path}: the newest checkpoint is not signed by key {key.name!r} ({key.key_id.hex()})")
        if witnesses and not witnesses_of(note, witnesses):
            raise IntegrityError(f"{self.path}: no given witness has cosigned the newest checkpoint")
        return 2 if witnesses else 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except apsw.Error as error:
            raise as_storage_error(self.path, error) from error

    def _grow(self, seq: int, data: bytes) -> None:
        for (level, at), value in merkle.appended(seq - 1, merkle.leaf_hash(data), self._node):
            self._db.execute("INSERT INTO nodes VALUES (?,?,?)", (level, at, value))

    def _sign(self, size: int, key: Ed25519PrivateKey) -> None:
        if not self.origin:
            self._db.execute("INSERT INTO settings VALUES ('origin', ?)", (f"dream-engine/{uuid.uuid4().hex}",))
        point = Checkpoint(self.origin, size, merkle.root(size, self._node))
        self._db.execute("INSERT INTO checkpoints VALUES (?,?)", (size, SignedCheckpoint(point, (sign(point, SIGNER, key),)).text))

    def _node(self, node: merkle.Node) -> bytes:
        row = self._db.execute("SELECT hash FROM nodes WHERE level=? AND position=?", node).fetchone()
        if row is None:
            raise IntegrityError(f"{self.path}: node {node} of the tree is missing; restore the file from a copy")
        return bytes(row[0])

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


def verifier_key(folder: Path) -> PublicKey:
    """The public half of the key that signs the ledger in `folder`."""
    return public_key(SIGNER, signing_key(folder))


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
