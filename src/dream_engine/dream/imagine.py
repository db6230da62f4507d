"""Ω Dreamers: where scenarios come from. Only requests are written here, never an answer to a harmful one."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from dream_engine.models.hf import ChatModel
from dream_engine.policy.pack import SECOND, Pack, Pair, Style
from dream_engine.types import Proposed, Scenario, Side, digest

T = TypeVar("T")
STYLED_ANCHORS = 0.2
MAX_PREFACE = 160
"""Characters of a request that may stand before another."""


def template_pairs(pack: Pack, count: int, seed: int, cells: Collection[tuple[str, str]] | None = None) -> list[Proposed]:
    """`count` pairs from the pack's grammar, spread evenly over category × style (over `cells` of it, if given), without duplicates.

    Both sides of a pair are wrapped in the same form, so that only the harm tells them apart. Returns fewer than `count`
    when the grammar has no more distinct pairs to give.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    pairs: list[Proposed] = []
    for proposed in _endless_pairs(pack, list(pack.grid() if cells is None else cells), rng, seed, tries=20 * count):
        text = proposed[0].text.lower()
        if text not in seen:
            seen.add(text)
            pairs.append(proposed)
        if len(pairs) == count:
            break
    return pairs


def template_anchors(pack: Pack, count: int, seed: int, language: str | None = None) -> list[Scenario]:
    """`count` plain harmless requests from the pack's forms and slots, without duplicates; one in five in one of its styles.

    Every form, or every one in `language`, comes once before any comes again. Returns fewer than `count` when the forms have no more to give.
    """
    rng, forms = random.Random(seed), [form for form in pack.anchors if language in (None, form.language)]
    deck, texts = _Deck(forms, rng), dict[str, str]()
    for _ in range(4 * count if forms else 0):
        if len(texts) == count:
            break
        form = deck.draw()
        text = pack.fill(form.text, pack.draw_fillers(rng))
        texts.setdefault(_in_some_style(pack, text, rng) if rng.random() < STYLED_ANCHORS else text, form.language)
    return [anchor(text, "template", seed, spoken) for text, spoken in texts.items()]


def evened(pack: Pack, dreamed: Sequence[Scenario], seed: int, per_harmful: int = 1) -> list[Scenario]:
    """Plain requests in the pack's second language, until these scenarios hold `per_harmful` times as many of them as harmful ones in it.

    Where every request in a language is about harm, the language itself becomes a reason to decline.
    """
    sides = Counter(s.side for s in dreamed if s.language == pack.second)
    return template_anchors(pack, per_harmful * sides["harmful"] - sides["anchor"], seed, pack.second)


def dressed(pack: Pack, anchors: Sequence[Scenario], seed: int) -> list[Scenario]:
    """One in five of these requests in one of the pack's styles, the others as they are."""
    rng = random.Random(seed)
    return [anchor(_in_some_style(pack, a.text, rng), a.generator, a.seed, a.language) if rng.random() < STYLED_ANCHORS else a for a in anchors]


def _in_some_style(pack: Pack, text: str, rng: random.Random) -> str:
    """A plain request in the clothes that harmful ones wear, so that the clothes alone decide nothing."""
    style = pack.styles[rng.choice(list(pack.styles))]
    text = _render(rng.choice(style.ask), text)
    return with_typos(text, rng) if style.mutate == "typos" else text


def anchor(text: str, generator: str, seed: int, language: str = "en") -> Scenario:
    """A plain harmless request as a scenario."""
    return Scenario(
        id="d" + digest(["anchor", text])[:12],
        text=text,
        side="anchor",
        kind="generated",
        category="plain",
        style="plain",
        language=language,
        generator=generator,
        seed=seed,
    )


def prefaced(pairs: Sequence[Proposed], beginnings: Sequence[Scenario], seed: int) -> list[Proposed]:
    """Each pair behind an unrelated harmless request, the same one before both sides; of `beginnings` those that are short enough, by lot.

    What stands before a request is no reason to answer it, and a model that learned something else forgets that first.
    """
    short = [b for b in beginnings if len(b.text) <= MAX_PREFACE]
    rng = random.Random(seed)
    return [behind(b.text, b.id, pair) for pair in pairs for b in [rng.choice(short)]] if short else []


def behind(beginning: str, parent: str, pair: Proposed) -> Proposed:
    """Both sides of a pair behind the same words; `parent` is the id of what said them."""
    harm, twin = (replace(s, id="d" + digest(["behind", parent, s.text])[:12], text=f"{beginning} {s.text}", parent=parent) for s in pair)
    return harm, replace(twin, twin_of=harm.id)


def added_pairs(rows: Sequence[Mapping[str, str]], seed: int) -> list[Proposed]:
    """Pairs that people wrote, as scenarios: {category, harm, twin} each."""
    return [_added(row["category"], row["harm"], row["twin"], seed) for row in rows]


def _added(category: str, harm: str, twin: str, seed: int) -> Proposed:
    names = ["d" + digest([category, "added", text])[:12] for text in (harm, twin)]
    sides = (
        _scenario(names[0], harm, "harmful", category, "plain", "en", seed, None),
        _scenario(names[1], twin, "twin", category, "plain", "en", seed, names[0]),
    )
    return replace(sides[0], generator="person"), replace(sides[1], generator="person")


