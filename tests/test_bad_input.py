"""The bad-input matrix: whatever is wrong, one line that names it and says what to do, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

Call = Callable[..., tuple[int, str, str]]
GOOD = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
SANDBOX = ("--set", "model.name=sandbox", "--set", "policy.pack=sandbox")
RUN = ("run", *SANDBOX, "--set", "wake.data=wake.jsonl")
TALK = '{"messages": [{"role": "user", "content": "what is it"}, {"role": "assistant", "content": %s}]}\n'


class Bad(NamedTuple):
    """Files that are there, the command, how it must end, and a part of the line."""

    files: dict[str, str | bytes]
    command: tuple[str, ...]
    code: int
    message: str


def config(text: str) -> Bad | Any:
    return lambda message: Bad({"dream.yaml": text}, ("run",), 2, message)


def wake(text: str | bytes) -> Any:
    return lambda message: Bad({"wake.jsonl": text}, RUN, 2, message)


def suite(text: str) -> Any:
    rows = {"s.csv": text, "dream.yaml": "judge: {suites: [{path: s.csv, side: harmful}]}"}
    return lambda message: Bad(rows, ("run",), 2, message)


def log(name: str, text: str | bytes) -> Any:
    return lambda message: Bad({name: text}, ("capture", "import", name), 2, message)


MATRIX: dict[str, Bad] = {
    # configuration
    "unknown key": config("wake: {datta: x.jsonl}")("did you mean 'data'"),
    "unknown section": config("modle: {name: x}")("did you mean 'model'"),
    "number out of range": config("lora: {r: 0}")("lora.r = 0"),
    "word that is none": config("judge: {profile: fast}")("judge.profile = 'fast'"),
    "no sections": config("- 1")("must hold sections"),
    "broken YAML": config("a: [")("not valid YAML"),
    "YAML that is binary": Bad({"dream.yaml": b"\xff\xfe\x00"}, ("run",), 2, "not valid YAML"),
    "missing wake data": config("wake: {data: nowhere.jsonl}")("nowhere.jsonl does not exist"),
    "missing pack": config("policy: {pack: nowhere}")("neither a shipped pack nor a file"),
    "missing model": config("model: {name: ./nowhere}")("cannot be loaded"),
    "a hub id while offline": config("model: {name: someone/some-chat-model}")("cannot be loaded"),
    "missing suite": config("judge: {suites: [{path: nowhere.csv, side: harmful}]}")("nowhere.csv does not exist"),
    "adapter and model at once": config("wake: {adapter: a, model: b}")("exclude each other"),
    "a sink that is none": config("report_to: pigeon")("report_to = 'pigeon'"),
    "--set without a value": Bad({}, ("run", "--set", "seed"), 2, "not of the form section.key=value"),
    "unknown option": Bad({}, ("run", "--sped", "1"), 2, "--sped"),
    "unknown command": Bad({}, ("sleep",), 2, "sleep"),
    # the user's rows
    "empty file": wake("")("is empty"),
    "blank lines": wake("\n\n\n")("is empty"),
    "not JSON": wake(GOOD + "{not json\n")("line 2 is not JSON"),
    "no object": wake(GOOD + "[1]\n")("line 2 is not an object"),
    "no known fields": wake('{"text": "x"}\n')("no known format (messages, prompt/completion, Alpaca, ShareGPT, OpenAI log); found: text"),
    "unknown role": wake('{"messages": [{"role": "robot", "content": "x"}]}\n')("role 'robot' is unknown"),
    "no answer": wake('{"messages": [{"role": "user", "content": "x"}]}\n')("must end with an assistant's answer"),
    "empty messages": wake('{"messages": []}\n')("must end with an assistant's answer"),
    "blank answer": wake('{"prompt": "x", "completion": " "}\n')("answer is empty"),
    "content that is no text": wake(TALK % "3")("the content of the assistant's turn is int"),
    "duplicate ids": wake('{"id": 1, "prompt": "x", "completion": "y"}\n' * 2)("duplicate ids"),
    "too few rows": wake(GOOD)("too few to hold"),
    "a line too long": wake('{"prompt": "' + "x" * 1_100_000 + '", "completion": "y"}\n')("more than 1048576 bytes"),
    "nested too deeply": wake("[" * 90_000 + "\n")("is not JSON"),
    "mixed encodings": wake(GOOD.encode() + b'{"prompt": "\xff\xfe", "completion": "y"}\n')("line 2 is not UTF-8"),
    "UTF-16": wake(GOOD.encode("utf-16"))("line 1 is not UTF-8"),
    # suites
    "one row": suite("text\none row\n")("has 1 rows"),
    "no such column": suite("words\na\nb\n")("has no column 'text'"),
    "repeated ids": suite("id,text\n1,a\n1,b\n")("duplicate ids"),
    "one side alone": suite("text\na b\nc d\n")("has no anchor, twin side"),
    # adapters and models made elsewhere
    "no adapter folder": Bad({}, ("gate", "--commission", "--adapter", "nowhere", *SANDBOX), 2, "is not a PEFT adapter folder"),
    "a pickle": Bad(
        {"a/adapter_config.json": "{}", "a/adapter_model.bin": b"\x80\x04."}, ("gate", "--commission", "--adapter", "a", *SANDBOX), 2, "safetensors"
    ),
    "an adapter of another base": Bad({}, ("gate", "--commission", "--adapter", "wrong", *SANDBOX), 2, "does not fit model"),
    "a model without a tokenizer": Bad({}, ("gate", "--commission", "--adapter", "wrong", "--base", "bare"), 2, "cannot be loaded"),
    "a model without a chat template": Bad({}, ("run", "--set", "model.name=mute"), 2, "no chat template"),
    # logs
    "missing log": Bad({}, ("capture", "import", "nowhere.jsonl"), 2, "does not exist"),
    "empty log": log("l.jsonl", "")("is empty"),
    "unknown format": log("l.csv", "question,reply\na,b\n")("no known format"),
    "unknown role in a log": log("l.json", '[{"messages": [{"role": "wizard", "content": "x"}]}]')("role 'wizard' is unknown"),
    "truncated Parquet": log("l.parquet", b"PAR1")("is not Parquet"),
    # reviews, scenarios, results
    "no dreams": Bad({"d.jsonl": ""}, ("review", "dreams", "d.jsonl", "--by", "me"), 2, "is empty"),
    "rows that are no dreams": Bad({"d.jsonl": GOOD}, ("run", *SANDBOX, "--dreams", "d.jsonl"), 2, "line 1 is not a dream"),
    "scenario of no category": Bad(
        {"s.csv": "category,harm,twin\nx,a b,c d\n"}, ("archive", "add", "s.csv", *SANDBOX), 2, "'x' is not a category"
    ),
    "answers of nobody": Bad({}, ("eval", "--out", "o", "--answers", "nowhere", *SANDBOX), 2, "holds no samples"),
    # workspaces
    "no workspace: status": Bad({}, ("status",), 5, "dream run"),
    "no workspace: export": Bad({}, ("export", "adapter", "--to", "x"), 5, "dream run"),
    "no workspace: forget": Bad({}, ("capture", "forget", "--source", "x", "--by", "me", "--reason", "y"), 5, "dream run"),
    "a workspace that is a file": Bad({"w": "x"}, ("run", *SANDBOX, "-w", "w"), 74, "cannot be made"),
    "a ledger that is none": Bad({".dream/ledger.db": "x" * 4000}, ("status",), 5, "ledger"),
}  # fmt: skip


@pytest.fixture
def models(tmp_path: Path) -> Callable[[], None]:
    """Folders that some rows name: a model without tokenizer, one without template, an adapter of another shape."""
    from dream_engine.models.sandbox import sandbox_folder

    def make() -> None:
        shutil.copytree(sandbox_folder(), tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*", "special*", "chat*"))
        shutil.copytree(sandbox_folder(), tmp_path / "mute")
        (tmp_path / "mute" / "chat_template.jinja").unlink(missing_ok=True)
        settings = json.loads((tmp_path / "mute" / "tokenizer_config.json").read_text())
        settings.pop("chat_template", None)
        (tmp_path / "mute" / "tokenizer_config.json").write_text(json.dumps(settings))
        import torch
        from safetensors.torch import save_file

        (tmp_path / "wrong").mkdir()
        lora = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
        (tmp_path / "wrong" / "adapter_config.json").write_text(json.dumps(lora))
        key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
        save_file({key: torch.zeros(2, 7)}, tmp_path / "wrong" / "adapter_model.safetensors")

    return make


@pytest.mark.parametrize("name", list(MATRIX))
def test_bad_input(name: str, dream: Call, models: Callable[[], None], tmp_path: Path) -> None:
    """Exit code and line as the matrix says; the user's files are as they were; nothing half-written stays."""
    row = MATRIX[name]
    for path, content in row.files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    if {"wrong", "bare", "model.name=mute"} & set(row.command):
        models()
    code, _, err = dream(*row.command)
    assert (code, row.message in err) == (row.code, True), err
    assert len(err.strip().splitlines()) <= 3, err
    for path, content in row.files.items():
        assert Path(path).read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_matrix_has_at_least_forty_rows() -> None:
    """Rows may be added."""
    assert len(MATRIX) >= 40


