"""Content-addressed adapters and the one alias that says which of them is live.

A folder is written beside its place, flushed, hashed and renamed, so it is either whole or not there. Its name is the digest
of its files. What serves is decided by the ledger alone: promote and rollback are ledger entries that move the alias.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dream_engine.errors import InputError, IntegrityError, StorageError
from dream_engine.files import flush_folder
from dream_engine.govern.ledger import Entry, Ledger

LIVE, ANCHOR = "live", "anchor"
MANIFEST = "manifest.json"


class Registry:
    """The adapters of one workspace, by digest."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self._ledger = folder, ledger

    def add(self, adapter: Path, manifest: Mapping[str, Any]) -> str:
        """Stores a copy of an adapter folder with its manifest; returns its digest. Adding it twice changes nothing.

        Raises:
            StorageError: the disk refused; nothing half-written stays behind.
        """
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                flush_folder(self.folder.parent)
            scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix=".tmp-"))
        except OSError as error:
            raise StorageError(f"the adapter cannot be stored in {self.folder}: {error}") from error
        try:
            for path in sorted(p for p in adapter.iterdir() if p.is_file() and p.name != MANIFEST):
                shutil.copy(path, scratch / path.name)
            value = folder_digest(scratch)
            (scratch / MANIFEST).write_text(json.dumps({**manifest, "digest": value}, indent=2, sort_keys=True) + "\n")
            _flush(scratch)
            if not self._path(value).exists():
                os.rename(scratch, self._path(value))
                flush_folder(self.folder)
        except OSError as error:
            raise StorageError(f"the adapter cannot be stored in {self.folder}: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return self.verified(value).name

    def verified(self, digest: str) -> Path:
        """The folder of a digest, after hashing it again.

        Raises:
            IntegrityError: it is missing, or its bytes are not the ones that were stored.
        """
        path = self._path(digest)
        if not path.is_dir():
            gone = f"was removed by entry {self._removed[digest]} from" if digest in self._removed else "is not in"
            raise IntegrityError(f"adapter {digest[:12]} {gone} {self.folder}; restore it from a copy")
        if folder_digest(path) != digest:
            raise IntegrityError(f"adapter {digest[:12]} in {self.folder} was changed after it was stored; restore it from a copy")
        return path

    def verify_live(self) -> None:
        """Hashes the sealed weights that serve again, if there are any.

        Raises:
            IntegrityError: they are missing or were changed.
        """
        if self.live:
            self.verified(self.live)

    @property
    def live(self) -> str | None:
        """Digest of the sealed weights that serve, or None before the first approval."""
        return self._ledger.alias(LIVE)

    @property
    def anchor(self) -> str | None:
        """Digest of the first sealed T, the fixed point of cumulative drift."""
        return self._ledger.alias(ANCHOR)

    def promote(self, digest: str, body: Mapping[str, Any]) -> Entry:
        """Makes a stored adapter live, and the anchor when it is the first; entry and alias in one transaction."""
        self.verified(digest)
        aliases = {LIVE: digest} | ({} if self.anchor else {ANCHOR: digest})
        return self._ledger.append("promote", {**body, "weights": digest}, aliases)

    def rollback(self, target: str, reason: str, by: str) -> Entry:
        """Makes an earlier sealed version live again.

        Raises:
            InputError: no sealed version has this digest (or its beginning), or the reason is empty.
        """
        if not reason.strip():
            raise InputError("a rollback needs a reason: --reason '...'")
        found = sorted({d for d in self.sealed() if d.startswith(target)})
        if len(found) != 1:
            known = ", ".join(d[:12] for d in self.sealed()) or "none"
            raise InputError(f"{target!r} names {len(found)} sealed versions; known: {known}")
        self.verified(found[0])
        return self._ledger.append("rollback", {"weights": found[0], "from": self.live, "reason": reason, "by": [by]}, {LIVE: found[0]})

    def sealed(self) -> list[str]:
        """Digests of every sealed version that was not removed, in the order of their first seal."""
        found, removed = dict.fromkeys(str(e.body["weights"]) for e in self._ledger.entries("promote")), self._removed
        return [digest for digest in found if digest not in removed]

    def live_at(self, when: float) -> Entry | None:
        """The promote or rollback entry that decided what was live at a time (UTC seconds), or None before the first."""
        moves = [e for e in self._ledger.entries() if LIVE in e.body.get("aliases", {}) and e.time <= when]
        return moves[-1] if moves else None

    def collect(self, keep_last: int, dry: bool = False) -> list[str]:
        """Removes stored adapters that nothing needs any more; recorded first, then done. Returns their digests.

        Kept are: what is live, the anchor, the pre-dream weights and the candidate of an open or held cycle, the last `keep_last` sealed.

        Raises:
            StorageError: a folder cannot be removed; what is needed is still there.
        """
        stored = {p.name for p in self.folder.iterdir() if not p.name.startswith(".tmp-")} if self.folder.is_dir() else set()
        surplus = sorted(stored - needed(self._ledger, keep_last))
        if dry:
            return surplus
        if surplus:
            self._ledger.append("collect", {"weights": surplus, "keep_last": keep_last})
        try:
            for digest in surplus:
                os.rename(self._path(digest), self.folder / f".tmp-{digest}")
            for left in self.folder.glob(".tmp-*"):
                shutil.rmtree(left)
        except OSError as error:
            raise StorageError(f"{self.folder}: {error}; run the command again when the disk is well") from error
        return surplus

    @property
    def _removed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for entry in self._ledger.entries():
            if entry.kind == "collect":
                found |= {str(digest): entry.seq for digest in entry.body["weights"]}
            else:
                found.pop(str(entry.body.get("weights")), None)
        return found

    def _path(self, digest: str) -> Path:
        return self.folder / digest


def needed(ledger: Ledger, keep_last: int) -> set[str]:
    """Digests that garbage collection must not touch. A pure function of the ledger."""
    sealed: list[str] = []
    waiting: dict[str, set[str]] = {}
    for entry in ledger.entries():
        run, weights = str(entry.body.get("run")), entry.body.get("weights")
        if entry.kind == "begin":
            waiting[run] = {str(entry.body["live"])}
        elif entry.kind == "cycle" and entry.body["verdict"] == "hold":
            waiting[run] = waiting.get(run, set()) | {str(weights)}
        elif entry.kind in ("cycle", "promote", "reject"):
            waiting.pop(run, None)
        if entry.kind == "promote":
            sealed = [d for d in sealed if d != weights] + [str(weights)]
    kept = {d for d in (ledger.alias(LIVE), ledger.alias(ANCHOR)) if d}
    return kept | set(sealed[max(0, len(sealed) - keep_last) :]) | {d for digests in waiting.values() for d in digests}


def folder_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a folder's files, the manifest left out."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    flush_folder(folder)
