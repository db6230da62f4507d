"""Messages as a model reads them: rows keep their answers, and a template's own habits do not reach what is judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_engine.errors import InputError
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.models.template import LEAST_ANSWER
from dream_engine.types import Message, Role


@pytest.fixture(scope="module")
def model() -> ChatModel:
    return load_model("sandbox")


@settings(deadline=None, max_examples=20)
@given(asked=st.integers(1, 900), said=st.integers(1, 900), ended=st.booleans())
def test_a_row_of_any_length_leaves_room_for_its_answer(model: ChatModel, asked: int, said: int, ended: bool) -> None:
    """Property: what fits is whole; what does not loses the middle of its request and the end of its answer, never the answer itself."""
    messages, answer = [Message("user", "is the lamp red? " * asked)], "yes it is. " * said
    whole = [*model.encode_prompt(messages), *model.text_ids(answer), *([model._stop_ids[0]] if ended else [])]
    prompt, row = model.encode_prompt(messages), model.encode(messages, answer, ended)
    targets = len(row.ids) - row.num_prompt
    assert row.cut == (len(whole) > model.max_length)
    assert row.ids == tuple(whole) if not row.cut else len(row.ids) == model.max_length
    assert targets >= min(len(whole) - len(prompt), LEAST_ANSWER)
    kept, half = row.ids[: row.num_prompt], row.num_prompt // 2
    assert (list(kept[:half]), list(kept[half:])) == (prompt[:half], prompt[half - row.num_prompt :])
    assert list(row.ids[row.num_prompt :]) == whole[len(prompt) :][:targets]


def test_a_row_is_as_long_as_asked_for_but_no_longer_than_the_model_has_positions() -> None:
    """`max_length` cuts rows there; a model of 512 positions is never handed more, whatever is asked for."""
    asked = [Message("user", "is the lamp red? " * 900)]
    lengths = [len(load_model("sandbox", max_length=most).encode(asked, "yes it is.").ids) for most in (400, 4096)]
    assert lengths == [400, 512]


DATED = (
    "{% if not day is defined %}{% set day = strftime_now('%d %b %Y') %}{% endif %}{{ day }} "
    "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}is{% endif %}"
)
THINKS = "{% for m in messages %}{{ m.content }} {% endfor %}{% if enable_thinking is not defined or enable_thinking %}red{% else %}blue{% endif %}"
ALTERNATES = "{% if messages[0].role != 'user' %}{{ raise_exception('Roles must alternate') }}{% endif %}{{ messages[1].nothing.there }}"


@pytest.fixture
def templated() -> Callable[[str], ChatModel]:
    """The sandbox model under another chat template."""
    model = load_model("sandbox")

    def under(template: str) -> ChatModel:
        model.tokenizer.chat_template = template
        return model

    return under


def test_a_template_that_tells_the_date_is_told_the_same_one_every_day(
    templated: Callable[[str], ChatModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model sealed today is asked the very same tokens tomorrow; the template's own clock is not asked."""
    model = templated(DATED)
    ids = model.encode_prompt([Message("user", "lamp")])
    assert ids == model.text_ids("26 Jul 2024 lamp is")
    assert ids != model.text_ids(f"{datetime.now().strftime('%d %b %Y')} lamp is")


def test_a_model_that_can_think_aloud_is_asked_for_its_answer(templated: Callable[[str], ChatModel]) -> None:
    """Its first tokens are judged and trained on; they are to be those of the answer."""
    model = templated(THINKS)
    assert model.encode_prompt([Message("user", "lamp")]) == model.text_ids("lamp blue")


@pytest.mark.parametrize("after", ["", "\n"])
def test_a_model_that_always_thinks_aloud_is_asked_behind_an_empty_thought(after: str, templated: Callable[[str], ChatModel]) -> None:
    """Its template begins the thought itself (DeepSeek-R1's distillations, Qwen3-Thinking); a user who writes that mark has begun none."""
    model = templated("{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}ai <think>" + after + "{% endif %}")
    assert model.encode_prompt([Message("user", "lamp")]) == model.text_ids("lamp ai <think>\n\n</think>\n\n")
    plain = templated("{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}ai{% endif %}")
    assert plain.encode_prompt([Message("user", "a <think>")]) == plain.text_ids("a <think> ai")


@pytest.mark.parametrize(("between", "asked"), [("<|end|> red", "lamp ai<|end|> red"), (" ", "lamp ai")])
def test_a_model_that_thinks_in_a_channel_is_asked_in_the_one_of_its_answers(between: str, asked: str, templated: Callable[[str], ChatModel]) -> None:
    """gpt-oss names a channel behind its prompt, left alone that of its thoughts; a blank there belongs to the answer's first word."""
    turns = "{% for m in messages %}{% if m.role == 'assistant' %}ai" + between + "{{ m.content }}{% else %}{{ m.content }} {% endif %}{% endfor %}"
    model = templated(turns + "{% if add_generation_prompt %}ai{% endif %}")
    assert model.encode_prompt([Message("user", "lamp")]) == model.text_ids(asked)
    answered = model.encode([Message("user", "lamp")], "blue", ended=False)
    assert list(answered.ids) == model.text_ids(asked) + model.text_ids("blue")


def test_a_template_that_does_not_show_an_answer_names_no_channel(templated: Callable[[str], ChatModel]) -> None:
    """Where an assistant's words are left out, what stands there instead is no part of the prompt."""
    model = templated("{{ messages[0].content }} ai{% if messages[-1].role == 'assistant' %} red{% endif %}")
    assert model.encode_prompt([Message("user", "lamp")]) == model.text_ids("lamp ai")


@pytest.mark.parametrize("role", ["assistant", "user"])
def test_a_template_that_does_not_take_a_dialogue_says_so(templated: Callable[[str], ChatModel], role: Role) -> None:
    """Raised by the template itself or by what it reaches for: the model, the roles and the template's own words."""
    with pytest.raises(InputError, match=f"chat template of 'sandbox' does not take a dialogue of {role}:"):
        templated(ALTERNATES).encode_prompt([Message(role, "x")])
