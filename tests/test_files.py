"""Files and folders that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dream_engine.files import put_folder


def made(root: Path, name: str, *files: str) -> Path:
    """A folder whose files say whose they are."""
    folder = root / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_text(name)
    return folder


def test_half_a_folder_is_replaced(tmp_path: Path) -> None:
    """What a killed process left has no proof and goes."""
    place = made(tmp_path, "place", "weights")
    put_folder(made(tmp_path, "new", "weights", "proof"), place, "proof")
    assert {p.name: p.read_text() for p in place.iterdir()} == {"weights": "new", "proof": "new"}


def test_a_whole_folder_that_another_process_put_there_stays(tmp_path: Path) -> None:
    """Somebody may be reading it."""
    place = made(tmp_path, "place", "weights", "proof")
    put_folder(made(tmp_path, "new", "weights", "proof"), place, "proof")
    assert {p.read_text() for p in place.iterdir()} == {"place"}


def test_who_comes_second_at_the_last_moment_keeps_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw no folder; the other's is there when this one is moved."""
    place, new, rename = tmp_path / "place", made(tmp_path, "new", "proof"), Path.rename

    def late(self: Path, target: Path) -> Path:
        made(tmp_path, "place", "proof")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    put_folder(new, place, "proof")
    assert (place / "proof").read_text() == "place"


def test_a_folder_that_cannot_be_moved_is_said(tmp_path: Path) -> None:
    """No place to move it to: the error of the system, not silence."""
    with pytest.raises(OSError, match="place"):
        put_folder(made(tmp_path, "new", "proof"), tmp_path / "nowhere" / "place", "proof")
