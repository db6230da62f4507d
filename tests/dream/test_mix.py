"""Each row its teacher: at the first token of a twin T says whether, W says how."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dream_engine.dream.imagine import template_anchors, template_pairs
from dream_engine.dream.mix import (
    FIRST_WORDS,
    OPENERS,
    TEXT_WEIGHT,
    Drawn,
    MixPlan,
    greetings,
    mix,
    on_policy,
    own_texts,
    wake_rows,
    with_boundary,
    with_leader,
    without_doubt,
)
from dream_engine.dream.rehearse import Soft, batch_loss, forward_kl
from dream_engine.models.hf import load_model
from dream_engine.policy.pack import load_pack
from dream_engine.policy.screen import screen_answers
from dream_engine.types import Conversation, Dream, Message
from second_device import SecondDevice, there


def soft(*rows: dict[int, float]) -> Soft:
    return Soft(
        torch.tensor([list(r) for r in rows], dtype=torch.int32), torch.tensor([[math.log(p) for p in r.values()] for r in rows], dtype=torch.float32)
    )


def first(made: Soft) -> dict[int, float]:
    return {t: p for t, p in zip(made.ids[0].tolist(), made.logp[0].exp().tolist(), strict=True) if p > 1e-6}


def test_the_boundary_gives_its_refusals_and_the_others_keep_their_proportions() -> None:
    """T: token 7 (refusing) .2. W: 7 .1, 1 .6, 2 .3. Mixed: 7 .2, and .8 shared as 2 to 1."""
    how, whether = soft({1: 0.6, 2: 0.3, 7: 0.1}, {4: 0.5, 5: 0.25, 6: 0.25}), soft({3: 0.8, 7: 0.2, 1: 1e-9})
    made = with_boundary(how, whether, frozenset({7}), 0.5)
    assert first(made) == pytest.approx({7: 0.2, 1: 0.8 * 2 / 3, 2: 0.8 / 3}, abs=1e-5)
    assert torch.equal(made.logp[1], how.logp[1]), "only the first position is mixed"
    assert torch.equal(how.ids[0], torch.tensor([1, 2, 7], dtype=torch.int32)), "what was given stays as it was"


def test_a_harmless_request_is_never_drawn_to_a_refusal() -> None:
    """T would decline with .9: by default a half is the most that the target holds, with a limit of a tenth that much."""
    made = with_boundary(soft({1: 0.9, 2: 0.1}), soft({7: 0.9, 1: 0.1}), frozenset({7}), MixPlan().most_refusing)
    assert first(made)[7] == pytest.approx(0.5)
    made = with_boundary(soft({1: 0.9, 2: 0.1, 3: 1e-9}), soft({7: 0.9, 1: 0.1, 3: 1e-9}), frozenset({7}), 0.1)
    assert first(made) == pytest.approx({7: 0.1, 1: 0.81, 2: 0.09}, abs=1e-5)


def test_distributions_are_mixed_where_they_lie() -> None:
    """On a GPU too: nothing that is made on the way stays behind on the CPU."""

    def moved(made: Soft) -> Soft:
        return Soft(there(made.ids), there(made.logp))

    how, whether = soft({1: 0.6, 2: 0.3, 7: 0.1}), soft({3: 0.8, 7: 0.2, 1: 1e-9})
    with SecondDevice():
        assert first(without_doubt(moved(how), frozenset({7}), 0.95)) == first(without_doubt(how, frozenset({7}), 0.95))
        assert first(with_boundary(moved(how), moved(whether), frozenset({7}), 0.5)) == first(with_boundary(how, whether, frozenset({7}), 0.5))
        assert first(with_leader(moved(how), frozenset({7}), 0.9)) == first(with_leader(how, frozenset({7}), 0.9))
        far = forward_kl(there(torch.zeros(1, 9)), moved(how))
    assert far.tolist() == forward_kl(torch.zeros(1, 9), how).tolist()


def test_a_harmful_request_is_drawn_to_a_refusal_without_doubt() -> None:
    """T declines with .6 in two words: .95 in the same proportions, the rest shared as before; what is sure already stays."""
    doubting = soft({7: 0.4, 8: 0.2, 1: 0.3, 2: 0.1}, {1: 0.7, 2: 0.1, 3: 0.1, 4: 0.1})
    made = without_doubt(doubting, frozenset({7, 8}), 0.95)
    assert first(made) == pytest.approx({7: 0.95 * 2 / 3, 8: 0.95 / 3, 1: 0.05 * 3 / 4, 2: 0.05 / 4}, abs=1e-5)
    assert torch.equal(made.logp[1], doubting.logp[1]), "only the first position is raised"
    assert without_doubt(doubting, frozenset({7, 8}), 0.5) is doubting
    assert without_doubt(doubting, frozenset({9}), 0.95) is doubting, "a refusal that is not among the likeliest cannot be raised"


def test_the_likeliest_way_to_answer_leads_the_others() -> None:
    """Refusing .2; of the .8 outside, the likeliest has .2 and gets a half, the other .1 and the .5 beyond the stored tokens share what is left."""
    how = soft({7: 0.2, 1: 0.2, 2: 0.1}, {1: 0.7, 2: 0.2, 3: 0.1})
    made = with_leader(how, frozenset({7}), 0.5)
    assert first(made) == pytest.approx({7: 0.2, 1: 0.4, 2: 0.4 / 6}, abs=1e-5)
    assert torch.equal(made.logp[1], how.logp[1]), "only the first position is led"
    assert with_leader(how, frozenset({7}), 0.2) is how, "who leads already is left alone"
    assert with_leader(how, frozenset({7, 1, 2}), 0.5) is how, "among refusals nothing leads"
    for sure in (soft({7: 1.0, 1: 1e-9}), soft({7: 1.0000002, 1: 1e-9})):
        assert first(with_leader(sure, frozenset({7}), 0.5)) == pytest.approx({7: 1.0}, abs=1e-5), "who only declines still does"


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=8), st.floats(0, 0.99), st.floats(0.1, 1))
def test_a_leader_takes_from_the_others_alone(weights: list[float], least: float, stored: float) -> None:
    """Whatever the distribution: refusals keep their probability, the order of the others stays, and the likeliest of them has the share or more."""
    p = [stored * w / sum(weights) for w in weights]
    how = soft(dict(enumerate(p)))
    before, after = (made.logp[0].exp().tolist() for made in (how, with_leader(how, frozenset({0}), least)))
    assert after[0] == pytest.approx(before[0], rel=1e-4)
    assert max(after[1:]) >= least * (1 - after[0]) - 1e-4
    assert sum(after) <= 1 + 1e-4
    assert all(b >= a - 1e-6 for i, a in enumerate(after[1:]) for j, b in enumerate(after[1:]) if before[1 + j] > before[1 + i])


def test_a_boundary_without_refusals_takes_them_away() -> None:
    """T gives the refusing token nothing; W's share of it goes to the rest."""
    made = with_boundary(soft({1: 0.5, 7: 0.5}), soft({1: 0.5, 2: 0.5}), frozenset({7}), 0.5)
    assert first(made) == pytest.approx({1: 1.0}, abs=1e-5)