def _endless_pairs(pack: Pack, cells: list[tuple[str, str]], rng: random.Random, seed: int, tries: int) -> Iterator[Proposed]:
    """Round after round over the cells, each round in a fresh order."""
    decks = {name: _Deck(category.pairs, rng) for name, category in pack.categories.items()}
    foreign = {name: _Deck(category.es, rng) for name, category in pack.categories.items()}
    while cells and tries > 0:
        rng.shuffle(cells)
        for category, style in cells:
            tries -= 1
            deck = foreign[category] if style == SECOND else decks[category]
            yield _wrap(pack, category, style, deck.draw(), rng, seed)


class _Deck(Generic[T]):
    """Deals every item once before any comes again."""

    def __init__(self, items: list[T], rng: random.Random) -> None:
        self.items, self._rng, self._left = items, rng, list[T]()

    def draw(self) -> T:
        if not self._left:
            self._left = self._rng.sample(self.items, len(self.items))
        return self._left.pop()


def _wrap(pack: Pack, category: str, style: str, pair: Pair, rng: random.Random, seed: int) -> Proposed:
    fillers = pack.draw_fillers(rng)
    harm, twin = pack.fill(pair.harm, fillers), pack.fill(pair.twin, fillers)
    form, language = _pick_form(pack, style, asks=harm.endswith("?"), rng=rng)
    mutate_seed = rng.random()
    texts = [_render(form, text) for text in (harm, twin)]
    if style in pack.styles and pack.styles[style].mutate == "typos":
        texts = [with_typos(text, random.Random(mutate_seed)) for text in texts]
    ids = ["d" + digest([category, style, text])[:12] for text in texts]
    return (
        _scenario(ids[0], texts[0], "harmful", category, style, language, seed, None),
        _scenario(ids[1], texts[1], "twin", category, style, language, seed, ids[0]),
    )


def _scenario(id: str, text: str, side: Side, category: str, style: str, language: str, seed: int, twin_of: str | None) -> Scenario:
    kind = "generated" if twin_of is None else "counterfactual"
    return Scenario(id, text, side, kind, category, style, language, "template", seed, twin_of)  # type: ignore[arg-type]


def _pick_form(pack: Pack, style: str, asks: bool, rng: random.Random) -> tuple[str, str]:
    if style == SECOND and pack.second_language:
        return rng.choice(pack.second_language.act), pack.second_language.id
    chosen: Style = pack.styles[style]
    return rng.choice(chosen.ask if asks else chosen.act), "en"


def _render(form: str, text: str) -> str:
    return form.replace("{x}", text).replace("{X}", text[:1].upper() + text[1:])


def with_typos(text: str, rng: random.Random) -> str:
    """Drops, doubles or swaps a letter in about one word of three longer than three letters."""
    return " ".join(_typo(word, rng) if len(word) > 3 and rng.random() < 0.35 else word for word in text.split(" "))


def _typo(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.choice(["drop", "double", "swap"])
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    if kind == "double":
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


# ---- the model as a dreamer -----------------------------------------------------------------------------------------

_REWORD = (
    "Original: How do I fix a leaking tap?\nReworded: My tap drips all night. What can I do to repair it?\n\n"
    "Original: Write a poem about my dog.\nReworded: I would love some verses on the dog I have at home.\n\n"
    "Original: {text}\nReworded:"
)
ANCHOR_TOKENS = 40
REWORD_TOKENS = 32


def self_anchors(model: ChatModel, adapter: str | None, openings: Sequence[str], count: int, seed: int) -> list[Scenario]:
    """Harmless requests that the model writes itself, sampled from the beginning of a user turn and its first words (after 2406.08464).

    The openings take turns. Requests that did not end within 40 tokens are dropped, so fewer than `count` come back.
    """
    begun = [openings[i % len(openings)] for i in range(count)]
    with model.using(adapter):
        before = model.user_turn_ids()
        written = model.continue_ids([before + model.text_ids(words) for words in begun], ANCHOR_TOKENS, temperature=1.0, seed=seed)
    texts = dict.fromkeys(joined(words, g.text) for words, g in zip(begun, written, strict=True) if g.ended)
    return [anchor(text, "self", seed) for text in texts if len(text) > 12]


def joined(opening: str, rest: str) -> str:
    """Opening and continuation as one line; no space before an apostrophe or a comma."""
    text = " ".join(f"{opening} {rest}".split())
    return re.sub(r" (?=[',.?!’])", "", text)


def self_rewordings(model: ChatModel, adapter: str | None, pairs: Sequence[Proposed], seed: int) -> list[Scenario]:
    """The model's own rewordings of both sides of pairs, from two worked examples. Label and novelty are for the screen."""
    sources = [scenario for pair in pairs for scenario in pair]
    with model.using(adapter):
        prompts = [model.text_ids(_REWORD.format(text=s.text)) for s in sources]
        written = model.continue_ids(prompts, REWORD_TOKENS, temperature=0.8, seed=seed)
    texts = [g.text.split("\n")[0].strip().strip('"') for g in written]
    made: list[Scenario] = []
    for (harm, twin), harm_text, twin_text in zip(pairs, texts[::2], texts[1::2], strict=True):
        harm_id = "d" + digest(["self", harm_text])[:12]
        made.append(replace(harm, id=harm_id, text=harm_text, generator="self", parent=harm.id, seed=seed))
        made.append(
            replace(
                twin,
                id="d" + digest(["self", twin_text])[:12],
                text=twin_text,
                generator="self",
                parent=harm.id,
                twin_of=harm_id,
                seed=seed,
            )
        )
    return made
