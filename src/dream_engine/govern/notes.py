"""Signed checkpoints in the C2SP formats: `signed-note`, `tlog-checkpoint`, and the witness's `tlog-cosignature`.

A checkpoint says "log ORIGIN has SIZE entries and this root"; the engine signs it with Ed25519 at every append, a witness cosigns
it with the time at which it saw it. Text, a blank line, then one line a signature: `— NAME BASE64(key id ‖ signature)`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dream_engine.errors import InputError, IntegrityError

PLAIN, COSIGNATURE = 1, 4
"""Algorithm bytes of signed-note: Ed25519 over the text, and Ed25519 over a timestamp and the text."""
MAX_NOTE = 64 * 1024


@dataclass(frozen=True)
class PublicKey:
    """A verifier key: `NAME+KEYID+BASE64(algorithm ‖ 32 bytes)` as text."""

    name: str
    algorithm: int
    raw: bytes

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name ‖ 0x0A ‖ algorithm ‖ key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.algorithm]) + self.raw).decode()}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Reads the text form.

        Raises:
            InputError: malformed, or the key id does not belong to the key.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if not _is_name(name) or raw is None or len(raw) != 33 or raw[0] not in (PLAIN, COSIGNATURE):
            raise InputError(f"verifier key {text.strip()[:60]!r} is not NAME+KEYID+BASE64 of an Ed25519 key")
        key = cls(name, raw[0], raw[1:])
        if key.key_id.hex() != key_id:
            raise InputError(f"verifier key {name!r}: its key id {key_id[:16]!r} does not belong to its key; copy the whole line again")
        return key


@dataclass(frozen=True)
class Checkpoint:
    """How long a log is and what its root is."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads what `text` writes, and nothing else.

        Raises:
            IntegrityError: says which line is wrong.
        """
        parsed = _checkpoint(text.removesuffix("\n"))
        if parsed.text != text:
            raise IntegrityError("checkpoint: not in canonical form")
        return parsed


@dataclass(frozen=True)
class Signature:
    """One signature line: who, the key id, and the signature's bytes."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint with the signatures below it."""

    checkpoint: Checkpoint
    signatures: tuple[Signature, ...]

    @property
    def text(self) -> str:
        return self.checkpoint.text + "\n" + "".join(s.line for s in self.signatures)

    @classmethod
    def parse(cls, text: str) -> SignedCheckpoint:
        """Reads a note that holds a checkpoint. Strict: what `text` writes, and nothing else.

        Raises:
            IntegrityError: says which line is wrong.
        """
        if len(text) > MAX_NOTE:
            raise IntegrityError(f"checkpoint of {len(text)} characters; at most {MAX_NOTE} are read")
        body, separator, below = text.partition("\n\n")
        if not separator or not below.endswith("\n"):
            raise IntegrityError("checkpoint: no blank line between text and signatures, or the last line does not end")
        signatures = tuple(_signature(line) for line in below[:-1].split("\n"))
        parsed = cls(_checkpoint(body), signatures)
        if parsed.text != text:
            raise IntegrityError("checkpoint: not in canonical form")
        return parsed


def public_key(name: str, key: Ed25519PrivateKey, algorithm: int = PLAIN) -> PublicKey:
    """The verifier key of a signing key under a name.

    Raises:
        InputError: a name with spaces, plus signs or line breaks, or an empty one.
    """
    if not _is_name(name):
        raise InputError(f"key name {name!r} must not be empty or hold spaces or '+'")
    return PublicKey(name, algorithm, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


class Signer(Protocol):
    """Whoever holds a secret key: in this process, or in another one."""

    @property
    def public(self) -> PublicKey:
        """The verifier key."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 over `message`."""


def sign(checkpoint: Checkpoint, signer: Signer) -> Signature:
    """The log's own signature over the checkpoint's text."""
    return Signature(signer.public.name, signer.public.key_id, signer.sign(checkpoint.text.encode()))


def verifies(key: PublicKey, message: bytes, value: bytes) -> bool:
    """Whether `value` is the key's Ed25519 signature over `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(value, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def cosign(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey, timestamp: int) -> Signature:
    """A witness's signature: eight bytes of time, then Ed25519 over the time and the text (tlog-cosignature/v1)."""
    value = struct.pack(">Q", timestamp) + key.sign(_cosigned(checkpoint, timestamp))
    return Signature(name, public_key(name, key, COSIGNATURE).key_id, value)


def signed_by(note: SignedCheckpoint, key: PublicKey) -> bool:
    """Whether `key` signed this checkpoint. Signatures of unknown keys are passed over, as the format asks."""
    return any(_holds(note.checkpoint, s, key) for s in note.signatures if s.name == key.name and s.key_id == key.key_id)


def _holds(checkpoint: Checkpoint, signature: Signature, key: PublicKey) -> bool:
    if key.algorithm == COSIGNATURE:
        if len(signature.value) != 72:
            return False
        message, value = _cosigned(checkpoint, struct.unpack(">Q", signature.value[:8])[0]), signature.value[8:]
    else:
        message, value = checkpoint.text.encode(), signature.value
    return verifies(key, message, value)


def _cosigned(checkpoint: Checkpoint, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{checkpoint.text}".encode()


def _checkpoint(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 3 or not lines[0]:
        raise IntegrityError(f"checkpoint: {len(lines)} lines of text, wanted origin, size and root")
    origin, size, encoded = lines
    root = _decoded(encoded)
    if not size.isascii() or not size.isdigit() or len(size) > 18 or str(int(size)) != size:
        raise IntegrityError(f"checkpoint: size {size[:24]!r} is not a plain decimal number")
    if root is None or len(root) != 32:
        raise IntegrityError("checkpoint: the root is not 32 bytes of base64")
    return Checkpoint(origin, int(size), root)


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    raw = _decoded(encoded)
    if dash != "—" or not _is_name(name) or raw is None or len(raw) <= 4:
        raise IntegrityError(f"checkpoint: {line[:40]!r} is not a signature line")
    return Signature(name, raw[:4], raw[4:])


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() for c in name) and name.isprintable()


def witnesses_of(note: SignedCheckpoint, keys: Sequence[PublicKey]) -> tuple[str, ...]:
    """Names of the witnesses among `keys` whose cosignature holds."""
    return tuple(key.name for key in keys if key.algorithm == COSIGNATURE and signed_by(note, key))
