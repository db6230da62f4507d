"""Small files, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dream_engine.errors import StorageError


def write_whole(path: Path, text: str) -> None:
    """Writes beside the place and renames, so that a kill leaves the old file or the new one.

    Raises:
        StorageError: the disk refused.
    """
    scratch = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        flush_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def flush_folder(folder: Path) -> None:
    """Makes the names in a folder durable; without it a power cut can take back a rename."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_folder(made: Path, place: Path, proof: str) -> None:
    """Moves a finished folder to its place, which replaces half of one; where another process was faster, its folder stays as it is.

    `proof` is the file that a whole folder has.
    """
    if (place / proof).is_file():
        return
    shutil.rmtree(place, ignore_errors=True)
    try:
        made.rename(place)
    except OSError:
        if not (place / proof).is_file():
            raise


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
