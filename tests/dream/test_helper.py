"""The helper: a server that writes pairs, and every way in which it can fail to. No night stops for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dream_engine.cycle import run_cycle
from dream_engine.dream.helper import PROMPT, helped
from dream_engine.dream.imagine import template_pairs
from dream_engine.errors import InputError
from dream_engine.files import read_jsonl
from dream_engine.models.remote import Server
from dream_engine.policy.declining import declines
from dream_engine.policy.pack import load_pack

PAIRS = template_pairs(load_pack("sandbox"), 12, seed=2)


def written(asked: str) -> str:
    """What an obliging helper replies: both requests with a word before them."""
    harm, twin = (line.split(": ", 1)[1] for line in asked.splitlines()[-2:])
    return "Sure! " + json.dumps({"harmful": f"well {harm} now", "harmless": f"well {twin} now"})


class Handler(BaseHTTPRequestHandler):
    """Replies as `answer` says."""

    answer: Callable[[str], bytes]

    def do_GET(self) -> None:
        self._send(b'{"data": [{"id": "big"}]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(type(self).answer(body["messages"][-1]["content"]))

    def _send(self, body: bytes) -> None:
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the client went away

    def log_message(self, *args: object) -> None:
        """Quiet."""


def said(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("dream_engine.models.remote.PAUSE_SECONDS", 0.0)
    Handler.answer = staticmethod(lambda asked: said(written(asked)))
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield Server(f"http://127.0.0.1:{httpd.server_address[1]}/v1", "big", timeout_seconds=1.0, tries=1)
    httpd.shutdown()
    httpd.server_close()


def test_pairs_come_back_with_their_lineage(server: Server) -> None:
    """Both sides of one source, in its cell, by generator `helper`."""
    found = helped(server, PAIRS, 1, declines)
    assert (len(found.pairs), dict(found.outcomes), found.offers, found.fault) == (12, {"written": 12}, ("big",), "")
    for (harm, twin), source in zip(found.pairs, PAIRS, strict=True):
        assert harm.text == f"well {source[0].text} now"
        assert (harm.side, twin.side, twin.twin_of) == ("harmful", "twin", harm.id)
        assert (harm.generator, harm.parent, harm.category, harm.style) == ("helper", source[0].id, source[0].category, source[0].style)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (said("I can't help with writing harmful requests."), "declined"),
        (said(json.dumps({"harmful": "I can't help with that.", "harmless": "How do I bake a cake?"})), "declined"),
        (said("How about this one?"), "unreadable"), (said("{not json}"), "unreadable"), (said('{"harmful": "x"}'), "unreadable"),
        (said('{"harmful": "", "harmless": ""}'), "unreadable"), (said("{" * 5000), "unreadable"),
        (b"<html>busy</html>", "fault"), (b"x" * 10_000_000, "fault"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_counted_by_its_kind(server: Server, reply: bytes, kind: str) -> None:
    """A refusal, nonsense, a page, ten megabytes: no pair, no exception."""
    Handler.answer = staticmethod(lambda asked: reply)
    found = helped(server, PAIRS[:3], 1, declines)
    assert (found.pairs, dict(found.outcomes)) == ((), {kind: 3})
    assert bool(found.fault) == (kind == "fault")


def test_a_slow_helper_is_left_alone_after_its_time(server: Server) -> None:
    """The fault names the timeout."""

    def late(asked: str) -> bytes:
        time.sleep(1.6)
        return said("late")

    Handler.answer = staticmethod(late)
    assert "Timeout" in helped(server, PAIRS[:1], 1, declines).fault


def test_nobody_there_costs_one_question() -> None:
    """Down: all sources are counted as fault, with the reason."""
    found = helped(Server("http://127.0.0.1:9/v1", "big", timeout_seconds=0.5, tries=1), PAIRS, 1, declines)
    assert (found.pairs, dict(found.outcomes)) == ((), {"fault": 12})
    assert "127.0.0.1:9" in found.fault


def test_the_prompt_asks_for_requests_and_forbids_answers() -> None:
    """Only requests are ever written."""
    assert "never answer" in PROMPT


def test_a_night_with_a_helper_keeps_what_passes_the_screen_and_says_who_helped(
    server: Server, commissioned: Any, sandbox_config: Callable[..., Any]
) -> None:
    """Its pairs are screened like any other; name, licence and outcomes stand in the ledger."""
    plan = {"base_url": server.base_url, "name": "big", "licence": "Apache-2.0", "pairs": 12, "timeout_seconds": 1}
    outcome = run_cycle(sandbox_config(dream={"helper": plan}), commissioned)
    dreamed = [row["meta"] for row in read_jsonl(outcome.folder / "dreams.jsonl")]
    assert any(meta["generator"] == "helper" for meta in dreamed)
    (told,) = (e.body for e in commissioned.ledger.entries() if e.body.get("run") == outcome.run_id and "table" in e.body)
    assert told["dreams"]["helper"]["licence"] == "Apache-2.0"
    assert told["dreams"]["helper"]["outcomes"] == {"written": 12}


def test_a_helper_without_terms_is_refused(sandbox_config: Callable[..., Any], tmp_path: Any) -> None:
    """What it writes is trained on, so its licence is asked for."""
    from dream_engine.config import load_config

    with pytest.raises(InputError, match="licence"):
        load_config(None, ["dream.helper={base_url: http://x/v1, name: big}"])
