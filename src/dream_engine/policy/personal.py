"""Personal data in text: found by pattern and checksum, replaced by a placeholder. Pure functions; no model, no file.

Kinds with a form of their own (mail, phone, IBAN, card, key, IP address) are found reliably; names only where the words around them give
them away. Published recall: docs/metrics.md. An optional engine may look as well (`capture.personal_engine`), never instead.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Found(NamedTuple):
    """One finding: its kind and the half-open range of characters."""

    kind: str
    start: int
    end: int


def luhn_holds(text: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B), 13 to 19 digits."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d * 2 - 9 * (d > 4) for d in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def iban_holds(text: str) -> bool:
    """The check digits of an IBAN (ISO 13616): moved to the end, letters as 10 … 35, the remainder by 97 is 1."""
    plain = re.sub(r"[^A-Za-z0-9]", "", text).upper()
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _is_address(text: str) -> bool:
    """A valid IP address; of version 6 at least three groups, since `a::b` is also how programs name things."""
    if ":" in text and sum(map(bool, text.split(":"))) < 3:
        return False
    try:
        ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return False
    return True


def _is_phone(text: str) -> bool:
    """7 to 15 digits (ITU-T E.164), and a form that only phone numbers have: a plus, a leading zero, brackets, or groups that end in four."""
    digits = sum(c.isdigit() for c in text)
    international = text.startswith(("+", "00"))
    grouped = re.fullmatch(r"(?:1[ .-])?\(?\d{3}\)?[ .-]?\d{3}[ .-]\d{4}", text)
    national = re.fullmatch(r"\(?0\d{2,5}\)?[ /-]?\d{3,8}(?:[ -]\d{2,6}){0,2}|0\d(?:[ .-]\d{2}){4}", text) and digits >= 9
    return 7 <= digits <= 15 and not set(text) <= set("01 -") and bool(international or grouped or national)


def _sure(text: str) -> bool:
    return True


_GROUP = re.compile(r"[+(]?[A-Za-z0-9]+\)?")
MAX_GROUPS = 24
_NAME = r"[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ'’-]+(?: (?:van |von |de |da |di )?[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ'’-]+){0,2}"
_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("mail address", re.compile(r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}"), _sure),
    (
        "key",
        re.compile(
            r"\b(?:sk|pk|rk)[-_](?:[a-z]+[-_]){0,2}[A-Za-z0-9]{16,}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{18,}"
            r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{30,}|\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{30,}"
            r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        _sure,
    ),
    ("account number", re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8}\b"), iban_holds),
    ("card number", re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])"), luhn_holds),
    (
        "IP address",
        re.compile(r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
        _is_address,
    ),
    ("phone number", re.compile(r"(?<![\w.,])(?:\+|\()?\d[\d ()./-]{5,18}\d(?![\w]|[.,]\d)"), _is_phone),
)
_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i:\bmy (?:full )?name is|\bi am called|\bmich heiße|\bich heiße|\bme llamo|\bmi nombre es|\bje m'appelle) (?P<name>{_NAME})",
        rf"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|Señora?|Mme)\.? (?P<name>{_NAME})",
        rf"(?m)^(?i:dear|hi|hello|hola|liebe|lieber) (?P<name>{_NAME}),",
        rf"(?i:regards|sincerely|yours|thanks|cheers|saludos|grüße),?[ ]*\n+(?P<name>{_NAME})[ ]*$",
    )
)


def find(text: str, names: bool = True) -> list[Found]:
    """All personal data in order, findings that overlap an earlier kind's left out. `names` also looks for names by the words around them."""
    taken: list[Found] = []
    for found in _candidates(text, names):
        if all(found.end <= other.start or other.end <= found.start for other in taken):
            taken.append(found)
    return sorted(taken, key=lambda f: f.start)


def redact(text: str, more: Iterable[Found] = ()) -> tuple[str, list[Found]]:
    """The text with every finding replaced by its kind in brackets (`[mail address]`), and the findings. `more` are another engine's."""
    found = find(text)
    found += [m for m in more if all(m.end <= f.start or f.end <= m.start for f in found)]
    for one in sorted(found, key=lambda f: -f.start):
        text = f"{text[: one.start]}[{one.kind}]{text[one.end :]}"
    return text, found


def _longest(match: re.Match[str], holds: Callable[[str], bool]) -> tuple[int, int] | None:
    """The longest run of the match's groups that is one: a number may stand beside another one that belongs to the sentence."""
    text, begin = match.group(), match.start()
    if holds(text):
        return match.span()
    parts = [m.span() for m in _GROUP.finditer(text)][:MAX_GROUPS]
    parts += [(a + 1, b) for a, b in parts if text[a] == "("]
    runs = sorted(((b[1] - a[0], a[0], b[1]) for a in parts for b in parts if b[1] > a[0]), reverse=True)
    return next(((begin + a, begin + b) for _, a, b in runs if holds(text[a:b])), None)


def _candidates(text: str, names: bool) -> Iterator[Found]:
    for kind, pattern, holds in _PATTERNS:
        yield from (Found(kind, *span) for m in pattern.finditer(text) if (span := _longest(m, holds)))
    for pattern in _NAMES if names else ():
        yield from (Found("name", *m.span("name")) for m in pattern.finditer(text))
