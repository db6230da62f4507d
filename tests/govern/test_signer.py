"""The signer process: the key stays behind the socket, and it signs growing logs only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dream_engine.errors import InputError
from dream_engine.govern.keys import SOCKET, engine_signer
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.notes import Checkpoint
from dream_engine.govern.signer import RemoteSigner, SignerServer
from govern_world import person


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SignerServer]:
    made = SignerServer(tmp_path / "s", person("dream-engine"))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_ledger_signed_over_the_socket_verifies(tmp_path: Path, server: SignerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same key, same checks, and no key file in the workspace."""
    monkeypatch.setenv(SOCKET, str(tmp_path / "s"))
    (tmp_path / "w").mkdir()
    ledger = Ledger.open(tmp_path / "w" / "ledger.db")
    for _ in range(3):
        ledger.append("note", {})
    assert ledger.verify(key=person("dream-engine").public).level == 1
    assert not list((tmp_path / "w").glob("*.key"))


def test_it_signs_no_shorter_and_no_other_log_of_the_same_name(tmp_path: Path, server: SignerServer) -> None:
    """History that was cut or replaced gets no signature; anything that is no checkpoint neither."""
    signer = RemoteSigner(tmp_path / "s")
    point = Checkpoint("o", 5, bytes(32))
    assert signer.sign(point.text.encode()) == signer.sign(point.text.encode())
    for other in (Checkpoint("o", 4, bytes(32)), Checkpoint("o", 5, b"x" * 32)):
        with pytest.raises(InputError, match="cut or rewritten"):
            signer.sign(other.text.encode())
    with pytest.raises(InputError, match="refused"):
        signer.sign(b"dream-engine/decision/1\n{}")
    for line in (b"", b"[]", b"nonsense", b'{"checkpoint": 1}', b'{"checkpoint": ""}', b"\xff\xfe", b"[" * 5000):
        assert "error" in server.answer(line) or "key" in server.answer(line)


def test_an_absent_signer_is_said_with_the_way_to_start_it(tmp_path: Path) -> None:
    """Nothing is recorded without a signature."""
    signer = engine_signer(tmp_path, {SOCKET: str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match="dream signer"):
        Ledger(None, lambda: signer).append("note", {}) if signer.public else None  # type: ignore[arg-type]
