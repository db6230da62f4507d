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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dream_engine.errors import BusyError, InputError, IntegrityError
from dream_engine.govern import merkle
from dream_engine.govern.keys import engine_signer
from dream_engine.govern.notes import Checkpoint, PublicKey, Signature, SignedCheckpoint, Signer, sign, signed_by, witnesses_of
from dream_engine.govern.sqlite import SqliteStore
from dream_engine.govern.store import Row, Store
from dream_engine.types import canonical_json

GENESIS = "0" * 64
LEVELS = (
    "L0 (hash chain and tree; no key was given, so whoever can write the file could have rewritten it whole)",
    "L1 (signed checkpoint; whoever holds the signing key could have rewritten it)",
    "L2 (signed and witnessed)",
)
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

    @property
    def time(self) -> float:
        return float(self.body["time"])


@dataclass(frozen=True)
class Verified:
    """What held: how many entries, and the level reached (0, 1 or 2)."""

    entries: int
    level: int


class Ledger:
    """The entries and aliases of one workspace. An alias moves only together with the entry that says so."""

    def __init__(self, store: Store, signer: Callable[[], Signer], clock: Callable[[], float] = time.time, name: str = "the ledger") -> None:
        self._store, self._find_signer, self._clock, self._name = store, signer, clock, name
        self._epoch: int | None = None

    @classmethod
    def open(cls, path: Path, create: bool = True, clock: Callable[[], float] = time.time) -> Ledger:
        """The ledger in an SQLite file, signed by the engine's key beside it (or where the environment says).

        Raises:
            IntegrityError: not our file, damaged, or written by a newer version; nothing was changed.
            StorageError: the disk refused.
        """
        return cls(SqliteStore(path, create), lambda: engine_signer(path.parent), clock, str(path))

    @cached_property
    def _signer(self) -> Signer:
        return self._find_signer()

    def claim(self) -> None:
        """Becomes the one writer: every ledger opened on the same store before refuses to append from now on."""
        self._epoch = self._store.claim()

    def append(self, kind: str, body: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> Entry:
        """Adds one entry, moves aliases and signs the new checkpoint, in one transaction, durable when this returns.

        Raises:
            InputError: the body holds NaN, infinity, or something that is not JSON; or the signing key cannot be used.
            BusyError: another engine took over this store.
            StorageError: the disk refused; nothing was added.
        """
        signer = self._signer
        with self._store.transaction():
            self._refuse_if_replaced()
            last = self._store.last_row()
            seq, previous = (last[0] + 1, last[3]) if last else (1, GENESIS)
            data = _encode(kind, {**body, **({"aliases": dict(aliases)} if aliases else {})}, self.now(), seq)
            value = entry_hash(previous, data)
            self._store.add_row((seq, data, previous, value))
            for name, digest in (aliases or {}).items():
                self._store.set_alias(name, digest, seq)
            for node, subtree in merkle.appended(seq - 1, merkle.leaf_hash(data), self._node):
                self._store.add_node(node, subtree)
            self._sign(seq, signer)
        return Entry(seq, json.loads(data), previous, value)

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """Entries in order, all or of one kind."""
        for seq, data, previous, value in self._store.rows():
            entry = Entry(seq, self._body(seq, data), previous, value)
            if kind is None or entry.kind == kind:
                yield entry

    def now(self) -> float:
        """The clock, but never before the newest entry: a clock set back reorders nothing and extends no approval. UTC seconds."""
        last = self._store.last_row()
        return round(max(self._clock(), float(json.loads(last[1])["time"]) if last else 0.0), 3)

    def alias(self, name: str) -> str | None:
        """The digest that an alias points to, or None."""
        return self._store.aliases().get(name)

    @property
    def size(self) -> int:
        """How many entries there are."""
        last = self._store.last_row()
        return last[0] if last else 0

    @property
    def head(self) -> str:
        """Hash of the newest entry; remember it elsewhere to notice a cut."""
        last = self._store.last_row()
        return last[3] if last else GENESIS

    @property
    def origin(self) -> str:
        """The log's own name, drawn when it began; part of every checkpoint."""
        return self._store.setting("origin") or ""

    def root(self, size: int) -> bytes:
        """The tree's root when the log had `size` entries.

        Raises:
            InputError: it never had that many.
        """
        if not 0 <= size <= self.size:
            raise InputError(f"the ledger never had {size} entries; it holds {self.size}")
        return merkle.root(size, self._node)

    def verifier_key(self) -> PublicKey:
        """The public half of the key that signs this ledger."""
        return self._signer.public

    def checkpoint(self) -> SignedCheckpoint:
        """The newest signed checkpoint.

        Raises:
            IntegrityError: the ledger is empty, or the stored text is damaged.
        """
        note = self._store.checkpoint()
        if note is None:
            raise IntegrityError(f"{self._name} holds no checkpoint; nothing was recorded yet")
        return SignedCheckpoint.parse(note)

    def add_cosignature(self, signature: Signature) -> SignedCheckpoint:
        """Puts a witness's signature below the newest checkpoint.

        Raises:
            StorageError: the disk refused; the checkpoint is as it was.
        """
        note = self.checkpoint()
        kept = tuple(s for s in note.signatures if (s.name, s.key_id) != (signature.name, signature.key_id))
        signed = SignedCheckpoint(note.checkpoint, (*kept, signature))
        with self._store.transaction():
            self._refuse_if_replaced()
            self._store.set_checkpoint(note.checkpoint.size, signed.text)
        return signed

    def leaf(self, seq: int) -> bytes:
        """The leaf hash of entry `seq`."""
        return self._node((0, seq - 1))

    def inclusion(self, seq: int) -> list[bytes]:
        """Proof that entry `seq` is in the newest checkpoint's tree.

        Raises:
            InputError: there is no such entry.
        """
        if not 1 <= seq <= self.size:
            raise InputError(f"entry {seq} does not exist; the ledger holds 1 to {self.size}")
        return merkle.inclusion_proof(seq - 1, self.size, self._node)

    def consistency(self, old: int) -> list[bytes]:
        """Proof that the newest tree begins with the first `old` entries.

        Raises:
            InputError: `old` is not a size that the log has had.
        """
        if not 1 <= old <= self.size:
            raise InputError(f"the ledger never had {old} entries; it holds {self.size}")
        return merkle.consistency_proof(old, self.size, self._node)

    def export(self) -> bytes:
        """The whole log in one file that `tools/verify_ledger.py` verifies: format line, entries, blank line, checkpoint."""
        note = self.checkpoint()
        entries = b"".join(value.encode() + b" " + data + b"\n" for _, data, _, value in self._store.rows())
        return EXPORT_FORMAT.encode() + b"\n" + entries + b"\n" + note.text.encode()

    def verify(self, head: str | None = None, key: PublicKey | None = None, witnesses: Sequence[PublicKey] = ()) -> Verified:
        """Recomputes every hash, the tree, the aliases, a pinned head, and the newest checkpoint with the keys that are given.

        Reads one entry at a time; memory does not grow with the log.

        Raises:
            IntegrityError: names the first entry, or the checkpoint, that does not fit.
        """
        tail = _Tail()
        seen = head in (None, "", GENESIS)
        aliases: dict[str, str] = {}
        for row in self._store.rows():
            self._verify_row(row, tail)
            seen = seen or row[3] == head
            aliases |= json.loads(row[1]).get("aliases", {})
        if not seen:
            raise IntegrityError(f"{self._name}: the pinned head {str(head)[:16]}… is not in the ledger; entries were cut off or replaced")
        if self._store.num_nodes() != tail.num_nodes:
            raise IntegrityError(f"{self._name}: the stored tree holds {self._store.num_nodes()} nodes, its entries give {tail.num_nodes}")
        found = self._store.aliases()
        if found != aliases:
            raise IntegrityError(f"{self._name}: the live aliases differ from what the entries say: {found} against {aliases}")
        return Verified(tail.size, self._verify_checkpoint(tail.size, key, witnesses) if tail.size else 0)

    def _body(self, seq: int, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise IntegrityError(f"{self._name}: entry {seq} is damaged; restore the file from a copy") from error

    def close(self) -> None:
        self._store.close()

    def _verify_row(self, row: Row, tail: _Tail) -> None:
        seq, data, previous, value = row
        if seq != tail.size + 1 or previous != tail.head or entry_hash(previous, data) != value:
            raise IntegrityError(f"{self._name}: entry {seq} does not follow from the entry before it; it was changed or moved")
        for node, subtree in list(merkle.appended(tail.size, merkle.leaf_hash(data), tail.subtree)):
            if self._store.node(node) != subtree:
                raise IntegrityError(f"{self._name}: the stored tree differs from entry {seq}; proofs from it would be wrong")
            tail.keep(node, subtree)
        tail.size, tail.head = seq, value

    def _verify_checkpoint(self, count: int, key: PublicKey | None, witnesses: Sequence[PublicKey]) -> int:
        note = self.checkpoint()
        point = note.checkpoint
        if (point.origin, point.size, point.root) != (self.origin, count, merkle.root(count, self._node)):
            raise IntegrityError(f"{self._name}: the newest checkpoint ({point.size} entries) is not one of these {count} entries")
        if key is None:
            return 0
        if not signed_by(note, key):
            raise IntegrityError(f"{self._name}: the newest checkpoint is not signed by key {key.name!r} ({key.key_id.hex()})")
        if witnesses and not witnesses_of(note, witnesses):
            raise IntegrityError(f"{self._name}: no given witness has cosigned the newest checkpoint")
        return 2 if witnesses else 1

    def _refuse_if_replaced(self) -> None:
        if self._epoch is not None and self._store.epoch() != self._epoch:
            raise BusyError(f"{self._name} was taken over by another engine; nothing was recorded here, start the command again")

    def _sign(self, size: int, signer: Signer) -> None:
        if not self.origin:
            self._store.add_setting("origin", f"dream-engine/{uuid.uuid4().hex}")
        point = Checkpoint(self.origin, size, merkle.root(size, self._node))
        self._store.set_checkpoint(size, SignedCheckpoint(point, (sign(point, signer),)).text)

    def _node(self, node: merkle.Node) -> bytes:
        value = self._store.node(node)
        if value is None:
            raise IntegrityError(f"{self._name}: node {node} of the tree is missing; restore the file from a copy")
        return value


class _Tail:
    """What a verifier must remember of the entries it has read: the last hash, and one full subtree a level."""

    def __init__(self) -> None:
        self.size, self.head, self.num_nodes = 0, GENESIS, 0
        self._newest: dict[int, bytes] = {}

    def subtree(self, node: merkle.Node) -> bytes:
        return self._newest[node[0]]

    def keep(self, node: merkle.Node, value: bytes) -> None:
        self.num_nodes += 1
        self._newest[node[0]] = value


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
