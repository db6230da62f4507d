"""A witness: cosigns a log's checkpoint only if it extends the last one that it cosigned.

Its memory is a small folder of its own (one checkpoint a log, and its key), kept where the engine cannot write. History that was
rewritten, even with the engine's own key, then has no honest cosignature.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dream_engine.errors import IntegrityError
from dream_engine.files import write_whole
from dream_engine.govern import merkle
from dream_engine.govern.keys import signing_key
from dream_engine.govern.notes import COSIGNATURE, PublicKey, Signature, SignedCheckpoint, cosign, public_key, signed_by

NAME = "dream-witness"


class Witness:
    """One witness with its memory."""

    def __init__(self, folder: Path, log_key: PublicKey, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._log_key, self._clock = folder, log_key, clock
        self._key = signing_key(folder, {})

    @property
    def public_key(self) -> PublicKey:
        return public_key(NAME, self._key, COSIGNATURE)

    def last(self, origin: str) -> SignedCheckpoint | None:
        """The newest checkpoint of this log that was cosigned here."""
        path = self._memory(origin)
        return SignedCheckpoint.parse(path.read_text(encoding="utf-8")) if path.is_file() else None

    def seen(self, origin: str) -> int:
        """How many entries of this log were cosigned here; 0 for a log that was never seen."""
        before = self.last(origin)
        return before.checkpoint.size if before else 0

    def cosign(self, note: SignedCheckpoint, proof: Sequence[bytes]) -> Signature:
        """Cosigns `note`, after `proof` has shown that it begins with the last one; remembers it before the signature leaves.

        Raises:
            IntegrityError: not signed by the log, shorter than what was seen, or not an extension of it.
        """
        point = note.checkpoint
        if not signed_by(note, self._log_key):
            raise IntegrityError(f"checkpoint of {point.origin} is not signed by key {self._log_key.name!r} ({self._log_key.key_id.hex()})")
        before = self.last(point.origin)
        if before and not _extends(before, note, proof):
            raise IntegrityError(
                f"checkpoint of {point.size} entries does not begin with the {before.checkpoint.size} entries seen before: "
                "history was cut or rewritten; not cosigned"
            )
        write_whole(self._memory(point.origin), note.text)
        return cosign(point, NAME, self._key, int(self._clock()))

    def _memory(self, origin: str) -> Path:
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.checkpoint"


def _extends(before: SignedCheckpoint, note: SignedCheckpoint, proof: Sequence[bytes]) -> bool:
    old, new = before.checkpoint, note.checkpoint
    return merkle.is_consistent(old.size, new.size, old.root, new.root, proof)
