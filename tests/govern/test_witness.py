"""A witness follows a log forwards and never sideways (P3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from dream_engine.errors import InputError, IntegrityError
from dream_engine.govern.keys import KEY_FILE, engine_signer, new_key, read_key, signing_key
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.notes import witnesses_of
from dream_engine.govern.witness import Witness
from dream_engine.govern.witness_http import app, ask


def log(folder: Path, numbers: list[int], key_from: Path | None = None) -> Ledger:
    """A log with these entries; with `key_from`, signed by the key of another folder."""
    folder.mkdir(parents=True)
    if key_from:
        (folder / KEY_FILE).write_bytes((key_from / KEY_FILE).read_bytes())
        (folder / KEY_FILE).chmod(0o600)
    ledger = Ledger.open(folder / "ledger.db", clock=lambda: 1.0)
    for number in numbers:
        ledger.append("note", {"number": number})
    return ledger


def test_a_growing_log_is_cosigned_again_and_again(tmp_path: Path) -> None:
    """The control: each extension, proven, gets its signature."""
    ledger = log(tmp_path / "log", [0])
    witness = Witness(tmp_path / "w", engine_signer(tmp_path / "log", {}).public)
    seen = 0
    for number in range(1, 20):
        proof = ledger.consistency(seen) if seen else []
        note = ledger.add_cosignature(witness.cosign(ledger.checkpoint(), proof))
        assert witnesses_of(note, [witness.public_key])
        seen = note.checkpoint.size
        ledger.append("note", {"number": number})


@pytest.mark.parametrize("at", range(8))
def test_rewritten_history_is_refused_though_rightly_signed(tmp_path: Path, at: int) -> None:
    """P3: one entry replaced with the log's own key and origin, then extended: no proof can carry the witness over."""
    honest = log(tmp_path / "log", list(range(8)))
    witness = Witness(tmp_path / "w", engine_signer(tmp_path / "log", {}).public)
    witness.cosign(honest.checkpoint(), [])
    forged = log(tmp_path / "forged", [n if n != at else 99 for n in range(12)], key_from=tmp_path / "log")
    forged._store._db.execute("DROP TRIGGER settings_keep; UPDATE settings SET value=?", (honest.origin,))
    forged.append("note", {"number": 12})
    with pytest.raises(IntegrityError, match="history was cut or rewritten"):
        witness.cosign(forged.checkpoint(), forged.consistency(8))


def test_a_cut_log_and_a_foreign_key_are_refused(tmp_path: Path) -> None:
    """Going backwards, and a checkpoint that the log's key did not sign."""
    ledger = log(tmp_path / "log", [0, 1])
    early = ledger.checkpoint()
    ledger.append("note", {"number": 2})
    witness = Witness(tmp_path / "w", engine_signer(tmp_path / "log", {}).public)
    witness.cosign(ledger.checkpoint(), [])
    with pytest.raises(IntegrityError, match="cut or rewritten"):
        witness.cosign(early, [])
    stranger = log(tmp_path / "other", [0])
    with pytest.raises(IntegrityError, match="not signed"):
        witness.cosign(stranger.checkpoint(), [])


def test_key_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    """0600 from the start; a wider mode, a second write and nonsense are refused with the way to mend them."""
    path = tmp_path / "k"
    made = new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path).private_bytes_raw() == made.private_bytes_raw()
    with pytest.raises(InputError, match="never overwritten"):
        new_key(path)
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(InputError, match="does not hold"):
        read_key(path)
    with pytest.raises(InputError, match="DREAM_SIGNING_KEY"):
        signing_key(tmp_path, {"DREAM_SIGNING_KEY": "AAAA"})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Ledger]]:
    """A witness behind a real socket, and the log that it watches."""
    ledger = log(tmp_path / "log", [0, 1])
    watcher = Witness(tmp_path / "w", ledger.verifier_key())
    server = uvicorn.Server(uvicorn.Config(app(watcher), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", ledger
    server.should_exit = True
    thread.join()


def test_a_served_witness_cosigns_growth_and_refuses_a_rewrite(served: tuple[str, Ledger], tmp_path: Path) -> None:
    """The same law over HTTP; a refusal is an integrity failure, not a network one."""
    url, ledger = served
    for number in range(3):
        assert len(ask(url, ledger).signatures) == 2
        ledger.append("note", {"number": number})
    forged = log(tmp_path / "forged", [9, 9, 9, 9, 9, 9], key_from=tmp_path / "log")
    forged._store._db.execute("DROP TRIGGER settings_keep; UPDATE settings SET value=?", (ledger.origin,))  # type: ignore[attr-defined]
    forged.append("note", {})
    with pytest.raises(IntegrityError, match="cut or rewritten"):
        ask(url, forged)


def test_hostile_requests_get_an_answer_and_absent_witnesses_a_message(served: tuple[str, Ledger]) -> None:
    """Nothing malformed ends in a server error; nobody at the address is said as such."""
    url, ledger = served
    bodies = [{}, {"checkpoint": "", "proof": []}, {"checkpoint": "x", "proof": ["zz"]}, {"checkpoint": "x" * 70_000, "proof": []},
              {"checkpoint": ledger.checkpoint().text, "proof": ["00"] * 200}, {"checkpoint": 1, "proof": {}}, []]  # fmt: skip
    assert [httpx.post(f"{url}/cosign", json=body).status_code // 100 for body in bodies] == [4] * len(bodies)
    assert httpx.post(f"{url}/cosign", content=b"\xff").status_code == 400
    for address in ("http://127.0.0.1:1", "nonsense", f"{url}/elsewhere"):
        with pytest.raises(InputError, match="does not answer"):
            ask(address, ledger)
