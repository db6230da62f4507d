"""`make demo`: commission a policy, let harmless learning wear it away, dream it back, judge. Resumes where it was killed.

The approval between the two cycles is given with a key marked `demo`, which reports never show as a person.
"""

from __future__ import annotations

import json
import subprocess
import sys
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
    ended = list(status().get("cycles", {}))
    if len(ended) > 1:
        print(f"the demo has ended; remove {WORKSPACE} to run it anew, or go on with: dream run --config {CONFIG} --workspace {WORKSPACE}")
        dream("diff", *ended[:2])
        dream("report", ended[1])
        dream("ledger", "verify")
        return
    if status()["live"] is None:
        if status()["held"] is None:
            print("cycle 1: commissioning (dreams from the policy pack teach the policy)", flush=True)
            dream("run", "--config", str(CONFIG), ends=(4,))
        if not answer("keys", "list"):
            dream("keys", "new", "demo", "--demo", "--file", str(KEY))
        dream("approve", str(status()["held"]), "--by", "demo", "--key", str(KEY), "--reason", "commissioned by the demo")
    print("\ncycle 2: wake on the harbour dialogues, dream, judge", flush=True)
    code = dream("run", "--config", str(CONFIG), ends=(0, 1, 3, 4))
    dream("ledger", "show")
    dream("ledger", "verify")
    sys.exit(0 if code in (0, 1, 3, 4) else code)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
