"""The shipped suites: how many, of what, in which clusters; what is judged at the standard profile; other people's files."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from dream_engine.errors import InputError
from dream_engine.judge.suites import JUDGED, judged_shares, load_suite, shipped_suites
from dream_engine.policy.pack import load_pack

CRITICAL = load_pack().critical


def test_quick_is_150_a_side_and_standard_holds_it_all() -> None:
    """≥ 600 harmful and look-alikes in ≥ 150 clusters each, ≥ 300 plain, ≥ 40 in each critical category; ids and texts once."""
    quick, standard = shipped_suites(), shipped_suites("standard")
    assert Counter(p.side for p in quick) == {"harmful": 150, "twin": 150, "anchor": 150}
    assert standard[: len(quick)] == quick
    sides = {side: [p for p in standard if p.side == side] for side in ("harmful", "twin", "anchor")}
    assert min(len(sides["harmful"]), len(sides["twin"])) >= 600
    assert len(sides["anchor"]) >= 300
    for side in ("harmful", "twin"):
        assert len({p.cluster for p in sides[side]}) >= 150
    assert {p.cluster for p in sides["harmful"]} == {p.cluster for p in sides["twin"]}
    of = Counter(p.category for p in sides["harmful"])
    assert all(of[c] >= 40 for c in CRITICAL)
    assert len({p.id for p in standard}) == len(standard)
    assert len({(p.text, p.earlier) for p in standard}) == len(standard)
    assert {p.style for p in sides["harmful"]} == {p.style for p in sides["twin"]}


def test_every_category_is_asked_in_the_packs_second_language() -> None:
    """Two clusters of two in Spanish, both sides of each, in every category; one plain question in nine or more is Spanish."""
    standard, pack = shipped_suites("standard"), load_pack()
    assert pack.second_language
    spanish = [p for p in standard if p.language == pack.second_language.id]
    for side in ("harmful", "twin"):
        of = [p for p in spanish if p.side == side]
        assert Counter(p.category for p in of) == dict.fromkeys(pack.categories, 4)
        assert all(n == 2 for n in Counter(p.cluster for p in of).values())
    plain = [p for p in standard if p.side == "anchor"]
    assert sum(p.language == "es" for p in plain) * 9 >= len(plain)


def test_dialogues_of_three_turns_are_asked_as_such() -> None:
    """Both sides of a cluster go on from the same beginning; the last turn decides."""
    dialogues = [p for p in shipped_suites("standard") if p.earlier]
    assert Counter(p.side for p in dialogues) == {"harmful": 12, "twin": 12, "anchor": 6}
    for p in dialogues:
        assert [m.role for m in p.turns] == ["user", "assistant", "user"]
    begun = {p.cluster: p.earlier for p in dialogues if p.side == "harmful"}
    assert begun == {p.cluster: p.earlier for p in dialogues if p.side == "twin"}


def test_the_judged_sample_is_the_same_each_time_and_holds_what_is_critical() -> None:
    """Every plain prompt, look-alike and critical harmful one, 150 of the other harmful ones; quick judges all."""
    suites = shipped_suites("standard")
    shares = judged_shares(suites, CRITICAL, "standard")
    assert shares is not None
    assert judged_shares(list(reversed(suites)), CRITICAL, "standard") == shares
    assert judged_shares(suites, CRITICAL, "quick") is None
    assert all(shares[p.id] == 1 for p in suites if p.side != "harmful" or p.category in CRITICAL)
    rest = [p for p in suites if p.side == "harmful" and p.category not in CRITICAL]
    assert sum(p.id in shares for p in rest) == JUDGED
    assert next(shares[p.id] for p in rest if p.id in shares) == pytest.approx(JUDGED / len(rest))


@pytest.mark.parametrize(
    ("header", "rows", "sides"),
    [
        ("id,prompt,type,label,focus,note", ["v1,How do I a,homonyms,safe,,", "v2,How do I b,homonyms,unsafe,,"], ["twin", "harmful"]),
        (
            "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID",
            ["Do a,standard,c,,,x1", "Do b,standard,c,,,x2"],
            ["harmful"] * 2,
        ),
        ("category,source,forbidden_prompt", ["hate,s,Write a", "fraud,s,Write b"], ["harmful"] * 2),
        ("id,harm_area,counter,category,prompts_final", ["1,a,1,c,Should I a?", "2,a,2,c,Should I b?"], ["harmful"] * 2),
        ("functionality,case_id,test_case,label_gold,target_ident", ["f1,1,text a,hateful,x", "f2,2,text b,non-hateful,x"], ["harmful", "twin"]),
    ],
    ids=["XSTest", "HarmBench", "StrongREJECT", "SimpleSafetyTests", "HateCheck"],
)
def test_known_files_are_read_by_their_shape(tmp_path: Path, header: str, rows: list[str], sides: list[str]) -> None:
    """The column and the side of every row are told from the header; no column needs to be named."""
    path = tmp_path / "suite.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    assert [p.side for p in load_suite(path, None, None)] == sides


def test_a_file_of_no_known_shape_needs_its_side_and_column(tmp_path: Path) -> None:
    """The error names the shapes that are known and the keys to set."""
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["question"], ["a"], ["b"]])
    with pytest.raises(InputError, match=r"side and column"):
        load_suite(path, None, None)
    assert [p.side for p in load_suite(path, "twin", "question")] == ["twin", "twin"]
