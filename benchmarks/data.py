"""Checks a data folder against `data.toml`: every file there, every digest right.

python benchmarks/data.py --data-dir DATA
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Any

LIST = Path(__file__).with_name("data.toml")


def listed() -> list[dict[str, Any]]:
    """One row a file: path, sha256, repository, commit, licence."""
    found: list[dict[str, Any]] = tomllib.loads(LIST.read_text(encoding="utf-8"))["file"]
    return found


def wrong(folder: Path) -> list[str]:
    """A line for each file that is missing or differs."""
    lines = []
    for row in listed():
        path = folder / row["path"]
        if not path.is_file():
            lines.append(f"{row['path']} is missing; it is in {row['repository']} at {row['commit']}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            lines.append(f"{row['path']} differs from the file of {row['repository']} at {row['commit']}")
    return lines


def main() -> None:
    """Prints what is wrong; exit 1 when something is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    lines = wrong(parser.parse_args().data_dir)
    print("\n".join(lines) or f"{len(listed())} files are as listed")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
