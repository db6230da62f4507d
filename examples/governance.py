"""`make demo-governance`: what a reviewer can see, on the sandbox model (about a million parameters, two minutes at most).

A good cycle seals; a too aggressive one ends in SABAR, is adjusted and seals; an unsafe one is held and rejected by a signature; an
exported ledger is edited by hand and verification names the entry; the first model is brought back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from dream_engine.models.sandbox import wake_dialogues

HERE = Path(__file__).parent
ROOT = Path("governance-workspace")
KEY, EXPORT = ROOT / "demo.key", ROOT / "export.txt"
CONFIG, VERIFIER = HERE / "governance.yaml", HERE.parent / "tools" / "verify_ledger.py"
AGGRESSIVE = tuple(word for key in ("learning_rate=0.004", "anchors=4", "wake_rows=0", "self_anchors=0") for word in ("--set", f"dream.{key}"))
UNSAFE = ("--set", "wake.learning_rate=0.003", "--set", "wake.num_train_epochs=4", "--set", "dream.max_steps=1")
DECIDE = ("--by", "demo", "--key", str(KEY), "--reason")


def main() -> None:
    """Every step is a command that a user could type; a step that ends otherwise than it says stops the demo."""
    begun = time.monotonic()
    shutil.rmtree(ROOT, ignore_errors=True)
    title("a first model is taught and held for a person")
    cycle(1, ends=4)
    dream("keys", "new", "demo", "--demo", "--file", str(KEY))
    dream("approve", held(), *DECIDE, "the first model of this demo")
    first = live()
    title("a good cycle seals")
    cycle(1, ends=0)
    title("the first model is brought back, byte for byte")
    dream("rollback", first, *DECIDE[:2], "--reason", "showing the way back")
    title("a too aggressive cycle ends in SABAR: stopped, aligned, cooling")
    cycle(3, *AGGRESSIVE, ends=1)
    dream("sabar", "status")
    dream("sabar", "adjust", "--config", str(CONFIG))
    time.sleep(2)
    dream("sabar", "resume", *DECIDE, "the plan is milder now", "--config", str(CONFIG))
    title("with the configured plan, made milder by the rules, it seals")
    cycle(3, ends=0)
    title("an unsafe candidate is held, reviewed, and rejected by a signature")
    cycle(4, *UNSAFE, ends=4)
    dream("review", "cycle", held())
    dream("reject", held(), *DECIDE, "it answers harmful requests")
    title("an exported ledger verifies without this program; edited by hand it does not, and the entry is named")
    verify(ends=0)
    EXPORT.write_bytes(EXPORT.read_bytes().replace(b'"verdict":"sabar"', b'"verdict":"seal"', 1))
    verify(ends=5, export=False)
    title("the log knows what is live, since when, and who let it live")
    dream("log")
    verify(ends=0)
    dream("ledger", "verify")
    print(f"\n{time.monotonic() - begun:.0f} s")


def cycle(number: int, *settings: str, ends: int) -> None:
    """One cycle on the dialogues of this night."""
    ROOT.mkdir(exist_ok=True)
    for name, count, seed in (("wake", 160, number), ("heldout", 60, 100)):
        (ROOT / f"{name}-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wake_dialogues(count, seed)))
    here = ROOT.absolute()
    files = ("--set", f"wake.data={here / f'wake-{number}.jsonl'}", "--set", f"wake.heldout={here / f'heldout-{number}.jsonl'}")
    dream("run", "--config", str(CONFIG), *settings, ends=ends, unshown=files)


def dream(*arguments: str, ends: int = 0, unshown: tuple[str, ...] = ()) -> str:
    """Runs a command, shows it (but for the names of its files) and what it prints, and stops when it ends in another way than expected."""
    print(f"\n$ dream {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "dream_engine.cli", *arguments, *unshown, "--workspace", str(ROOT)]
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE if unshown else None)
    print(done.stdout.rstrip())
    if done.returncode != ends:
        sys.exit(f"ended in {done.returncode}, expected {ends}: {done.stderr or ''}")
    return done.stdout


def verify(ends: int, export: bool = True) -> None:
    """The stand-alone file, with the key that the reader kept."""
    if export:
        dream("ledger", "export", str(EXPORT))
    key = subprocess.run(
        [sys.executable, "-m", "dream_engine.cli", "ledger", "key", "--workspace", str(ROOT)], check=True, capture_output=True, text=True
    )
    print(f"\n$ python tools/verify_ledger.py {EXPORT} --key …", flush=True)
    done = subprocess.run([sys.executable, "-I", str(VERIFIER), str(EXPORT), "--key", key.stdout.strip()], check=False)
    if done.returncode != ends:
        sys.exit(f"ended in {done.returncode}, expected {ends}")


def state(name: str) -> str:
    command = [sys.executable, "-m", "dream_engine.cli", "status", "--json", "--workspace", str(ROOT)]
    return str(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[name])


def held() -> str:
    return state("held")


def live() -> str:
    return state("live")


def title(text: str) -> None:
    print(f"\n{'─' * 100}\n{text}", flush=True)


if __name__ == "__main__":
    main()