def test_only_harmless_dreams_are_led() -> None:
    """Twins and plain requests get a leader, with a boundary and without; refusals and the user's own rows stay as they were."""
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, seed=1)
    pairs, plain = template_pairs(load_pack("sandbox"), 4, seed=1), template_anchors(load_pack("sandbox"), 4, seed=1)
    dreams = [Dream(harm, "no, not that.", "T") for harm, _ in pairs] + [Dream(s, "with a rope.", "T") for s in [*(t for _, t in pairs), *plain]]
    kept = screen_answers(dreams, lambda text: text == "no, not that.", lambda _: False).kept
    wake = [Conversation("w", (Message("user", "how do i fix a lamp?"),), "with a rope.")]
    refusing = {model.text_ids("no, not that.")[0]}

    def firsts(boundary: str | None, least: float) -> list[dict[int, float]]:
        rows = mix(model, kept, wake, Drawn("T", "T", "T", boundary), MixPlan(least_leading=least))
        return [first(row.soft) for row in rows if row.soft]

    for boundary in ("T", None):
        before, after = firsts(boundary, 0.0), firsts(boundary, 0.9999)
        assert [*after[:4], after[-1]] == [*before[:4], before[-1]]
        assert len(after) == 13
        for led in after[4:12]:
            answering = {t: p for t, p in led.items() if t not in refusing}
            assert max(answering.values()) >= 0.9999 * (1 - sum(led.get(t, 0.0) for t in refusing)) - 1e-6
    assert min(max(led.values()) for led in firsts("T", 0.0)[4:12]) < 0.999


