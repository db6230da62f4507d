"""Text in the lab: tables are read strictly, no text is on both sides, no later context is known before its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dream_engine.errors import InputError
from dream_engine.lab.learners import class_mean_f1
from dream_engine.lab.methods import Plan
from dream_engine.lab.run import learn
from dream_engine.lab.text import own_tables, read_table, table, text_stream, word_stream
from dream_engine.policy.pack import load_pack

EXAMPLE = "text,label,split\ngood morning,hello,train\nsee you soon,bye,train\nhi there,hello,test\nbye now,bye,test\n"


def test_a_users_table_becomes_a_context(tmp_path: Path) -> None:
    """The plug-in point: a CSV of one's own, with a split of one's own."""
    (tmp_path / "mine.csv").write_text(EXAMPLE)
    stream = text_stream([read_table(tmp_path / "mine.csv")], inputs=64)
    (context,) = stream.contexts
    assert (context.name, len(context.train), len(context.test), stream.units) == ("mine", 2, 2, 2)
    assert context.train.x.sum(1).tolist() == [2.0, 3.0]
    assert set(context.test.y.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"), ("words,label\na,b\n", "has no column text; it has: words, label"), ("text,label\na b,\n", "line 2 has no label"),
        ("text,label\na b,x\nc d,x\n", "has 1 labels"), ("text,label,split\na,x,train\nb,y,train\n", "nothing to test on"),
        (b"text,label\n\xff,x\n", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_says_why(content: str | bytes, said: str, tmp_path: Path) -> None:
    """Empty, without the column, without a label, one class, no test, not text."""
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=said):
        read_table(path)


def test_the_same_text_is_never_on_both_sides() -> None:
    """Repeated texts are one text, and its digest alone decides where it goes."""
    rows = [(f"text {i % 50}", "ab"[i % 2], "") for i in range(400)]
    made = table("t", rows, "t")
    assert not {x for x, _ in made.train} & {x for x, _ in made.test}
    assert len(made.train) + len(made.test) == 50


def test_the_vocabulary_is_that_of_the_first_context() -> None:
    """Words of a later context share hashed places; adding a later context changes no bag of the first."""
    tables = own_tables(load_pack(), 60, 0)
    alone, with_later = text_stream(tables[:1]), text_stream(tables, "task")
    assert (alone.contexts[0].train.x == with_later.contexts[0].train.x).all()


def test_own_text_is_learned_and_forgotten() -> None:
    """The embedded default: after B and C a network without a past tells unsafe from safe worse than one that had everything."""
    stream = text_stream(own_tables(load_pack(), 600, 0), "task", 1024)
    ends = {}
    for name in ("none", "joint"):
        run, _ = learn(stream, name, Plan(iterations=150, hidden=64), 0, score=class_mean_f1)
        ends[name] = run.matrix[-1][0]
    assert ends["joint"] > 0.7
    assert ends["none"] < ends["joint"] - 0.1


def test_the_command_shows_each_context_at_the_end(tmp_path: Path, dream: Callable[..., tuple[int, str, str]]) -> None:
    """Two tables of one's own, the bounds always among the rows; a file that is none ends in one line and exit code 2."""
    for name, word in (("a", "cat"), ("b", "sky")):
        rows = "".join(f"{word} {n} {label},{label}\n" for n in range(40) for label in ("x" + name, "y" + name))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
    sizes = ("--iterations", "5", "--hidden", "8", "--threads", "1", "--method", "er", "--rows", str(tmp_path / "rows.jsonl"))
    code, out, err = dream("lab", "text", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), *sizes)
    assert code == 0, err
    assert all(name in out for name in ("none", "joint", "er", "at the end, on", "macro F1"))
    code, _, err = dream("lab", "text", str(tmp_path / "nowhere.csv"), *sizes)
    assert (code, "nowhere.csv cannot be read" in err) == (2, True), err


def test_domain_incremental_text_is_refused() -> None:
    """Labels of different tasks are not the same labels."""
    with pytest.raises(InputError, match="choose class or task"):
        text_stream(own_tables(load_pack(), 40, 0), "domain")


def test_words_keep_their_order_and_are_cut(tmp_path: Path) -> None:
    """A sequence holds the words' places in their order, nothing after the last, and no more than its length."""
    (tmp_path / "mine.csv").write_text(EXAMPLE)
    stream = word_stream([read_table(tmp_path / "mine.csv")], vocabulary=64, length=2)
    (context,) = stream.contexts
    assert stream.words is not None
    assert [[stream.words.get(i, "") for i in row] for row in context.train.x.tolist()] == [["good", "morning"], ["see", "you"]]


def test_a_folder_of_texts_is_a_table(tmp_path: Path) -> None:
    """A folder for each label, a file for each text."""
    for label in ("tea", "rain"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for i in range(12):
            (tmp_path / "mine" / label / f"{i}.txt").write_text(f"{label} number {i}\n")
    made = read_table(tmp_path / "mine")
    assert made.name == "mine"
    assert {y for _, y in made.train} == {"tea", "rain"}
    assert len(made.train) + len(made.test) == 24


@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_the_example_runs(network: str, tmp_path: Path, dream: Callable[..., tuple[int, str, str]]) -> None:
    """The two tables of examples/lab-text, as docs/lab.md shows them, with either network."""
    folder = Path(__file__).parents[2] / "examples" / "lab-text"
    sizes = ("--iterations", "10", "--hidden", "16", "--threads", "1", "--network", network, "--method", "er-5%")
    code, out, err = dream("lab", "text", str(folder / "helpdesk.csv"), str(folder / "canteen.csv"), *sizes, "--rows", str(tmp_path / "rows.jsonl"))
    assert code == 0, err
    assert "helpdesk" in out
    assert "er-5%" in out
