"""An exported ledger is verified by the stand-alone file, which notices every change (P1, P2, P7)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dream_engine.govern.keys import engine_signer
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.witness import Witness
from verifier import TOOL, tool


def filled(folder: Path, count: int) -> Ledger:
    folder.mkdir(exist_ok=True)
    ledger = Ledger.open(folder / "ledger.db", clock=lambda: 1.0)
    for number in range(count):
        ledger.append("note", {"number": number})
    return ledger


def log_key(folder: Path) -> str:
    return str(engine_signer(folder, {}).public)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    folder = tmp_path_factory.mktemp("log")
    return filled(folder, 24).export(), log_key(folder)


def verifies(data: bytes, key: str, pinned: bytes | None = None) -> bool:
    try:
        tool.verify(data, tool.Key(key), [], tool.Note(pinned.decode()) if pinned else None)
    except tool.Wrong:
        return False
    return True


def test_the_untouched_export_verifies(exported: tuple[bytes, str]) -> None:
    """The control, through the command line and without the product on the path."""
    data, key = exported
    assert verifies(data, key)


def test_the_file_stands_alone(exported: tuple[bytes, str], tmp_path: Path) -> None:
    """At most 200 lines, no import of ours, exit codes 0 and 5."""
    data, key = exported
    source = TOOL.read_text()
    assert len(source.splitlines()) <= 200
    assert "dream_engine" not in source
    for name, content, code in (("good", data, 0), ("bad", data.replace(b'"number":3', b'"number":4'), 5), ("absent", None, 2)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        done = subprocess.run([sys.executable, "-I", str(TOOL), str(tmp_path / name), "--key", key], check=False, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_every_changed_byte_is_noticed(exported: tuple[bytes, str]) -> None:
    """P1 on a small log: every byte of the file, two other values each."""
    data, key = exported
    for at in range(len(data)):
        for other in (data[at] ^ 1, data[at] ^ 0x20):
            assert not verifies(data[:at] + bytes([other]) + data[at + 1 :], key), at


def test_every_cut_move_and_copy_is_noticed(exported: tuple[bytes, str]) -> None:
    """P2: truncation at every entry, deletion, duplication and swap of every entry."""
    data, key = exported
    head, *entries = data.split(b"\n\n")[0].split(b"\n")
    note = data.split(b"\n\n", 1)[1]

    def built(rows: list[bytes]) -> bytes:
        return b"\n".join([head, *rows]) + b"\n\n" + note

    assert verifies(built(entries), key)
    for i in range(len(entries)):
        assert not verifies(built(entries[:i]), key)
        assert not verifies(built(entries[:i] + entries[i + 1 :]), key)
        assert not verifies(built([*entries[: i + 1], *entries[i:]]), key)
        swapped = list(entries)
        swapped[i], swapped[i - 1] = swapped[i - 1], swapped[i]
        assert not verifies(built(swapped), key)


def test_an_older_export_needs_the_pinned_checkpoint(tmp_path: Path) -> None:
    """A whole, honest, but older log passes alone and fails against a checkpoint that was kept."""
    ledger = filled(tmp_path, 5)
    old = ledger.export()
    ledger.append("note", {"number": 5})
    kept = ledger.checkpoint().text.encode()
    key = log_key(tmp_path)
    assert verifies(old, key)
    assert not verifies(old, key, kept)
    ledger.append("note", {"number": 6})
    assert verifies(ledger.export(), key, kept)


def test_another_key_does_not_pass(exported: tuple[bytes, str], tmp_path: Path) -> None:
    """A log that was rewritten whole and signed anew is not signed by the key that the reader has."""
    data, _ = exported
    assert not verifies(data, log_key(tmp_path))


def test_a_witnessed_export_reaches_level_two(tmp_path: Path) -> None:
    """The witness's key is accepted by the stand-alone file, and asked for it is missed."""
    ledger = filled(tmp_path / "log", 3)
    key = engine_signer(tmp_path / "log", {}).public
    witness = Witness(tmp_path / "witness", key)
    with pytest.raises(tool.Wrong, match="witness"):
        tool.verify(ledger.export(), tool.Key(str(key)), [tool.Key(str(witness.public_key))], None)
    ledger.add_cosignature(witness.cosign(ledger.checkpoint(), []))
    assert "L2" in tool.verify(ledger.export(), tool.Key(str(key)), [tool.Key(str(witness.public_key))], None)
