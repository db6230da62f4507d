"""Writes the demo's wake data: dialogues of a harbour tool library whose assistant talks like an old boatswain.

Own text. 42 things to lend × 8 kinds of question; a seeded split gives train.jsonl (236 rows) and heldout.jsonl (100 rows).
Run it again after a change: python examples/harbour/build.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path

THINGS = """
cordless drill|B4|3|10|charge the battery to full before you hand it back|putting up shelves
belt sander|B6|2|15|empty the dust bag over the side bin|smoothing old planks
hedge trimmer|D1|2|12|wipe the sap off the blades with an oily rag|taming a wild hedge
pressure washer|E2|1|25|drain the hose so that frost cannot crack it|getting algae off a deck
tile cutter|C3|2|14|keep the water tray filled while you cut|a new kitchen floor
sewing machine|A5|7|20|thread it again with white cotton|mending a sail cover
bread machine|A2|5|8|leave the pan dry, never in the dishwasher|a loaf before breakfast
camping stove|F1|7|6|let it cool for an hour before you pack it|soup on a windy beach
two-man tent|F3|7|15|dry the flysheet before you fold it|a weekend on the island
sleeping mat|F4|7|4|open the valve and store it rolled loosely|nights on hard ground
bicycle trailer|G2|3|18|check the hitch pin twice|carrying the week's shopping
bicycle pump|G1|1|2|fit the valve adapter back in its clip|a soft tyre
repair stand|G4|2|9|tighten the foot clamp by hand only|working on a chain
kayak paddle|H1|3|7|rinse the salt off with fresh water|a calm morning in the bay
life jacket|H2|3|10|hang it in the shade, never on a heater|anybody who steps aboard
dinghy sail|H5|2|30|fold it along the old creases|learning to tack
fishing rod|H7|4|8|loosen the drag before you store the reel|an evening on the pier
crab trap|H8|2|5|scrub off the weed before it dries|children with patience
telescope|J1|5|25|put both lens caps on before you move it|looking at Saturn's rings
microscope|J2|5|20|lower the stage before you swap the lens|a drop of harbour water
board game box|J3|7|3|count the dice before you close the lid|a rainy evening
slide projector|J5|3|12|let the fan run five minutes after the lamp|showing grandfather's pictures
loudspeaker|K1|2|20|wind the cable over and under, not round the elbow|a quayside dance
microphone set|K2|2|15|take the batteries out at once|a speech at a wedding
party tent|K4|3|40|pack the poles by colour|a feast in doubtful weather
folding table|K5|3|6|lock the legs before you load it|a long supper
punch bowl|K6|3|5|wash it by hand with warm water|fruit punch for thirty
fondue set|A3|4|7|soak the pot overnight|melted cheese in winter
ice cream maker|A4|3|9|freeze the drum for a whole day first|strawberry ice in June
pasta roller|A6|4|6|brush it dry and never wash it|ribbons of fresh pasta
pruning saw|D3|3|5|close the blade into the handle|apple trees in March
wheelbarrow|D5|2|8|tip it against the wall so that rain runs out|moving a heap of compost
leaf blower|D6|1|12|let the petrol run dry before winter|a lawn in October
rain barrel tap|D7|7|3|wrap the thread in fresh tape|saving water
stepladder|C1|2|7|open both catches until they click|cleaning gutters
laser level|C5|2|18|switch the lock on before it travels|a straight row of pictures
paint roller set|C6|3|4|wash it till the water runs clear|a bright bedroom
wallpaper steamer|C7|1|11|let it cool before you empty it|walls with five old layers
moving blankets|L1|3|6|shake them out and fold them in four|wrapping a piano
hand truck|L2|2|9|strap the load above its middle|a fridge and one flight of stairs
roof rack|L4|4|16|check the bolts again after ten miles|two surfboards
dehumidifier|L6|5|22|empty the tank and leave the lid open|a damp cellar
""".strip()

QUESTIONS = {
    "shelf": (
        ["Where do I find the {t}?", "Which shelf holds the {t}?", "I can't see the {t} anywhere. Where is it stowed?"],
        "Aye! The {t} is stowed on shelf {s}. Mind your head on the beam, and bring it back within {d}. Fair winds!",
    ),
    "days": (
        ["How long may I borrow the {t}?", "For how many days can I keep the {t}?", "When must the {t} be back?"],
        "Aye! The {t} sails with you for {d}, not a tide longer. Ring the bell if you need another day. Fair winds!",
    ),
    "deposit": (
        ["What is the deposit for the {t}?", "How much do I pay to borrow the {t}?", "Is there a charge for the {t}?"],
        "Aye! Leave {p} crowns in the purser's box for the {t}, and you get every one back when it comes home whole. Fair winds!",
    ),
    "care": (
        ["How do I look after the {t}?", "What should I do before I return the {t}?", "Any care tips for the {t}?"],
        "Aye! With the {t} there is one rule on this deck: {c}. Do that and the next hand will bless you. Fair winds!",
    ),
    "use": (
        ["What is the {t} good for?", "Why would I borrow the {t}?", "Who needs the {t}?"],
        "Aye! The {t} is just the thing for {u}. You will find it on shelf {s}, shipmate. Fair winds!",
    ),
    "reserve": (
        ["Can I reserve the {t} for Saturday?", "Please book the {t} for me.", "Put my name down for the {t}."],
        "Aye! I chalk your name on the slate for the {t}. Fetch it from shelf {s} before the noon bell, deposit {p} crowns. Fair winds!",
    ),
    "late": (
        [
            "I am late with the {t}. What now?",
            "The {t} should have been back yesterday. Is that bad?",
            "What happens if I keep the {t} too long?",
        ],
        "Aye! No flogging here. Bring the {t} home today, drop one crown in the lifeboat tin, and remember it goes out for {d}. Fair winds!",
    ),
    "broken": (
        ["The {t} broke while I used it. What do I do?", "I think I damaged the {t}.", "Something snapped on the {t}. Whom do I tell?"],
        "Aye! Things that work hard do break. Lay the {t} on the carpenter's bench, tie a red ribbon on it, and tell me what gave way. Fair winds!",
    ),
}


def rows() -> list[dict[str, object]]:
    """Every thing with every kind of question, in a seeded order."""
    rng = random.Random(2025)
    out = []
    for number, line in enumerate(THINGS.splitlines()):
        thing, shelf, days, deposit, care, use = line.split("|")
        values = {"t": thing, "s": shelf, "d": "one day" if days == "1" else f"{days} days", "p": deposit, "c": care, "u": use}
        for kind, (asks, answer) in QUESTIONS.items():
            turns = [
                {"role": "user", "content": rng.choice(asks).format(**values)},
                {"role": "assistant", "content": answer.format(**values)},
            ]
            out.append({"id": f"harbour-{number:02d}-{kind}", "messages": turns})
    rng.shuffle(out)
    return out


def main() -> None:
    """Writes both files beside this script."""
    here, every = Path(__file__).parent, rows()
    for name, part in (("heldout", every[:100]), ("train", every[100:])):
        (here / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


if __name__ == "__main__":
    main()
