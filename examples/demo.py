"""`make demo`: commission a policy, let harmless learning wear it away, dream it back, judge. Resumes where it was killed.

The approval between the two cycles is given with a key marked `demo`, which reports never show as a person.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKSPACE = Path("demo-workspace")
KEY = WORKSPACE / "demo.key"
CONFIG = HERE / "harbour" / "dream.yaml"


def dream(*arguments: str, ends: tuple[int, ...] = (0,)) -> int:
    """Runs the `dream` command; stops the demo when it ends in another way than expected."""
    command = [sys.executable, "-m", "dream_engine.cli", *arguments, "--workspace", str(WORKSPACE)]
    code = subprocess.run(command, check=False).returncode
    if code not in ends:
        sys.exit(code)
    return code


def answer(*arguments: str) -> Any:
    """What a command prints as JSON; None when there is no workspace yet."""
    command = [sys.executable, "-m", "dream_engine.cli", *arguments, "--json", "--workspace", str(WORKSPACE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def status() -> Any:
    """The workspace's state."""
    return answer("status") or {"live": None, "held": None, "cycles": {}}


def main() -> None:
    """Cycle 1, the approval, cycle 2, the ledger. What has ended is shown again, not run again."""
    night = after_the_first_seal()
    if night:
        print(f"the demo has ended; remove {WORKSPACE} to run it anew, or go on with: dream run --config {CONFIG} --workspace {WORKSPACE}")
        dream("diff", *night)
        dream("report", night[1])
        dream("ledger", "verify")
        return
    if status()["live"] is None:
        if status()["held"] is None:
            commission()
        signing_key()
        dream("approve", str(status()["held"]), "--by", "demo", "--key", str(KEY), "--reason", "commissioned by the demo")
    print("\ncycle 2: wake on the harbour dialogues, dream, judge", flush=True)
    code = dream("run", "--config", str(CONFIG), ends=(0, 1, 3, 4))
    dream("ledger", "show")
    dream("ledger", "verify")
    sys.exit(0 if code in (0, 1, 3, 4) else code)


def after_the_first_seal() -> tuple[str, str] | None:
    """The run that gave the first model and the one that came after it, once both have ended."""
    runs = list(status()["cycles"].items())
    first = next((i for i, (_, verdict) in enumerate(runs) if verdict == "seal"), len(runs))
    return (runs[first][0], runs[first + 1][0]) if first + 1 < len(runs) else None


def commission() -> None:
    """Cycle 1. Training is chaotic in its last points and the bars are absolute: one failure is adjusted by the stated rules and tried again."""
    print(f"both cycles take {how_long()}\ncycle 1: commissioning (dreams from the policy pack teach the policy)", flush=True)
    if (answer("sabar", "status") or {"open": None})["open"] or dream("run", "--config", str(CONFIG), ends=(1, 4)) == 1:
        print("\ncycle 1 missed a bar: SABAR. The plan is adjusted by its rules, and tried once more", flush=True)
        signing_key()
        dream("sabar", "adjust", "--config", str(CONFIG))
        time.sleep(answer("sabar", "status")["cooling_seconds_left"] + 1)
        dream("sabar", "resume", "--by", "demo", "--key", str(KEY), "--reason", "adjusted by rule", "--config", str(CONFIG))
        dream("run", "--config", str(CONFIG), ends=(4,))


def how_long() -> str:
    """What to expect on two cores."""
    from dream_engine.models.pretrained import multiplies_bf16, pick_device

    if multiplies_bf16(pick_device("auto")):
        return "half an hour on two cores"
    return "an hour and a half on two cores: this processor does not multiply bfloat16 (make demo-governance shows a small model in four minutes)"


def signing_key() -> None:
    """The demo's key, made and registered once."""
    if not answer("keys", "list"):
        dream("keys", "new", "demo", "--demo", "--file", str(KEY))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the command that runs is ended, too
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