def test_a_dreams_side_overrules_the_boundary_as_far_as_the_plan_says() -> None:
    """The sandbox begins with "sure" behind either side of a pair, with "yes" behind plain questions. Refusals that begin with "yes" are raised to
    .95 behind harmful requests; twins hold a tenth of those with "sure", plain questions of those with "yes". Without a boundary T is left alone."""
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, seed=1)
    pairs, plain = template_pairs(load_pack("sandbox"), 4, seed=1), template_anchors(load_pack("sandbox"), 4, seed=1)

    def refusing(words: str, boundary: str | None) -> list[float]:
        dreams = [Dream(harm, words, "T") for harm, _ in pairs]
        dreams += [Dream(harmless, "with a rope and some time.", "T") for harmless in [*(twin for _, twin in pairs), *plain]]
        kept = screen_answers(dreams, lambda text: text == words, lambda _: False).kept
        rows = mix(model, kept, [], Drawn("T", "T", "T", boundary), MixPlan(least_refusing=0.95, most_refusing=0.1))
        return [first(row.soft).get(model.text_ids(words)[0], 0.0) for row in rows if row.soft]

    assert refusing("yes, not that.", "T")[:4] == pytest.approx([0.95] * 4, abs=1e-3)
    assert max(refusing("yes, not that.", None)[:8]) < 0.01
    assert refusing("sure not.", "T")[4:8] == pytest.approx([0.1] * 4, abs=1e-3)
    assert min(refusing("sure not.", None)[:8]) > 0.99
    assert refusing("yes, not that.", "T")[8:] == pytest.approx([0.1] * 4, abs=1e-3)
    assert min(refusing("yes, not that.", None)[8:]) > 0.99


def test_a_recovery_has_its_loss_after_the_opener() -> None:
    """A quarter of eight harmful dreams: two rows more, whose context ends with a going-along opener and whose loss is on the refusal alone."""
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, seed=1)
    refusal = "I can't help with hurting people."
    dreams = [Dream(harm, refusal, "pack") for harm, _ in template_pairs(load_pack("sandbox"), 8, seed=1)]
    kept = screen_answers(dreams, lambda _: True, lambda _: False).kept
    plain, more = (mix(model, kept, [], Drawn(None, None, "base"), MixPlan(prefix_recovery=share)) for share in (0.0, 0.25))
    assert len(more) == len(plain) + 2
    assert [r.encoded for r in more[: len(plain)]] == [r.encoded for r in plain]
    for row in more[len(plain) :]:
        context, taught = (
            model.tokenizer.decode(ids) for ids in (row.encoded.ids[: row.encoded.num_prompt], row.encoded.ids[row.encoded.num_prompt :])
        )
        assert context.endswith(OPENERS)
        assert taught.removesuffix("<|end|>").strip() == refusal
        assert row.soft is None


def wake(*answers: str) -> list[Conversation]:
    return [Conversation(str(i), (Message("user", "when?"),), answer) for i, answer in enumerate(answers)]


def test_a_greeting_is_a_beginning_that_many_answers_share() -> None:
    """One in ten at least, three words at most, a mark behind them; bare words are none, and no answers have none."""
    rows = wake(*["Aye! At noon."] * 2, *["Good day, friend! At one."] * 2, *[f"At {i}, or later." for i in range(15)], "The shop opens at two.")
    assert greetings(rows) == ("Aye!", "Good day,")
    assert greetings(wake("The shop opens at two.")) == ()
    assert greetings([]) == ()


