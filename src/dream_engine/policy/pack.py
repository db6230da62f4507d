"""The policy pack: what must be refused, how, and which harmless requests look like it. Data, not code.

Knows nothing about models. `load_pack` reads and checks the shape; `problems` says what a pack lacks to be used for
commissioning.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Collection, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dream_engine.errors import InputError

DEFAULT = "default"
MIN_CATEGORIES = 10
MIN_PAIRS = 15
MIN_STYLES = 6
SECOND = "second_language"
"""The style of the pairs in a pack's second language."""
_SLOT = re.compile(r"\{(\w+)\}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pair(_Strict):
    """A harmful intent and the harmless twin that shares its words and form."""

    harm: str
    twin: str


class Plain(_Strict):
    """A plain harmless request. In a file it is its text, or `{language: text}` where it is not English."""

    text: str
    language: str = "en"

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            ((language, text),) = value.items()
            return {"text": text, "language": language}
        return {"text": value}


class Style(_Strict):
    """One way of asking: `act` wraps a verb phrase `{x}` (`{X}` capitalised), `ask` a whole question."""

    act: list[str]
    ask: list[str]
    mutate: Literal["typos"] | None = None


class SecondLanguage(_Strict):
    """Templates for the pairs listed under `es` (or whichever language `id` names)."""

    id: str
    act: list[str]


class Refuse(_Strict):
    """The pieces of a refusal: what it declines and what it offers instead."""

    what: list[str]
    offer: list[str]
    offer_es: list[str] = []


class Category(_Strict):
    """One kind of harm. `critical` categories freeze the model when compliance rises (888_HOLD)."""

    critical: bool
    rule: str
    refuse: Refuse
    pairs: list[Pair]
    es: list[Pair] = []


class Pack(_Strict):
    """A whole policy pack. `digest` is the SHA-256 of the file it came from."""

    format: Literal["dream-engine-pack/1"]
    name: str
    version: int
    license: str = "unknown"
    slots: dict[str, list[str]] = {}
    styles: dict[str, Style]
    second_language: SecondLanguage | None = None
    refusal_forms: dict[str, list[str]]
    guidance: str
    categories: dict[str, Category]
    anchors: list[Plain]
    openings: list[str] = [""]
    """First words of harmless requests that the model itself finishes; an empty one leaves it all the words."""
    digest: str = ""

    @property
    def critical(self) -> frozenset[str]:
        """Names of the categories in which a rise of compliance freezes the model."""
        return frozenset(name for name, category in self.categories.items() if category.critical)

    @property
    def second(self) -> str | None:
        """The id of the second language; None where the pack has one language."""
        return self.second_language.id if self.second_language else None

    def grid(self, scope: Collection[str] = ()) -> list[tuple[str, str]]:
        """Category × style, as far as there are pairs for it; with a `scope`, of these categories alone.

        Raises:
            InputError: the scope names a category that the pack has not.
        """
        unknown = sorted(set(scope) - set(self.categories))
        if unknown:
            raise InputError(f"dream.scope: {unknown[0]!r} is not a category of pack {self.name!r}; known are {', '.join(sorted(self.categories))}")
        styles = [*self.styles, *([SECOND] if self.second_language else [])]
        wanted = {name: c for name, c in self.categories.items() if not scope or name in scope}
        return [(name, style) for name, c in wanted.items() for style in styles if (c.es if style == SECOND else c.pairs)]

    def cells(self, scope: Collection[str] = ()) -> list[tuple[str, str, str]]:
        """The grid with the language of each style."""
        return [(category, style, self.second if self.second and style == SECOND else "en") for category, style in self.grid(scope)]

    def refusal(self, category: str, language: str, rng: random.Random) -> str:
        """One refusal in the pack's own words: declines, and names what it can help with instead."""
        refuse = self.categories[category].refuse
        forms = self.refusal_forms.get(language) or self.refusal_forms["en"]
        offers = refuse.offer_es if language == "es" and refuse.offer_es else refuse.offer
        return rng.choice(forms).format(what=rng.choice(refuse.what), offer=rng.choice(offers))

    def fill(self, text: str, fillers: dict[str, str]) -> str:
        """Replaces each `{slot}` by its filler.

        Raises:
            InputError: the pack uses a slot that it does not list.
        """
        try:
            return _SLOT.sub(lambda match: fillers[match.group(1)], text)
        except KeyError as error:
            raise InputError(f"policy pack {self.name!r}: {{{error.args[0]}}} in {text!r} is not listed under slots") from error

    def draw_fillers(self, rng: random.Random) -> dict[str, str]:
        """One filler for every slot, shared by both sides of a pair."""
        return {slot: rng.choice(values) for slot, values in self.slots.items()}


def load_pack(source: str = DEFAULT) -> Pack:
    """Reads a pack that ships with the package (by name) or lies in a file (by path).

    Raises:
        InputError: no such pack, not YAML, or a field is missing, unknown or of the wrong type.
    """
    data = _read(source)
    try:
        raw = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"policy pack {source!r} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"policy pack {source!r} must be a mapping; see docs/tour.md for the fields")
    try:
        return Pack.model_validate(raw | {"digest": hashlib.sha256(data).hexdigest()})
    except ValidationError as error:
        raise InputError(f"policy pack {source!r}: {_first_problem(error)}") from error


def problems(pack: Pack) -> list[str]:
    """What the pack lacks to teach a policy; empty when it is complete."""
    return [*_size_problems(pack), *_slot_problems(pack)]


def _read(source: str) -> bytes:
    shipped = resources.files("dream_engine.policy") / "packs" / f"{source}.yaml"
    if shipped.is_file():
        return shipped.read_bytes()
    path = Path(source)
    if not path.is_file():
        raise InputError(f"policy pack {source!r} is neither a shipped pack nor a file; use 'default' or a path")
    return path.read_bytes()


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _size_problems(pack: Pack) -> Iterator[str]:
    if len(pack.categories) < MIN_CATEGORIES:
        yield f"{len(pack.categories)} categories, at least {MIN_CATEGORIES} are needed"
    if len(pack.styles) < MIN_STYLES:
        yield f"{len(pack.styles)} request styles, at least {MIN_STYLES} are needed"
    if not pack.critical:
        yield "no category is marked critical"
    if "en" not in pack.refusal_forms:
        yield "refusal_forms has no 'en'"
    if pack.second and not any(plain.language == pack.second for plain in pack.anchors):
        yield f"no plain request among anchors is in {pack.second!r} ('- {{{pack.second}: …}}'), so that language alone would be a reason to decline"
    for name, category in pack.categories.items():
        if len(category.pairs) < MIN_PAIRS:
            yield f"category {name!r} has {len(category.pairs)} pairs, at least {MIN_PAIRS} are needed"


def _slot_problems(pack: Pack) -> Iterator[str]:
    for name, text in _texts(pack):
        for slot in _SLOT.findall(text):
            if slot not in pack.slots:
                yield f"{name}: {{{slot}}} is used but not listed under slots"


def _texts(pack: Pack) -> Iterator[tuple[str, Any]]:
    for name, category in pack.categories.items():
        for number, pair in enumerate([*category.pairs, *category.es]):
            yield f"categories.{name}.{number}.harm", pair.harm
            yield f"categories.{name}.{number}.twin", pair.twin
    for number, plain in enumerate(pack.anchors):
        yield f"anchors.{number}", plain.text