def test_a_file_without_permission_is_named(dream: Call) -> None:
    """Not readable: the path and the reason."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    Path("wake.jsonl").write_text(GOOD)
    Path("wake.jsonl").chmod(0)
    code, _, err = dream(*RUN)
    assert (code, "wake.jsonl" in err) == (74, True), err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.parametrize("free_kb", [0, 64, 400])
def test_a_full_disk_leaves_the_buffer_and_the_ledger_whole(dream: Call, small_disk: Path, free_kb: int) -> None:
    """Import until the disk is full, at three fill levels: exit 74, the ledger verifies, the old episodes are there."""
    rows = "".join(json.dumps({"prompt": f"Question number {n}?", "completion": f"Answer {n}."}) + "\n" for n in range(40))
    Path("a.jsonl").write_text(rows)
    assert dream("capture", "import", "a.jsonl", "-w", str(small_disk / "ws"))[0] == 0
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * max(0, free - free_kb * 1024))
    big = "".join(json.dumps({"prompt": f"{n} asks {'x' * (n % 50)} {n * 7919}?", "completion": "y" * 900}) + "\n" for n in range(3000))
    Path("b.jsonl").write_text(big)
    code, _, err = dream("capture", "import", "b.jsonl", "-w", str(small_disk / "ws"))
    assert code == 74, err
    (small_disk / "filler").unlink()
    code, out, _ = dream("capture", "show", "-w", str(small_disk / "ws"), "--json")
    assert (code, json.loads(out)["sources"]["a"]) == (0, 40)
    assert dream("ledger", "verify", "-w", str(small_disk / "ws"))[0] == 0