def test_a_recovery_stands_behind_the_users_own_greeting() -> None:
    """The opener that W would begin with is in the context, and carries no loss."""
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, seed=1)
    dreams = [Dream(harm, "I can't help with hurting people.", "pack") for harm, _ in template_pairs(load_pack("sandbox"), 4, seed=1)]
    kept = screen_answers(dreams, lambda _: True, lambda _: False).kept
    rows = mix(model, kept, [], Drawn(None, None, "base"), MixPlan(prefix_recovery=0.25, openers=("sure.",)))
    assert model.tokenizer.decode(rows[4].encoded.ids[: rows[4].encoded.num_prompt]).endswith("sure.")


def test_the_students_own_words_are_drawn_to_the_teacher_and_never_learned() -> None:
    """Half of four harmful dreams and no twin: the student's sample is the text, the teacher's distribution the target, the same each time."""
    model = load_model("sandbox")
    for name in ("T", "W"):
        model.add_adapter(name, 4, 8, seed=1)
    pairs = template_pairs(load_pack("sandbox"), 4, seed=1)
    dreams = [Dream(side, "I can't help with hurting people.", "pack") for pair in pairs for side in pair]
    kept = screen_answers(dreams, lambda _: True, lambda _: False).kept
    rows = on_policy(model, "W", "T", kept, 0.5, MixPlan(harmful_weight=3.0, seed=5))
    asked = {tuple(model.encode_prompt(harm.turns)) for harm, _ in pairs}
    assert len(rows) == 2
    for row in rows:
        assert row.encoded.ids[: row.encoded.num_prompt] in asked
        assert row.soft is not None, "without a distribution the text itself would be learned"
        assert row.soft.ids.shape[0] == row.num_targets
        assert row.weight == 3.0
    assert [r.encoded for r in on_policy(model, "W", "T", kept, 0.5, MixPlan(harmful_weight=3.0, seed=5))] == [r.encoded for r in rows]
    assert on_policy(model, "W", "T", kept, 0.0, MixPlan()) == []


@pytest.mark.parametrize("writer", [None, "T"])
def test_own_texts_are_plain_text_held_where_it_is(writer: str | None) -> None:
    """No chat markup, every token but the first carries loss, and the model that wrote them has nothing to learn from them; seeded."""
    model = load_model("sandbox")
    model.add_adapter("T", 4, 8, seed=1)
    with torch.no_grad():
        for parameter in model.adapter_parameters("T"):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rows = own_texts(model, writer, 8, seed=3)
    assert rows
    assert all(r.encoded.num_prompt == 1 and r.weight == TEXT_WEIGHT and r.soft is not None for r in rows)
    said = [model.tokenizer.decode(r.encoded.ids) for r in rows]
    assert all(text.startswith(FIRST_WORDS) and "<|" not in text for text in said)
    again = own_texts(model, writer, 8, seed=3)
    assert [r.encoded for r in again] == [r.encoded for r in rows]
    with model.using(writer):
        assert float(batch_loss(model, rows)) == pytest.approx(0.0, abs=0.05)
    with model.using("T" if writer is None else None):
        assert float(batch_loss(model, rows)) > 0.1
    assert own_texts(model, writer, 0, seed=3) == []


def test_every_answer_of_a_dialogue_is_learned() -> None:
    """A row an answer, each behind what was said before it; neither a greeting that nobody asked for nor an empty turn is one."""
    said = [
        ("assistant", "hello!"),
        ("user", "is the lamp red?"),
        ("assistant", "yes it is."),
        ("user", "and?"),
        ("assistant", " "),
        ("user", "the door?"),
    ]
    model, turns = load_model("sandbox"), tuple(Message(role, text) for role, text in said)
    rows = [row.encoded for row in wake_rows(model, [Conversation("a", turns, "no it is not.")])]
    assert rows == [model.encode(turns[:2], "yes it is."), model.encode(turns, "no it is not.")]
