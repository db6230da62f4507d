"""The client for OpenAI-compatible servers, against a real server on this machine that behaves well and badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dream_engine.errors import InputError
from dream_engine.models.remote import Server
from dream_engine.types import Message, Missing


class Handler(BaseHTTPRequestHandler):
    """Does what the last user turn says."""

    seen: list[dict[str, object]]

    def do_GET(self) -> None:
        self._send(200, b'{"data": [{"id": "m"}]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        what = body["messages"][-1]["content"]
        type(self).seen.append(body | {"key": self.headers.get("Authorization")})
        times = sum(b["messages"] == body["messages"] for b in type(self).seen)  # type: ignore[comparison-overlap]
        if what == "slow":
            time.sleep(1.5)
        good = json.dumps({"choices": [{"message": {"content": f"you said {what}"}}]}).encode()
        made = {
            "html": (200, b"<html>hello</html>"),
            "huge": (200, b"x" * 10_000_000),
            "no": (400, b"{}"),
            "null": (200, b'{"choices": [{"message": {"content": null}}]}'),
            "shaky": (200, good) if times > 1 else (503, b""),
        }
        self._send(*made.get(what, (200, good)))

    def _send(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the client went away, as it should from ten megabytes

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("dream_engine.models.remote.PAUSE_SECONDS", 0.0)
    Handler.seen = []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield Server(f"http://127.0.0.1:{httpd.server_address[1]}/v1", "m", timeout_seconds=1.0, tries=2)
    httpd.shutdown()
    httpd.server_close()


def said(server: Server, *texts: str) -> list[str | Missing]:
    return server.answer([[Message("user", t)] for t in texts], 8)


def test_answers_come_in_order_with_what_was_asked(server: Server) -> None:
    """Four at a time, in order; model, limit and temperature are sent."""
    assert said(server, *"abcdef") == [f"you said {c}" for c in "abcdef"]
    assert (Handler.seen[0]["model"], Handler.seen[0]["max_tokens"], Handler.seen[0]["temperature"]) == ("m", 8, 0.0)
    assert server.models() == ["m"]


@pytest.mark.parametrize(
    ("what", "reason", "asked"),
    [("html", "no chat completion", 1), ("huge", "bytes came back", 1), ("no", "status 400", 1), ("null", "no text", 1), ("slow", "Timeout", 2)],
)
def test_what_a_server_does_wrong_is_missing_with_a_reason(server: Server, what: str, reason: str, asked: int) -> None:
    """One conversation is lost, with its reason; faults of the line are tried again, answers are not."""
    lost, kept = said(server, what, "fine")
    assert isinstance(lost, Missing)
    assert reason in lost.reason
    assert kept == "you said fine"
    assert sum(b["messages"] == [{"role": "user", "content": what}] for b in Handler.seen) == asked


def test_a_shaky_server_is_asked_again(server: Server) -> None:
    """503, then an answer."""
    assert said(server, "shaky") == ["you said shaky"]


def test_a_key_comes_from_the_named_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named and not set: said so. Set: sent as a bearer token."""
    from dataclasses import replace

    with pytest.raises(InputError, match="NO_SUCH_KEY is not set"):
        said(replace(server, api_key_env="NO_SUCH_KEY"), "a")
    monkeypatch.setenv("A_KEY", "k1")
    said(replace(server, api_key_env="A_KEY"), "a")
    assert Handler.seen[-1]["key"] == "Bearer k1"


def test_nobody_there_and_no_address() -> None:
    """A closed port is a reason for each conversation; a list of models is an error; nonsense is no address."""
    gone = Server("http://127.0.0.1:9/v1", "m", timeout_seconds=0.5, tries=1)
    (lost,) = said(gone, "a")
    assert isinstance(lost, Missing)
    with pytest.raises(InputError, match="does not answer"):
        gone.models()
    with pytest.raises(InputError, match="no address"):
        said(Server("localhost:8000/v1", "m"), "a")
