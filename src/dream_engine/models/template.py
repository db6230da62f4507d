"""What a chat model's tokenizer and template make of messages: token ids. Needs no weights, and knows nothing about safety."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from dream_engine.errors import InputError
from dream_engine.types import Message

THOUGHT, NO_THOUGHT = "<think>", "\n\n</think>\n\n"
FIXED_DAY = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""Put before chat templates that tell the model the date, it stands in for the clock: a sealed model has to answer tomorrow as it did today."""
LONGEST_ROW = 1024
"""Tokens of a row that is trained on or scored, unless another `max_length` is asked for; TRL's default too."""
LEAST_ANSWER = 256
"""Tokens of a row that its answer may have, however long the prompt is."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt and its answer; positions from `num_prompt` on are the answer. `cut`: it was longer than a row may be."""

    ids: tuple[int, ...]
    num_prompt: int
    cut: bool = False


class ChatText:
    """Messages, and the tokens that a model reads for them."""

    def __init__(self, tokenizer: Any, name: str, stop_ids: Sequence[int], max_length: int) -> None:
        """`stop_ids`: tokens that end an answer, the first of them the one that is written."""
        if not tokenizer.chat_template:
            raise InputError(f"model {name!r} has no chat template; use a chat model or set one in tokenizer_config.json")
        self.tokenizer = tokenizer
        self.name = name
        self.max_length = max_length
        self._stop_ids = list(stop_ids)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation so far, up to where the assistant's answer begins."""
        shown = messages if self._takes_system else without_system(messages)
        try:
            return self.text_ids(without_a_thought(self._templated(shown, add_generation_prompt=True) + self._opening))
        except (TemplateError, ValueError, TypeError) as error:
            roles = ", ".join(m.role for m in shown) or "nobody"
            raise InputError(f"the chat template of {self.name!r} does not take a dialogue of {roles}: {error}") from error

    def _templated(self, messages: Sequence[Message], **more: bool) -> str:
        """These turns in the model's own marks: without thinking aloud before an answer, and on a day that stays the same."""
        turns = [{"role": m.role, "content": m.content} for m in messages]
        return str(self.tokenizer.apply_chat_template(turns, chat_template=self._template, tokenize=False, enable_thinking=False, **more))

    @property
    def _template(self) -> str:
        own = str(self.tokenizer.get_chat_template())
        return FIXED_DAY + own if "strftime_now" in own else own

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the chat template shows a system turn to the model; some refuse one, some pass over it."""
        mark = "\u2402system\u2402"
        try:
            return mark in self._templated([Message("system", mark), Message("user", "x")])
        except (TemplateError, ValueError, TypeError):
            return False

    @cached_property
    def _opening(self) -> str:
        """What the chat template puts between its prompt and an assistant's words, where that is not blank: the channel of an answer (gpt-oss)."""
        mark, asked = "\u2402answer\u2402", [Message("user", "x")]
        try:
            prompt, said = self._templated(asked, add_generation_prompt=True), self._templated([*asked, Message("assistant", mark)])
        except (TemplateError, ValueError, TypeError):
            return ""
        before, shown, _ = said.partition(mark)
        opening = before.removeprefix(prompt) if shown and before.startswith(prompt) else ""
        return opening if opening.strip() else ""

    def encode(self, messages: Sequence[Message], answer: str, ended: bool = True) -> Encoded:
        """Prompt and answer; `ended` appends the end-of-turn token.

        `max_length` tokens at most, or as many as the model has positions: a prompt that leaves its answer less than `LEAST_ANSWER` of them loses its
        middle, an answer its end.
        """
        prompt, reply = self.encode_prompt(messages), self.text_ids(answer) + (self._stop_ids[:1] if ended else [])
        room = self.max_length - min(len(reply), LEAST_ANSWER)
        kept = prompt if len(prompt) <= room else prompt[: room // 2] + prompt[room // 2 - room :]
        return Encoded(tuple((kept + reply)[: self.max_length]), len(kept), len(prompt) + len(reply) > self.max_length)

    def encode_text(self, text: str, max_length: int = 512) -> Encoded:
        """Plain text without the chat template; its first token is context only."""
        return Encoded(tuple(self.text_ids(text)[:max_length]), 1)

    def text_ids(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def user_turn_ids(self) -> list[int]:
        """Token ids of everything before the first word of a user's first message.

        Raises:
            InputError: the template puts nothing before the user's words, so nothing can be sampled from there.
        """
        marker = "\u2402here\u2402"
        text = self._templated([Message("user", marker)])
        before = self.text_ids(text[: text.index(marker)])
        if not before:
            raise InputError(f"the chat template of {self.name!r} begins with the user's words; set dream.self_anchors: 0")
        return before


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with its system turns before the user's first words."""
    said = "\n\n".join(m.content for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    if not said or not rest:
        return rest
    return [Message(rest[0].role, f"{said}\n\n{rest[0].content}"), *rest[1:]]


def without_a_thought(prompt: str) -> str:
    """A prompt whose template has begun a thought already, with that thought ended empty (2504.09858): what comes next is the answer."""
    begun = prompt.rstrip()
    return begun + NO_THOUGHT if begun.endswith(THOUGHT) else prompt
