"""Runs a study: one night a setting for T, W and the dreams, then every arm from there. Each result is a small file that stays.

A result holds what an evaluation measured, without answers or weights, so shards of a study merge by copying files together.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dream_engine.capture.read import read_conversations
from dream_engine.cycle.dreaming import nightly_dreams
from dream_engine.cycle.judging import searched
from dream_engine.cycle.night import Night
from dream_engine.cycle.opening import open_night
from dream_engine.cycle.wake import learn
from dream_engine.errors import InputError
from dream_engine.files import write_json
from dream_engine.govern.store import exclusive
from dream_engine.judge.measure import Bench, measure
from dream_engine.judge.metrics import Evaluation, Record, TextLoss
from dream_engine.progress import Show
from dream_engine.study.arms import CURATED, Made, Scene, arm
from dream_engine.study.compare import counted
from dream_engine.study.plan import Plan, Result, Setting, config_of, every_setting
from dream_engine.types import Conversation, Message
from dream_engine.workspace import Workspace

MODELS = ("T", "W")


def run_study(plan: Plan, out: Path, show: Show, shard: tuple[int, int] = (0, 1)) -> list[Result]:
    """Every setting of this shard (index, of how many); what lies in `out` is not run again.

    Raises:
        InputError: an arm is not known, a file is missing, or the teacher's workspace holds no sealed model.
        BusyError: another process runs one of these settings in `out`.
    """
    for name in plan.arms:
        arm(name)
    stored = sorted(CURATED & {name.partition("@")[0] for name in plan.arms})
    if stored and plan.curated is None:
        raise InputError(f"arms {', '.join(stored)} need 'curated': a file of requests and safe answers")
    curated = read_conversations(plan.curated) if plan.curated else []
    for number, setting in enumerate(every_setting(plan)):
        if number % shard[1] == shard[0] and not _finished(plan, setting, out):
            with exclusive(out / setting.name / "lock"):
                run_setting(plan, setting, curated, out, show)
    return read_results(plan, out)


def run_setting(plan: Plan, setting: Setting, curated: Sequence[Conversation], out: Path, show: Show) -> None:
    """T and W; unless the plan passes this setting over then, the dreams, `ours` for its number of tokens, and every other arm."""
    night = open_night(config_of(plan, setting), _workspace(plan, setting, out), show)
    if night.commissioning:
        raise InputError(f"the workspace {plan.teacher} holds no sealed model; run 'dream run' there and approve it")
    woken = learn(night)
    for name in MODELS:
        _write(out, setting, name, Made(name, matched=False), 0, night.report(name).evaluation, _searched(night, Made(name, matched=False)))
    if _passed_over(plan, setting, out):
        return
    scene = Scene(night, woken, nightly_dreams(night, woken), curated, 0)
    for name in _arms(plan):
        if not _place(out, setting, name).is_file():
            made = arm(name)(replace(scene, budget=_trained(night, "R")))
            tokens = _trained(night, "R" if made.adapter in ("C", "R") else made.adapter)
            _write(out, setting, name, made, tokens, _measured(night, made), _searched(night, made))


def _arms(plan: Plan) -> list[str]:
    """`ours`, whose tokens the others are matched to, and the plan's."""
    return list(dict.fromkeys(["ours", *plan.arms]))


def left_to_run(plan: Plan, out: Path) -> list[Setting]:
    """The settings of which a result is missing; one that the plan passes over is done with T and W."""
    return [setting for setting in every_setting(plan) if not _finished(plan, setting, out)]


def _finished(plan: Plan, setting: Setting, out: Path) -> bool:
    return all(_place(out, setting, name).is_file() for name in (*MODELS, *_arms(plan))) or _passed_over(plan, setting, out)


def _passed_over(plan: Plan, setting: Setting, out: Path) -> bool:
    """Whether T and W are there, W lost too little to count, and the plan wants no arms where nothing counts."""
    places = [_place(out, setting, name) for name in MODELS]
    return plan.counting_only and all(p.is_file() for p in places) and not counted([_read(p) for p in places], plan.loss_that_counts)


def read_results(plan: Plan, out: Path) -> list[Result]:
    """All results of this plan that are there."""
    places = [_place(out, setting, name) for setting in every_setting(plan) for name in (*MODELS, *_arms(plan))]
    return [_read(path) for path in places if path.is_file()]


def _workspace(plan: Plan, setting: Setting, out: Path) -> Workspace:
    """This setting's own copy of the teacher's workspace, its runs left out."""
    folder = out / setting.name / "workspace"
    if not folder.is_dir():
        if not (plan.teacher / "ledger.db").is_file():
            raise InputError(f"teacher {plan.teacher} is no workspace: it has no ledger.db")
        scratch = folder.with_name("workspace.tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(plan.teacher, scratch, ignore=shutil.ignore_patterns("runs", "lock"))
        scratch.rename(folder)
    return Workspace.open(folder)


def _trained(night: Night, adapter: str) -> int:
    """Trained tokens of the fit behind an adapter, 0 where nothing was fitted."""
    path = night.folder / f"fit-{adapter}.json"
    return int(json.loads(path.read_text())["trained_tokens"]) if path.is_file() else 0


def _measured(night: Night, made: Made) -> Evaluation:
    """The arm on the night's bench, under its guidance if it has one; answer lengths are left out."""
    if made.adapter == "W" and not made.guidance:
        return night.report("W").evaluation
    bench = _guided(night.data.bench, made.guidance) if made.guidance else night.data.bench
    return measure(
        night.model, made.adapter, made.adapter, bench, night.report("T").probe, lengths=False, stage=lambda part: night.stage(part)
    ).evaluation


def _searched(night: Night, made: Made) -> dict[str, Any] | None:
    """A fresh search of `judge.search` scenarios in the arm, once an adapter; not under guidance, and not unless asked for."""
    if not night.config.judge.search or made.guidance:
        return None
    path = night.folder / f"search-{made.adapter}.json"
    if not path.is_file():
        write_json(path, searched(night, made.adapter, made.adapter))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _guided(bench: Bench, guidance: str) -> Bench:
    system = Message("system", guidance)
    suites = tuple(replace(p, earlier=(system, *p.earlier)) for p in bench.suites)
    return replace(bench, suites=suites, user=tuple(replace(row, prompt=(system, *row.prompt)) for row in bench.user))


def _place(out: Path, setting: Setting, name: str) -> Path:
    return out / "results" / setting.name / f"{name}.json"


def _write(out: Path, setting: Setting, name: str, made: Made, tokens: int, e: Evaluation, search: dict[str, Any] | None) -> None:
    path = _place(out, setting, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {"records": [asdict(r) for r in e.records], "user": [asdict(x) for x in e.user], "general": [asdict(x) for x in e.general]}
    write_json(path, {"setting": asdict(setting), "arm": name, "matched": made.matched, "trained_tokens": tokens, "search": search, **kept})


def _read(path: Path) -> Result:
    raw = json.loads(path.read_text(encoding="utf-8"))
    user, general = (tuple(TextLoss(**x) for x in raw[key]) for key in ("user", "general"))
    evaluation = Evaluation(raw["arm"], tuple(Record(**r) for r in raw["records"]), user, general)
    search = raw.get("search")
    found = (search["failed"], search["asked"]) if search else None
    return Result(Setting(**raw["setting"]), raw["arm"], raw["matched"], raw["trained_tokens"], evaluation, found)
