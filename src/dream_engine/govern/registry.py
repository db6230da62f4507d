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
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=self.folder, prefix=".tmp-"))
        try:
            for path in sorted(p for p in adapter.iterdir() if p.is_file() and p.name != MANIFEST):
                shutil.copy(path, scratch / path.name)
            value = folder_digest(scratch)
            (scratch / MANIFEST).write_text(json.dumps({**manifest, "digest": value}, indent=2, sort_keys=True) + "\n")
            _flush(scratch)
            if not self._path(value).exists():
                os.rename(scratch, self._path(value))
                _flush_folder(self.folder)
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
            raise IntegrityError(f"adapter {digest[:12]} is not in {self.folder}; restore it from a copy")
        if folder_digest(path) != digest:
            raise IntegrityError(f"adapter {digest[:12]} in {self.folder} was changed after it was stored; restore it from a copy")
        return path

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
        sealed = [str(e.body["weights"]) for e in self._ledger.entries("promote")]
        found = sorted({d for d in sealed if d.startswith(target)})
        if len(found) != 1:
            known = ", ".join(d[:12] for d in dict.fromkeys(sealed)) or "none"
            raise InputError(f"{target!r} names {len(found)} sealed versions; known: {known}")
        self.verified(found[0])
        return self._ledger.append("rollback", {"weights": found[0], "from": self.live, "reason": reason, "by": by}, {LIVE: found[0]})

    def _path(self, digest: str) -> Path:
        return self.folder / digest


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
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
