"""Ed25519 keys: the engine's own, which signs checkpoints, and reviewers', who sign decisions.

The engine's key is a 0600 file in the workspace unless the environment names another place: `DREAM_SIGNING_KEY` holds the base64 of
the 32 secret bytes, `DREAM_SIGNING_KEY_FILE` a path, `DREAM_SIGNER_SOCKET` the Unix socket of a signer process. So the key can live
where the engine's account cannot read it.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dream_engine.errors import InputError, StorageError
from dream_engine.files import flush_folder
from dream_engine.govern.notes import PublicKey, Signer, public_key

KEY_FILE = "signing.key"
VALUE, PLACE, SOCKET = "DREAM_SIGNING_KEY", "DREAM_SIGNING_KEY_FILE", "DREAM_SIGNER_SOCKET"
ENGINE = "dream-engine"
"""The name under which an engine signs its checkpoints."""


@dataclass(frozen=True)
class LocalSigner:
    """A secret key in this process, under a name."""

    name: str
    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return public_key(self.name, self.key)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


def engine_signer(folder: Path, environment: Mapping[str, str] = os.environ) -> Signer:
    """Whoever signs the ledger in `folder`: a signer process when one is named, else the key of `signing_key`.

    Raises:
        InputError: what is named cannot be used.
        StorageError: a new key cannot be written.
    """
    if SOCKET in environment:
        from dream_engine.govern.signer import RemoteSigner

        return RemoteSigner(Path(environment[SOCKET]))
    return LocalSigner(ENGINE, signing_key(folder, environment))


def signing_key(folder: Path, environment: Mapping[str, str] = os.environ) -> Ed25519PrivateKey:
    """The engine's key: from the environment, or from the workspace's file, which is made when there is none.

    Raises:
        InputError: what is given is not a key, or its file can be read by others.
        StorageError: the file cannot be written.
    """
    if VALUE in environment:
        return _parsed(environment[VALUE], f"environment variable {VALUE}")
    if PLACE in environment:
        return read_key(Path(environment[PLACE]))
    path = folder / KEY_FILE
    return read_key(path) if path.exists() else new_key(path)


def reviewer_file(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where a reviewer's secret lies unless said otherwise: `$XDG_CONFIG_HOME/dream-engine/NAME.key`.

    Raises:
        InputError: a name that no key can have, or that would leave the folder.
    """
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"reviewer name {name!r} must be a plain word")
    return Path(environment.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "dream-engine" / f"{name}.key"


def new_key(path: Path) -> Ed25519PrivateKey:
    """Makes a key and writes it for its owner's eyes only.

    Raises:
        InputError: there is a file already; a key is never overwritten.
        StorageError: the disk refused.
    """
    key = Ed25519PrivateKey.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(key.private_bytes_raw()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        flush_folder(path.parent)
    except FileExistsError as error:
        raise InputError(f"{path} exists; a key is never overwritten, choose another place") from error
    except OSError as error:
        raise StorageError(f"key {path} cannot be written: {error}") from error
    return key


def read_key(path: Path) -> Ed25519PrivateKey:
    """Reads a key file.

    Raises:
        InputError: no such file, not a key, or readable by others (the message says how to mend that).
    """
    if not path.is_file():
        raise InputError(f"key {path} does not exist; 'dream keys new' makes one")
    if path.stat().st_mode & 0o077:
        raise InputError(f"key {path} can be read by others; run: chmod 600 {path}")
    return _parsed(path.read_text(encoding="ascii", errors="replace"), f"key {path}")


def _parsed(text: str, where: str) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where} does not hold an Ed25519 key (base64 of 32 bytes)") from error
