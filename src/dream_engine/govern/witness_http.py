"""A witness over HTTP, and the engine's side of it. The witness keeps what it has seen; the engine brings checkpoint and proof.

GET /size?origin=O → {"size": N, "key": VERIFIER KEY}; POST /cosign {"checkpoint": TEXT, "proof": [HEX …]} → {"signature": LINE}.
409 when the log does not extend what was seen, 400 for anything malformed.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dream_engine.errors import DreamError, InputError, IntegrityError
from dream_engine.govern.ledger import Ledger
from dream_engine.govern.notes import MAX_NOTE, PublicKey, SignedCheckpoint, signed_by
from dream_engine.govern.witness import Witness

TIMEOUT_SECONDS = 30.0
MAX_PROOF = 128


class Asked(BaseModel):
    """What an engine sends to have a checkpoint cosigned."""

    model_config = ConfigDict(extra="forbid")
    checkpoint: str = Field(max_length=MAX_NOTE)
    proof: list[str] = Field(max_length=MAX_PROOF)


def app(watcher: Witness) -> Any:
    """The web application of one witness."""
    from fastapi import FastAPI, HTTPException
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    made = FastAPI(title="Dream Engine witness", docs_url=None, redoc_url=None)

    @made.exception_handler(RequestValidationError)
    async def malformed(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "malformed: wanted 'checkpoint' (text) and 'proof' (list of hex)"}, 400)

    @made.get("/size")
    def size(origin: str) -> dict[str, Any]:
        return {"size": watcher.seen(origin), "key": str(watcher.public_key)}

    @made.post("/cosign")
    def cosign(asked: Asked) -> dict[str, str]:
        try:
            note, proof = SignedCheckpoint.parse(asked.checkpoint), [bytes.fromhex(step) for step in asked.proof]
        except (DreamError, ValueError) as error:
            raise HTTPException(400, str(error)) from error
        try:
            return {"signature": watcher.cosign(note, proof).line}
        except IntegrityError as error:
            raise HTTPException(409, str(error)) from error

    return made


def serve(watcher: Witness, host: str, port: int) -> None:
    """Serves until it is stopped.

    Raises:
        InputError: the extra 'serve' is not installed.
    """
    try:
        import uvicorn

        made = app(watcher)
    except ImportError as error:
        raise InputError("a served witness needs: pip install 'dream-engine[serve]'") from error
    uvicorn.run(made, host=host, port=port, log_level="warning")


def ask(url: str, ledger: Ledger) -> SignedCheckpoint:
    """Sends the newest checkpoint to a witness and stores its cosignature.

    Raises:
        IntegrityError: the witness refuses: this log does not extend what it saw.
        InputError: nobody answers there, or what comes back is no cosignature of this checkpoint.
    """
    import httpx

    note = ledger.checkpoint()
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
            state = client.get("/size", params={"origin": note.checkpoint.origin}).raise_for_status().json()
            size, key = int(state["size"]), PublicKey.parse(str(state["key"]))
            proof = ledger.consistency(size) if 0 < size <= note.checkpoint.size else []
            reply = client.post("/cosign", json={"checkpoint": note.text, "proof": [step.hex() for step in proof]})
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise InputError(f"witness {url} does not answer as one: {error}") from error
    if reply.status_code == 409:
        raise IntegrityError(f"witness {url} refuses: {reply.json().get('detail')}")
    if reply.status_code != 200:
        raise InputError(f"witness {url} answered {reply.status_code}: {reply.text[:200]}")
    signed = SignedCheckpoint.parse(note.checkpoint.text + "\n" + str(reply.json().get("signature", "")))
    if not signed_by(signed, key):
        raise InputError(f"witness {url} sent a signature that its own key {key.name!r} did not make")
    return ledger.add_cosignature(signed.signatures[0])
