"""Verifies an exported Dream Engine ledger without Dream Engine: Python's standard library and `cryptography`, nothing else.

    python verify_ledger.py EXPORT --key NAME+KEYID+BASE64 [--witness NAME+KEYID+BASE64 ...] [--pinned CHECKPOINT]

Prints how many entries verify and the level reached: L1 when the log's key signed the checkpoint over exactly these entries, L2 when
a witness cosigned it too. `--pinned` is a checkpoint that you kept: the export must begin with the log that it describes.
Exit code 0 when everything holds, 5 when not (the message names the first entry or line that does not fit), 2 for wrong usage.
The format is written down in docs/ledger-format.md.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = b"dream-ledger-export/1"
PLAIN, COSIGNATURE = 1, 4


class Wrong(Exception):
    """Something does not verify."""


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, level by level: the odd node out goes up as it is."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = leaves
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong(f"{what} is not base64") from None


class Key:
    """A verifier key of the signed-note format."""

    def __init__(self, text: str) -> None:
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = decoded(encoded, f"key {name!r}")
        if not name or len(raw) != 33 or raw[0] not in (PLAIN, COSIGNATURE):
            raise Wrong(f"key {text.strip()[:60]!r} is not NAME+KEYID+BASE64 of an Ed25519 key")
        self.name, self.algorithm, self.raw = name, raw[0], raw[1:]
        self.id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != key_id:
            raise Wrong(f"key {name!r}: its key id does not belong to its key")

    def signed(self, note: Note) -> bool:
        return any(self._holds(note.text, value) for name, key_id, value in note.signatures if (name, key_id) == (self.name, self.id))

    def _holds(self, text: str, value: bytes) -> bool:
        message = text.encode()
        if self.algorithm == COSIGNATURE:
            if len(value) != 72:
                return False
            seen, value = struct.unpack(">Q", value[:8])[0], value[8:]
            message = f"cosignature/v1\ntime {seen}\n".encode() + message
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(value, message)
        except InvalidSignature:
            return False
        return True


class Note:
    """A signed checkpoint: origin, size, root, signatures."""

    def __init__(self, note: str) -> None:
        body, blank, below = note.partition("\n\n")
        lines = body.split("\n")
        if not blank or len(lines) != 3 or not below.endswith("\n"):
            raise Wrong("the checkpoint is not three lines, a blank line, and signature lines")
        self.text = body + "\n"
        self.origin, size, encoded = lines
        if not (size.isascii() and size.isdigit() and len(size) < 19 and str(int(size)) == size):
            raise Wrong(f"the checkpoint's size {size[:24]!r} is not a decimal number")
        self.size, self.root = int(size), decoded(encoded, "the checkpoint's root")
        self.signatures = [self._signature(line) for line in below[:-1].split("\n")]
        again = "".join(f"— {name} {base64.b64encode(i + value).decode()}\n" for name, i, value in self.signatures)
        if f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n\n{again}" != note:
            raise Wrong("the checkpoint is not in canonical form")

    @staticmethod
    def _signature(line: str) -> tuple[str, bytes, bytes]:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or not parts[1]:
            raise Wrong(f"{line[:40]!r} is not a signature line")
        raw = decoded(parts[2], "a signature")
        if len(raw) <= 4:
            raise Wrong("a signature is too short")
        return parts[1], raw[:4], raw[4:]


def read_export(data: bytes) -> tuple[list[bytes], Note]:
    """The entries' exact bytes and the checkpoint."""
    head, _, rest = data.partition(b"\n")
    if head != FORMAT:
        raise Wrong(f"the first line is not {FORMAT.decode()}")
    body, blank, note = rest.partition(b"\n\n") if not rest.startswith(b"\n") else (b"", b"\n\n", rest[1:])
    if not blank:
        raise Wrong("no blank line between entries and checkpoint: the file was cut")
    try:
        return check_chain(body.split(b"\n") if body else []), Note(note.decode())
    except UnicodeDecodeError:
        raise Wrong("the checkpoint is not UTF-8") from None


def check_chain(lines: list[bytes]) -> list[bytes]:
    """The entries' bytes; each line begins with the hash over the hash before and the entry, and each entry carries its own number."""
    entries, previous = [], b"0" * 64
    for number, line in enumerate(lines, 1):
        claimed, _, data = line.partition(b" ")
        if hashlib.sha256(previous + b"\n" + data).hexdigest().encode() != claimed:
            raise Wrong(f"entry {number} does not follow from the one before it: it was changed, moved, dropped or added")
        previous = claimed
        entries.append(data)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise Wrong(f"entry {number} is not JSON") from None
        if not isinstance(found, dict) or found.get("seq") != number:
            raise Wrong(f"entry {number} does not carry its number: entries were moved, dropped or added")
    return entries


def verify(data: bytes, key: Key, witnesses: list[Key], pinned: Note | None) -> str:
    """What holds, in one line; raises Wrong at the first thing that does not."""
    entries, note = read_export(data)
    leaves = [leaf(entry) for entry in entries]
    if not key.signed(note):
        raise Wrong(f"the checkpoint is not signed by key {key.name!r}")
    if note.size != len(entries):
        raise Wrong(f"the checkpoint covers {note.size} entries, the export holds {len(entries)}: it was cut or extended")
    if note.root != root(leaves):
        raise Wrong("the entries do not give the signed root: at least one was changed, moved or replaced")
    if pinned:
        if not key.signed(pinned) or pinned.origin != note.origin:
            raise Wrong(f"the pinned checkpoint is not one of this log signed by key {key.name!r}")
        if pinned.size > note.size or root(leaves[: pinned.size]) != pinned.root:
            raise Wrong(f"the log does not begin with the {pinned.size} entries that you pinned: history was rewritten or cut")
    seen = [w.name for w in witnesses if w.algorithm == COSIGNATURE and w.signed(note)]
    if witnesses and not seen:
        raise Wrong("no given witness cosigned the checkpoint")
    level = f"L2 (signed, witnessed by {', '.join(seen)})" if seen else "L1 (signed; no witness)"
    kept = f", begins with the {pinned.size} pinned" if pinned else ", no pinned checkpoint: an old export would pass too"
    return f"{len(entries)} entries of {note.origin} verify at level {level}{kept}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Verifies an exported Dream Engine ledger.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--key", required=True, help="the log's verifier key, from somewhere the log's owner cannot change")
    parser.add_argument("--witness", action="append", default=[], help="a witness's verifier key")
    parser.add_argument("--pinned", type=Path, help="a checkpoint that you kept")
    options = parser.parse_args()
    try:
        pinned = Note(options.pinned.read_text(encoding="utf-8")) if options.pinned else None
        print(verify(options.export.read_bytes(), Key(options.key), [Key(w) for w in options.witness], pinned))
    except (Wrong, UnicodeDecodeError) as error:
        print(f"NOT verified: {error}", file=sys.stderr)
        return 5
    except OSError as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
