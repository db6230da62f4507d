"""P10: the power goes at every system call. P11: the disk refuses at every write, sync and rename."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import night
import power
import pytest

from dream_engine.errors import DreamError
from dream_engine.workspace import Workspace

Size = Callable[[int, int], int]
PROGRAM = Path(night.__file__)
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; it is needed for 'make assurance' only")


def images(tmp_path: Path, nights: int, per_boundary: int, switches: Sequence[str] = ()) -> tuple[int, list[str]]:
    """How many disks were rebuilt and looked at, and what was found broken."""
    root = tmp_path / "ws"
    root.mkdir()
    calls = power.record([str(PROGRAM), str(root), str(nights), *switches], tmp_path / "calls")
    rng, looked, broken = random.Random(0), 0, []
    for disk in power.boundaries(root, calls):
        for variant in range(per_boundary):
            found = tmp_path / "image"
            shutil.rmtree(found, ignore_errors=True)
            disk.image(found, rng if variant > 1 else None, everything=variant == 1)
            looked += 1
            try:
                night.check(found, disk.acknowledged)
            except (DreamError, AssertionError) as error:
                broken.append(str(error))
    assert disk.acknowledged, "the program acknowledged nothing"
    return looked, broken


@needs_strace
def test_nothing_acknowledged_is_lost_when_the_power_goes(tmp_path: Path, size: Size) -> None:
    """At every call that touches the disk: pending things lost, all there, and by chance."""
    looked, broken = images(tmp_path, size(2, 6), size(3, 24))
    assert looked >= size(500, 10_000)
    assert broken == []


@needs_strace
@pytest.mark.parametrize("switch", ["--normal", "--no-fsync", "--no-folder-fsync"])
def test_the_suite_notices_when_durability_is_taken_away(tmp_path: Path, size: Size, switch: str) -> None:
    """The negative controls: SQLite at NORMAL, weights without fsync, names without fsync of their folder."""
    _, broken = images(tmp_path, 2, size(3, 8), [switch])
    assert broken


@needs_strace
def test_a_rebuilt_disk_goes_on_without_a_person(tmp_path: Path, size: Size) -> None:
    """After a cut the next night runs to its end."""
    root = tmp_path / "ws"
    root.mkdir()
    calls = power.record([str(PROGRAM), str(root), "2"], tmp_path / "calls")
    for number, disk in enumerate(power.boundaries(root, calls)):
        if number % size(40, 5) == 0:
            found = tmp_path / f"image-{number}"
            disk.image(found, random.Random(number))
            acknowledged = list(disk.acknowledged)
            night.night(found, 9, "seal", lambda e, kept=acknowledged: kept.append((e.seq, e.hash)))  # type: ignore[misc]
            night.check(found, acknowledged)


INJECTED = [
    f"{call}:error={error}" for call in ("write", "pwrite64", "fsync", "fdatasync", "rename", "openat", "ftruncate") for error in ("EIO", "ENOSPC")
]


@needs_strace
@pytest.mark.parametrize("fault", INJECTED)
def test_a_refusing_disk_is_never_acknowledged(tmp_path: Path, fault: str, size: Size) -> None:
    """P11: the n-th call fails; whatever was acknowledged is there, the exit is clean, and the next night works."""
    call, failures = fault.split(":")[0], 0
    counted = run(tmp_path / "count", f"trace={call}")
    numbers = places(counted.log, call, str(tmp_path))
    for at in numbers[:: max(1, len(numbers) // size(3, 100))]:
        root = tmp_path / f"{call}-{at}"
        done = run(root, f"inject={fault}:when={at}")
        failures += done.code != 0
        assert "Traceback" not in done.errors or "dream_engine.errors" in done.errors or "OSError" in done.errors, done.errors
        night.check(root, done.acknowledged)
        kept = list(done.acknowledged)
        night.night(root, 9, "seal", lambda e, kept=kept: kept.append((e.seq, e.hash)))  # type: ignore[misc]
        night.check(root, kept)
    assert failures or not numbers, "no injected fault was ever felt"


class Done:
    """What a traced run left: exit code, messages, acknowledgements, the log's lines."""

    def __init__(self, code: int, errors: str, output: str, log: list[str]) -> None:
        self.code, self.errors, self.log = code, errors, log
        self.acknowledged = [(int(seq), value) for seq, value in re.findall(r"ack (\d+) ([0-9a-f]{64})\n", output)]


def run(root: Path, expression: str) -> Done:
    """One night under strace."""
    root.mkdir(parents=True, exist_ok=True)
    log = root.with_name(f"{root.name}.calls")
    command = ["strace", "-f", "-y", "-xx", "-s", "0", "-e", expression, "-o", str(log), sys.executable, str(PROGRAM), str(root), "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return Done(done.returncode, done.stderr, done.stdout, log.read_text(errors="replace").splitlines())


def plain(line: str) -> str:
    return re.sub(r"((?:\\x[0-9a-f]{2})+)", lambda m: bytes.fromhex(m[1].replace("\\x", "")).decode(errors="replace"), line)


def places(lines: Sequence[str], call: str, root: str) -> list[int]:
    """Which of all such calls touch the workspace, numbered from 1; the others load libraries and the like."""
    calls = [plain(line) for line in lines if re.search(rf"\b{call}\(", line)]
    return [number for number, line in enumerate(calls, 1) if root in line]


def test_a_workspace_survives_a_process_without_descriptors_or_room(tmp_path: Path) -> None:
    """P12: out of descriptors, and files that may not grow: a clean message, the sealed version serves as before."""
    night.night(tmp_path, 0, "seal", lambda e: None)
    workspace = Workspace.open(tmp_path)
    live = workspace.registry.live
    workspace.ledger.close()
    for limit in ("RLIMIT_NOFILE, (8, 8)", "RLIMIT_FSIZE, (20_000, 20_000)"):
        starved = f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.{limit})"
        code = f"import sys, night; sys.argv = ['night', {str(tmp_path)!r}, '3']; {starved}; night.main()"
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=PROGRAM.parent)
        assert done.returncode != 0, limit
        night.check(tmp_path, [(int(seq), value) for seq, value in re.findall(r"ack (\d+) ([0-9a-f]{64})\n", done.stdout)])
    workspace = Workspace.open(tmp_path)
    assert live
    assert workspace.registry.verified(live).is_dir()
