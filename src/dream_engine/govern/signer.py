"""A signer process: holds the ledger's key behind a Unix socket and signs checkpoints, nothing else, never a shorter log again.

One line a request, one line a reply, UTF-8 JSON: {"public": true} → {"key": "NAME+ID+BASE64"}; {"checkpoint": TEXT} →
{"signature": BASE64}; a refusal is {"error": WHY}. The engine's account needs to reach the socket, not to read the key.
"""

from __future__ import annotations

import base64
import json
import socket
import socketserver
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dream_engine.errors import DreamError, InputError
from dream_engine.govern.notes import MAX_NOTE, Checkpoint, PublicKey, Signer

TIMEOUT_SECONDS = 10.0


class RemoteSigner:
    """`Signer` that asks the process behind a socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey.parse(self._ask({"public": True}, "key"))

    def sign(self, message: bytes) -> bytes:
        signature = self._ask({"checkpoint": message.decode()}, "signature")
        try:
            return base64.b64decode(signature, validate=True)
        except ValueError as error:
            raise InputError(f"signer at {self._path} sent {signature[:40]!r}, which is no signature") from error

    def _ask(self, request: Mapping[str, Any], wanted: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(TIMEOUT_SECONDS)
                line.connect(str(self._path))
                line.sendall(json.dumps(request).encode() + b"\n")
                reply = json.loads(line.makefile("rb").readline(MAX_NOTE))
        except (OSError, ValueError) as error:
            raise InputError(f"signer at {self._path} does not answer ({error}); start it with 'dream signer'") from error
        if not isinstance(reply, dict) or wanted not in reply:
            raise InputError(f"signer at {self._path} refused: {reply.get('error') if isinstance(reply, dict) else reply!r}")
        return str(reply[wanted])


class SignerServer(socketserver.UnixStreamServer):
    """Serves one key. It remembers the size of each log that it signed and refuses to sign a shorter or another one of that size."""

    def __init__(self, path: Path, signer: Signer) -> None:
        if path.exists():
            raise InputError(f"{path} exists; another signer may be there, remove the file if none is")
        super().__init__(str(path), _Request)
        path.chmod(0o660)
        self._signer, self._seen = signer, dict[str, Checkpoint]()

    def answer(self, line: bytes) -> dict[str, str]:
        """The reply to one request."""
        try:
            request = json.loads(line)
            return self._signed(request) if "checkpoint" in request else {"key": str(self._signer.public)}
        except (ValueError, TypeError, KeyError, RecursionError, DreamError) as error:
            return {"error": str(error)[:300] or type(error).__name__}

    def _signed(self, request: Mapping[str, Any]) -> dict[str, str]:
        point = Checkpoint.parse(str(request["checkpoint"]))
        before = self._seen.get(point.origin)
        if before and (point.size < before.size or (point.size == before.size and point.root != before.root)):
            raise InputError(f"checkpoint of {point.size} entries after one of {before.size}: history was cut or rewritten; not signed")
        self._seen[point.origin] = point
        return {"signature": base64.b64encode(self._signer.sign(point.text.encode())).decode()}


class _Request(socketserver.StreamRequestHandler):
    timeout = TIMEOUT_SECONDS

    def handle(self) -> None:
        assert isinstance(self.server, SignerServer)
        line = self.rfile.readline(MAX_NOTE)
        self.wfile.write(json.dumps(self.server.answer(line)).encode() + b"\n")
