"""Seeded personal data, planted in chat text: what the patterns are measured on. Nothing here belongs to anybody."""

from __future__ import annotations

import random
import string

FRAMES = (
    "Look at {x} and tell me what went wrong?", "It says {x} on the form.", "{x}", "Please use {x}, not the old one.",
    "I wrote to them ({x}) last week; nothing came back.", "Contact: {x}\nThank you!", "My details: {x}. What now?", "¿Puede usar {x}?",
)  # fmt: skip
NAME_FRAMES = ("Hello, my name is {x} and my order is late.", "Dear {x},\nwe met last week.", "I spoke to Mr. {x} about it.", "Best regards,\n{x}")
FIRST = ("Anna", "Boris", "Chloé", "Dmitri", "Esra", "Farah", "Goran", "Hana", "Iker", "Jörg", "Kwame", "Lucía", "Mei", "Nils", "Olga", "Priya")
LAST = ("Berg", "Castillo", "Dubois", "Eriksen", "Fischer", "Haddad", "Ivanova", "Jansen", "Kowalski", "Lindqvist", "Müller", "Okafor", "Rossi")
COUNTRIES = {"DE": 18, "GB": 0, "FR": 23, "ES": 20, "NL": 0, "AT": 16, "CH": 17, "BE": 12}


def planted(count: int, seed: int) -> list[tuple[str, str, str]]:
    """`count` items as (kind, item, text that holds it), the kinds in turn."""
    rng, makers = random.Random(seed), list(MAKERS.items())
    found = []
    for index in range(count):
        kind, make = makers[index % len(makers)]
        item = make(rng)
        found.append((kind, item, rng.choice(NAME_FRAMES if kind == "name" else FRAMES).replace("{x}", item)))
    return found


def _mail(rng: random.Random) -> str:
    user = rng.choice([f"{_name(rng).split()[0].lower()}.{rng.randint(1, 99)}", "info+tag", "o'neil_x", f"u{rng.randint(1, 999)}", "müller"])
    return f"{user}@{rng.choice(['example.org', 'mail.example.co.uk', 'firma-test.de', 'a.io', 'correo.example.es'])}"


def _phone(rng: random.Random) -> str:
    def d(n: int) -> str:
        return "".join(rng.choice(string.digits) for _ in range(n))

    forms = [
        f"+49 17{d(1)} {d(7)}", f"+44 20 {d(4)} {d(4)}", f"+1 (21{d(1)}) 55{d(1)}-{d(4)}", f"(21{d(1)}) 55{d(1)}-{d(4)}", f"21{d(1)}-55{d(1)}-{d(4)}",
        f"030 {d(8)}", f"0171/{d(7)}", f"+34 6{d(2)} {d(3)} {d(3)}", f"0034 6{d(2)} {d(3)} {d(3)}", f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}",
        f"06 {d(2)} {d(2)} {d(2)} {d(2)}", f"+91-98{d(8)}",
    ]  # fmt: skip
    return rng.choice(forms)


def _iban(rng: random.Random) -> str:
    country = rng.choice(list(COUNTRIES))
    if country in ("GB", "NL"):
        body = "".join(rng.choice(string.ascii_uppercase) for _ in range(4)) + "".join(
            rng.choice(string.digits) for _ in range(14 if country == "GB" else 10)
        )
    else:
        body = "".join(rng.choice(string.digits) for _ in range(COUNTRIES[country]))
    check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    plain = f"{country}{check:02d}{body}"
    return plain if rng.random() < 0.5 else " ".join(plain[i : i + 4] for i in range(0, len(plain), 4))


def _card(rng: random.Random) -> str:
    prefix, length = rng.choice([("4", 16), ("51", 16), ("37", 15), ("6011", 16)])
    body = prefix + "".join(rng.choice(string.digits) for _ in range(length - len(prefix) - 1))
    total = sum(int(c) if i % 2 else sum(divmod(2 * int(c), 10)) for i, c in enumerate(reversed(body)))
    plain = body + str(-total % 10)
    mark = rng.choice(["", " ", "-"])
    return mark.join(plain[i : i + 4] for i in range(0, length, 4))


def _key(rng: random.Random) -> str:
    def word(n: int, letters: str = string.ascii_letters + string.digits) -> str:
        return "".join(rng.choice(letters) for _ in range(n))

    forms = [
        "sk-" + word(40), "sk-proj-" + word(32), "ghp_" + word(36), "AKIA" + word(16, string.ascii_uppercase + string.digits), "xoxb-" + word(24),
        "AIza" + word(35), "hf_" + word(34), "glpat-" + word(20), f"eyJ{word(20)}.{word(40)}.{word(30)}", "sk_live_" + word(24),
    ]  # fmt: skip
    return rng.choice(forms)


def _address(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return ".".join(str(rng.randint(1, 254)) for _ in range(4))
    groups = [f"{rng.randint(1, 65535):x}" for _ in range(8)]
    return ":".join(groups) if rng.random() < 0.5 else ":".join(groups[:3]) + "::" + groups[7]


def _name(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


MAKERS = {
    "mail address": _mail, "phone number": _phone, "account number": _iban, "card number": _card, "key": _key, "IP address": _address, "name": _name,
}  # fmt: skip
