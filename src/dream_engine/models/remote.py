"""Any OpenAI-compatible server (vLLM, llama.cpp, Ollama, …): one small client, shared by judge and helper.

What a server does wrong becomes a `Missing` with its reason for that one conversation; nothing it sends can stop a run or fill the memory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from dream_engine.errors import InputError
from dream_engine.types import Message, Missing

MAX_BYTES = 1_000_000
PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Server:
    """Where to ask, and how: `base_url` ends in `/v1` for most servers; `api_key_env` names the variable that holds the key, if one is needed."""

    base_url: str
    model: str
    api_key_env: str = ""
    timeout_seconds: float = 60.0
    concurrency: int = 4
    tries: int = 3

    def answer(self, conversations: Sequence[Sequence[Message]], max_tokens: int, temperature: float = 0.0, seed: int = 0) -> list[str | Missing]:
        """One answer a conversation, in order.

        Raises:
            InputError: httpx is not installed, the address is none, or the key's variable is not set.
        """
        with self._client() as client, ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(lambda turns: self._asked(client, turns, max_tokens, temperature, seed), conversations))

    def models(self) -> list[str]:
        """The names that the server offers.

        Raises:
            InputError: it does not answer as such a server.
        """
        import httpx

        try:
            with self._client() as client:
                return [str(m["id"]) for m in client.get("models").raise_for_status().json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.base_url} does not answer as an OpenAI-compatible server: {type(error).__name__} {error}") from error

    def _client(self) -> Any:
        try:
            import httpx
        except ImportError as error:
            raise InputError("a model behind a server needs httpx; run: pip install 'dream-engine[serve]'") from error
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        if self.api_key_env and not key:
            raise InputError(f"api_key_env: the variable {self.api_key_env} is not set")
        if not self.base_url.startswith(("http://", "https://")):
            raise InputError(f"base_url {self.base_url!r} is no address; it begins with http:// or https://")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            return httpx.Client(base_url=self.base_url.rstrip("/") + "/", timeout=self.timeout_seconds, headers=headers)
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(f"base_url {self.base_url!r} is no address: {error}") from error

    def _asked(self, client: Any, turns: Sequence[Message], max_tokens: int, temperature: float, seed: int) -> str | Missing:
        """Asks again after a fault of the line or of the server, never after an answer."""
        body = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in turns],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        reason = ""
        for attempt in range(self.tries):
            time.sleep(PAUSE_SECONDS * attempt)
            reply = _sent(client, body)
            if isinstance(reply, str):
                return reply
            reason, again = reply
            if not again:
                break
        return Missing(f"{self.model} at {self.base_url}: {reason}")


def _sent(client: Any, body: dict[str, Any]) -> str | tuple[str, bool]:
    """The answer, or what went wrong and whether it is worth trying again."""
    import httpx

    try:
        with client.stream("POST", "chat/completions", json=body) as reply:
            if reply.status_code != 200:
                return f"status {reply.status_code}", reply.status_code >= 500 or reply.status_code == 429
            raw = b""
            for part in reply.iter_bytes():
                raw += part
                if len(raw) > MAX_BYTES:
                    return f"more than {MAX_BYTES} bytes came back", False
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__} {error}".strip(), True
    try:
        content = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return "what came back is no chat completion", False
    return content if isinstance(content, str) else ("the answer is no text", False)
