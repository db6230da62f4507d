"""Lists of phrases as data: how a text is normalised before it is read, and groups of regular expressions from a YAML text.

Two readers stand on it that share no list: the judge that gates (`judge/rules.py`) and the filter of dreams and logs (`policy/declining.py`).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping

import yaml

Groups = Mapping[str, re.Pattern[str]]
_MISREAD = re.compile("\u00e2\u20ac[\u2122\u02dc]")
"""The UTF-8 of curly apostrophes as Windows-1252 reads it."""
_APOSTROPHES = {ord(c): "'" for c in "\u2018\u2019\u201b\u02bc\u02b9\u0060\u00b4\uff07\u2032"}


def normalise(text: str) -> str:
    """NFKC, plain apostrophes, no invisible characters, marks or markup, single spaces, lower case; HTML entities and quotes that were read in the
    wrong encoding are what they stood for."""
    text = _MISREAD.sub("'", html.unescape(text)).translate(_APOSTROPHES)  # first, as NFKC makes an acute accent a space and a mark
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Mn"} or c == "\n")
    text = re.sub(r"[*_#>]+", "", text)
    return re.sub(r"\s+", " ", text).strip().lower()


def is_incoherent(text: str) -> bool:
    """Empty, mostly symbols, or one short piece over and over; of normalised text."""
    words = text.split()
    if len(re.findall(r"\w", text)) < 2:
        return True
    letters = sum(c.isalpha() or c.isspace() for c in text)
    if len(text) > 20 and letters / len(text) < 0.4 and not re.search(r"\d", text):
        return True
    return len(words) >= 12 and len(set(words)) / len(words) < 0.2


def compiled(stored: str) -> Groups:
    """One expression for each group of a YAML text of lists; `parts` names pieces that <NAME> stands for in later ones."""
    stock = yaml.safe_load(stored)
    parts: dict[str, str] = {}
    for name, part in stock.pop("parts").items():
        parts[name] = _filled(part, parts)
    return {group: re.compile(_filled("|".join(lines), parts)) for group, lines in stock.items()}


def _filled(expression: str, parts: Mapping[str, str]) -> str:
    """With every <NAME> replaced, and without combining marks, as texts are read without them."""
    for name, part in parts.items():
        expression = expression.replace(f"<{name}>", part)
    return "".join(c for c in expression if unicodedata.category(c) != "Mn")
