"""One frozen chat model and the LoRA adapters that sit on it.

Knows nothing about safety. It turns tokens into answers and log-probabilities (`template.py`: messages into tokens), and adapters into plain
PEFT folders. One base is shared by T, W and C: switching models is switching adapters.

Shape letters: B rows of a batch, S positions, N target positions of the whole batch, V vocabulary, K kept teacher entries.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from dream_engine.errors import InputError
from dream_engine.models import bundled
from dream_engine.models.batches import by_length, by_tokens, common_prefix, logprobs_of, pad_left, pad_right
from dream_engine.models.lines import in_lines, saves
from dream_engine.models.pretrained import not_loaded, pick_device, pick_dtype, pretrained
from dream_engine.models.template import LONGEST_ROW, ChatText, Encoded
from dream_engine.types import Message

_log = logging.getLogger(__name__)
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
LONGEST_ANSWER = 256
Report = Callable[[int, int], None]


def _no_report(done: int, total: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Weights:
    """One set of base tensors by name; `digest` is empty for the model's own."""

    tensors: Mapping[str, torch.Tensor]
    name: str
    digest: str


@dataclass(frozen=True)
class Generated:
    """An answer and whether the model ended it itself (else it was cut at the token limit)."""

    text: str
    ended: bool
    num_tokens: int


class ChatModel(ChatText):
    """A frozen causal language model with a chat template and any number of named LoRA adapters."""

    def __init__(self, model: Any, tokenizer: Any, name: str, folder: Path | None = None, max_length: int = LONGEST_ROW) -> None:
        room = getattr(model.config, "max_position_embeddings", None) or max_length
        super().__init__(tokenizer, name, _stop_ids(model, tokenizer), min(max_length, room))
        self.folder = folder
        self._model = model.eval().requires_grad_(False)
        self._weights: dict[str | None, Weights] = {}
        self._stands_on: dict[str, str] = {}
        self._mounted: str | None = None
        self.report: Report = _no_report
        self.tokens_read = 0
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._stop_ids[0]

    # ---- adapters -------------------------------------------------------------------------------------------------

    def add_adapter(self, name: str, r: int, alpha: int, layers_from: float = 0.0, seed: int = 0) -> None:
        """Adds a fresh adapter on every linear map, the lowest `layers_from` share of the layers left out.

        It changes nothing yet (B = 0); A is drawn from `seed`. Layers below the first adapter need no backward pass.
        """
        leaves = sorted(_linear_leaves(self._model))
        depth = self._model.config.num_hidden_layers
        upper = list(range(int(depth * layers_from), depth)) if layers_from else None
        config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules=leaves, layers_to_transform=upper, task_type="CAUSAL_LM")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._add(name, config)

    def copy_adapter(self, source: str, target: str) -> None:
        """Makes `target` an independent copy of `source`."""
        self.drop_adapter(target)
        self._add(target, self._model.peft_config[source])
        if source in self._stands_on:
            self._stands_on[target] = self._stands_on[source]
        set_peft_model_state_dict(self._model, self.adapter_state(source), adapter_name=target)

    @torch.no_grad()
    def blend_adapters(self, start: str, end: str, share: float, target: str) -> None:
        """Makes `target` the point at `share` (0 is `start`, 1 is `end`) of the line between two adapters of one shape."""
        self.copy_adapter(end, target)
        first, last = self.adapter_parameters(start), self.adapter_parameters(end)
        for parameter, a, b in zip(self.adapter_parameters(target), first, last, strict=True):
            parameter.copy_(a.float().lerp(b.float(), share))

    def load_adapter(self, name: str, folder: Path) -> None:
        """Loads a PEFT folder (safetensors only).

        Raises:
            InputError: a file is missing, or the adapter does not fit this model.
        """
        if not (folder / ADAPTER_CONFIG).is_file() or not (folder / ADAPTER_FILE).is_file():
            raise InputError(f"{folder} is not a PEFT adapter folder: it needs {ADAPTER_CONFIG} and {ADAPTER_FILE}")
        self.drop_adapter(name)
        config = _lora_config(folder)
        try:
            self._add(name, config)
            outcome = set_peft_model_state_dict(self._model, load_file(folder / ADAPTER_FILE), adapter_name=name)
        except (RuntimeError, ValueError, SafetensorError) as error:
            raise InputError(f"adapter {folder} is damaged or does not fit model {self.name!r}: {error}") from error
        absent = [key for key in outcome.missing_keys if "lora_" in key and f".{name}." in key]
        if outcome.unexpected_keys or absent:
            strange = f"unexpected {outcome.unexpected_keys[0]}" if outcome.unexpected_keys else f"{absent[0]} is missing"
            raise InputError(f"adapter {folder} does not fit model {self.name!r}: {strange}")

    def load_weights(self, name: str, folder: Path, r: int, alpha: int, layers_from: float = 0.0, seed: int = 0) -> None:
        """Makes `name` a fresh adapter over the weights of a second model folder: the same architecture, fine-tuned whole.

        Copies of `name` stand on the same weights; both sets stay in memory, and switching between them moves no bytes.

        Raises:
            InputError: the folder cannot be loaded, or its tensors are not those of this model.
        """
        tensors = _tensors_of(pretrained(str(folder), self.dtype, str(self.device)))
        own = {key: parameter.data for key, parameter in self._base_parameters()}
        odd = next((key for key in own.keys() | tensors.keys() if key not in own or key not in tensors or own[key].shape != tensors[key].shape), None)
        if odd:
            raise InputError(f"{folder} is not a fine-tune of {self.name!r}: tensor {odd!r} is missing or has another shape")
        self.add_adapter(name, r, alpha, layers_from, seed)
        self._weights.setdefault(None, Weights(own, self.name, ""))
        self._weights[name] = Weights(tensors, str(folder), _folder_digest(folder))
        self._stands_on[name] = name

    def stands_on(self, adapter: str) -> tuple[str, str]:
        """(name, digest) of the base weights under an adapter: the model's own, or those it was loaded over."""
        weights = self._weights.get(self._stands_on.get(adapter))
        return (weights.name, weights.digest) if weights and weights.digest else (self.name, self.base_digest)

    def _mount(self, which: str | None) -> None:
        if which != self._mounted:
            tensors = self._weights[which].tensors
            for key, parameter in self._base_parameters():
                parameter.data = tensors[key]
            self._mounted = which

    def _base_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The frozen base's tensors under the names they have without adapters."""
        named = ((key.removeprefix("base_model.model.").replace(".base_layer.", "."), p) for key, p in self._model.named_parameters())
        return [(key, p) for key, p in named if "lora_" not in key]

    def save_adapter(self, name: str, folder: Path) -> None:
        """Writes a plain PEFT folder; the same weights give the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.detach().cpu().contiguous() for key, value in sorted(self.adapter_state(name).items())}
        save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
        config = self._model.peft_config[name].to_dict()
        plain = {key: value for key, value in config.items() if _is_plain(value)}
        plain["target_modules"] = sorted(config["target_modules"]) if not isinstance(config["target_modules"], str) else config["target_modules"]
        plain |= {"peft_type": "LORA", "base_model_name_or_path": self.stands_on(name)[0], "inference_mode": True}
        (folder / ADAPTER_CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")

    def save_merged(self, name: str, folder: Path) -> None:
        """Writes base and adapter as one whole model folder with its tokenizer (safetensors). The model cannot be used afterwards."""
        self._mount(self._stands_on.get(name))
        self._model.set_adapter(name)
        self._model.merge_and_unload(adapter_names=[name]).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def adapter_state(self, name: str) -> dict[str, torch.Tensor]:
        """The adapter's weights under PEFT's own key names."""
        state: dict[str, torch.Tensor] = get_peft_model_state_dict(self._model, adapter_name=name)
        return state

    def has_adapter(self, name: str) -> bool:
        return isinstance(self._model, PeftModel) and name in self._model.peft_config

    def adapter_norms(self, name: str) -> list[float]:
        """Σ over a layer's maps of ‖B·A‖·scale (Frobenius), one number an adapted layer, lowest first; how far the adapter moved it.

        The product is never formed: ‖BA‖² = ⟨BᵀB, AAᵀ⟩.
        """
        norms: dict[int, float] = {}
        for key, module in self._model.named_modules():
            layer = next((int(part) for part in key.split(".") if part.isdigit()), None)
            if layer is not None and name in getattr(module, "lora_A", ()):
                a, b = (part[name].weight.detach().float() for part in (module.lora_A, module.lora_B))
                square = ((b.T @ b) * (a @ a.T)).sum().clamp_min(0)
                norms[layer] = norms.get(layer, 0.0) + float(module.scaling[name] * square.sqrt())
        return [norms[layer] for layer in sorted(norms)]

    def adapter_parameters(self, name: str) -> list[torch.nn.Parameter]:
        """The trainable tensors of one adapter, in a fixed order."""
        return [p for key, p in self._model.named_parameters() if f".{name}." in key]

    def drop_adapter(self, name: str) -> None:
        if isinstance(self._model, PeftModel) and name in self._model.peft_config:
            self._model.delete_adapter(name)
        self._stands_on.pop(name, None)

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        """Answers and scores come from this adapter inside the block; None is the bare base."""
        if not isinstance(self._model, PeftModel):
            yield
        elif adapter is None:
            self._mount(None)
            with self._model.disable_adapter():
                yield
        else:
            self._mount(self._stands_on.get(adapter))
            self._model.set_adapter(adapter)
            yield

    @contextmanager
    def lent(self, adapter: str) -> Iterator[None]:
        """Inside the block another trainer may train this adapter, in fp32; afterwards it computes in the model's own precision again."""
        with self.using(adapter):
            lent = self.adapter_parameters(adapter)
            for parameter in lent:
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
            try:
                yield
            finally:
                self._model.eval()
                for parameter in lent:
                    parameter.requires_grad_(False)
                    parameter.grad = None
                    parameter.data = parameter.data.to(self.device, self.dtype)

    @contextmanager
    def checkpointing(self, wanted: bool) -> Iterator[None]:
        """Inside the block layers keep only their inputs and are computed again on the way back: less memory, about a third more time.

        Only the layers are switched to training, not what is inside them, so that no dropout wakes up.
        """
        layers = [m for m in self._model.modules() if isinstance(m, GradientCheckpointingLayer)] if wanted else []
        if layers:
            self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            self._model.eval()
            if layers:
                self._model.gradient_checkpointing_disable()

    @property
    def trainable(self) -> Any:
        """The PEFT model itself, for a trainer that this model is lent to."""
        return self._model

    @contextmanager
    def reporting(self, report: Report) -> Iterator[None]:
        """Batched work inside the block tells `report` how many rows are done, of how many."""
        self.report = report
        try:
            yield
        finally:
            self.report = _no_report

    def _add(self, name: str, config: LoraConfig) -> None:
        if isinstance(self._model, PeftModel):
            self._model.add_adapter(name, config)
        else:
            self._model = get_peft_model(self._model, config, adapter_name=name, autocast_adapter_dtype=False)
        for parameter in self.adapter_parameters(name):
            parameter.data = parameter.data.to(self.dtype)

    # ---- answers --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 96,
    ) -> list[Generated]:
        """One answer a prompt, greedy at temperature 0. Prompts are batched by length; the order of results is the order given."""
        return self.continue_ids([self.encode_prompt(p) for p in prompts], max_new_tokens, temperature, seed, batch_size)

    @torch.no_grad()
    def continue_ids(
        self, rows: Sequence[Sequence[int]], max_new_tokens: int, temperature: float = 0.0, seed: int = 0, batch_size: int = 96
    ) -> list[Generated]:
        """Continues each row of token ids."""
        out: list[Generated | None] = [None] * len(rows)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for batch in by_length([len(row) for row in rows], batch_size):
                for index, answer in zip(batch, self._continue([rows[i] for i in batch], max_new_tokens, temperature), strict=True):
                    out[index] = answer
                self.report(len(rows) - out.count(None), len(rows))
        return [answer for answer in out if answer is not None]

    def _continue(self, rows: Sequence[Sequence[int]], max_new_tokens: int, temperature: float) -> list[Generated]:
        """Our own decoding loop: only the last position meets the vocabulary, and rows that have ended leave the batch.

        (transformers hands its head a strided (B, 1, D) slice; on a CPU that copies the whole head once per row.)
        """
        state = self._prefill(rows)
        live, out = list(range(len(rows))), [list[int]() for _ in rows]
        for _ in range(max_new_tokens):
            tokens = _choose(self._head(state.last), temperature)  # (B,)
            for row, token in zip(live, tokens.tolist(), strict=True):
                out[row].append(token)
            going = [i for i, row in enumerate(live) if out[row][-1] not in self._stop_ids]
            if not going:
                break
            if len(going) <= 0.75 * len(live):
                live, tokens = [live[i] for i in going], tokens[torch.tensor(going, device=self.device)]
                state.keep(going)
            state.last = self._advance(state, tokens[:, None])[:, -1].contiguous()
        return [self._as_generated(row) for row in out]

    def _prefill(self, rows: Sequence[Sequence[int]]) -> _Decoding:
        """Reads the prompts, padded on the left; what they all begin with (a system turn) is read once for all."""
        shared = common_prefix(rows) if self._sees(max(map(len, rows)) + LONGEST_ANSWER) else 0
        cache = self._read_once(rows[0][:shared], len(rows)) if shared else DynamicCache()
        ids, mask = (t.to(self.device) for t in pad_left([row[shared:] for row in rows], self._pad_id))
        state = _Decoding(cache, mask.new_ones(len(rows), shared), torch.full((len(rows), 1), shared - 1, device=self.device))
        state.last = self._advance(state, ids, mask)[:, -1].contiguous()
        return state

    def _sees(self, length: int) -> bool:
        """Whether a sliding window covers that many tokens: padding between a shared beginning and the rest would count against it."""
        window = getattr(self._model.config, "sliding_window", None)
        return not window or length <= window

    def _read_once(self, ids: Sequence[int], copies: int) -> DynamicCache:
        """The cache of a beginning that `copies` rows share."""
        cache = DynamicCache()
        self._forward(torch.tensor([list(ids)], device=self.device), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(copies)
        return cache

    def _advance(self, state: _Decoding, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Feeds (B, S) more tokens; returns their hidden states (B, S, D) and moves the state on."""
        mask = torch.ones_like(ids) if mask is None else mask
        positions = (state.position + mask.cumsum(-1)).clamp_min(0)
        state.mask = torch.cat([state.mask, mask], -1)
        state.position = positions[:, -1:]
        return self._forward(ids, attention_mask=state.mask, position_ids=positions, past_key_values=state.cache, use_cache=True)

    def _as_generated(self, ids: list[int]) -> Generated:
        stop = next((i for i, token in enumerate(ids) if token in self._stop_ids), None)
        kept = ids if stop is None else ids[:stop]
        return Generated(self.tokenizer.decode(kept, skip_special_tokens=True).strip(), stop is not None, len(kept))

    # ---- numbers --------------------------------------------------------------------------------------------------

    def target_logits(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """Logits (N, V), only at the positions that predict an answer token, row after row.

        The vocabulary is large and most positions are prompt, so full logits would dominate time and memory.
        """
        lengths, common, training = [len(row.ids) for row in rows], self._shared(rows), torch.is_grad_enabled()
        side_by_side = training and saves(lengths, common) and self._sees(max(lengths)) and self._reads_lines
        shared = 0 if training and not side_by_side else common
        states = (self._read_lines if side_by_side else self._read_padded)(rows, shared)
        picked = torch.cat([s[row.num_prompt - 1 - shared : -1] for s, row in zip(states, rows, strict=True)])  # (N, D)
        return self._head(picked)

    def _shared(self, rows: Sequence[Encoded]) -> int:
        return min(common_prefix([row.ids for row in rows]), min(row.num_prompt for row in rows) - 1)

    def _read_lines(self, rows: Sequence[Encoded], shared: int) -> list[torch.Tensor]:
        """Final hidden states (S − shared, D) of each row behind the beginning that all share."""
        lines = in_lines([row.ids for row in rows], shared, self._pad_id)
        mask = torch.zeros(lines.sees.shape, dtype=self.dtype).masked_fill(~lines.sees, torch.finfo(self.dtype).min)
        ids, positions, mask = (t.to(self.device) for t in (lines.ids, lines.positions, mask[:, None]))
        hidden = self._forward(ids, attention_mask=mask, position_ids=positions, use_cache=False)
        return [hidden[line, start : start + len(row.ids) - shared] for (line, start), row in zip(lines.places, rows, strict=True)]

    def _read_padded(self, rows: Sequence[Encoded], shared: int) -> list[torch.Tensor]:
        """The same, each row padded to the longest; the beginning that all share is read once, into a cache that no gradient goes through."""
        ids, mask = (t.to(self.device) for t in pad_right([row.ids[shared:] for row in rows], self._pad_id))
        past: dict[str, Any] = {"use_cache": False}
        if shared:
            past = {"use_cache": True, "past_key_values": self._read_once(rows[0].ids[:shared], len(rows))}
            mask = torch.cat([mask.new_ones(len(rows), shared), mask], -1)
        hidden = self._forward(ids, attention_mask=mask, **past)
        return [states[: len(row.ids) - shared] for states, row in zip(hidden, rows, strict=True)]

    @cached_property
    def _reads_lines(self) -> bool:
        """Whether rows in a line are read as they are alone: the architecture heeds a mask and positions that it is given. Tried out once."""
        rows = [self.encode([Message("user", said)], "Yes, that is so.") for said in ("Is it late?", "And what is a lamp, if I may ask?")]
        shared = self._shared(rows)
        try:
            with torch.no_grad():
                pairs = zip(self._read_lines(rows, shared), self._read_padded(rows, shared), strict=True)
                return all(_alike(line, alone) for line, alone in pairs)
        except (TypeError, ValueError, RuntimeError) as error:
            _log.info("rows of %s are padded: %s", self.name, error)
            return False

    @torch.no_grad()
    def answer_logprobs(self, rows: Sequence[Encoded], tokens_per_batch: int = 1024) -> list[list[float]]:
        """log p of each answer token of each row, nats."""
        out: list[list[float]] = [[] for _ in rows]
        for batch in by_tokens([len(row.ids) for row in rows], tokens_per_batch):
            chosen = [rows[i] for i in batch]
            wanted = torch.tensor([token for row in chosen for token in row.ids[row.num_prompt :]], device=self.device)
            flat = logprobs_of(wanted, self.target_logits(chosen)).tolist()
            for index, row in zip(batch, chosen, strict=True):
                count = len(row.ids) - row.num_prompt
                out[index], flat = flat[:count], flat[count:]
            self.report(sum(map(bool, out)), len(rows))
        return out

    @torch.no_grad()
    def hidden_states(self, rows: Sequence[Sequence[int]], layers: Sequence[int], tokens_per_batch: int = 2048) -> list[np.ndarray]:
        """What each row of token ids is after each of `layers`: (L, S, D) in float32."""
        out: list[np.ndarray] = [np.empty(0)] * len(rows)
        for batch in by_tokens([len(row) for row in rows], tokens_per_batch):
            ids, mask = (t.to(self.device) for t in pad_right([rows[i] for i in batch], self._pad_id))
            after = self._pass(ids, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
            states = torch.stack([after[layer] for layer in layers], 1).float().cpu().numpy()  # (B, L, S, D)
            for index, state in zip(batch, states, strict=True):
                out[index] = state[:, : len(rows[index])]
        return out

    @torch.no_grad()
    def prompt_states(self, prompts: Sequence[Sequence[Message]], batch_size: int = 48) -> torch.Tensor:
        """What each prompt's last token is after every layer: (N, L, D), float32."""
        rows = [self.encode_prompt(p) for p in prompts]
        out: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for batch in by_length([len(row) for row in rows], batch_size):
            ids, mask = (t.to(self.device) for t in pad_left([rows[i] for i in batch], self._pad_id))
            places = (mask.cumsum(-1) - 1).clamp_min(0)
            after = self._pass(ids, attention_mask=mask, position_ids=places, use_cache=False, output_hidden_states=True).hidden_states[1:]
            for index, states in zip(batch, torch.stack([layer[:, -1] for layer in after], 1).float().cpu(), strict=True):
                out[index] = states
        return torch.stack(out)

    @torch.no_grad()
    def opener_logprobs(self, prompts: Sequence[Sequence[Message]], openers: Sequence[Sequence[int]], batch_size: int = 96) -> torch.Tensor:
        """Mean log p per token of each opener as the start of the answer: (prompts, openers), nats.

        The prompt is read once; openers are tried on top of it and taken back, and what several begin with is read once for them.
        """
        rows = [self.encode_prompt(p) for p in prompts]
        lengths = torch.tensor([len(opener) for opener in openers])
        out, done = torch.zeros(len(rows), len(openers)), 0
        for batch in by_length([len(row) for row in rows], batch_size):
            sums = torch.zeros(len(batch), len(openers), device=self.device)
            self._try(self._prefill([rows[i] for i in batch]), dict(enumerate(openers)), sums)
            out[batch] = sums.cpu() / lengths
            done += len(batch)
            self.report(done, len(rows))
        return out

    def _try(self, state: _Decoding, openers: Mapping[int, Sequence[int]], sums: torch.Tensor) -> None:
        """Adds log p of each opener's tokens to its column of `sums` (B, columns), branch by branch; leaves the cache as it was."""
        columns, tokens = list(openers), [opener[0] for opener in openers.values()]
        logp = torch.log_softmax(self._head(state.last).float(), -1)  # (B, V)
        sums[:, columns] += logp[:, tokens]
        for token in dict.fromkeys(tokens):
            longer = {column: opener[1:] for column, opener in openers.items() if opener[0] == token and len(opener) > 1}
            if longer:
                trial = state.fork()
                fed = torch.full((len(sums), 1), token, device=self.device)
                trial.last = self._advance(trial, fed)[:, -1].contiguous()
                self._try(trial, longer, sums)
                state.cache.crop(-1)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self._model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self._model.parameters()).dtype
        return dtype

    @property
    def base_digest(self) -> str:
        """SHA-256 over the base's weight file(s), or over its tensors when it has no folder."""
        return _folder_digest(self.folder) if self.folder else _tensor_digest(self._model)

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (N, V) of final hidden states (N, D), soft-capped where the architecture does so (Gemma 2)."""
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden)
        cap = getattr(self._model.config, "final_logit_softcapping", None)
        return logits if not cap else torch.tanh(logits / cap) * cap

    def _forward(self, ids: torch.Tensor, **more: Any) -> torch.Tensor:
        """Final hidden states (B, S, D)."""
        hidden: torch.Tensor = self._pass(ids, **more)[0]
        return hidden

    def _pass(self, ids: torch.Tensor, **more: Any) -> Any:
        """Every pass through the layers goes through here, and counts its tokens, padding included."""
        self.tokens_read += ids.numel()
        return self._decoder()(input_ids=ids, **more)

    def _decoder(self) -> Any:
        inner = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
        return getattr(inner, inner.base_model_prefix)


@dataclass
class _Decoding:
    """A batch in the middle of being read: its cache, its mask (B, S), the last position and last hidden state of each row."""

    cache: DynamicCache
    mask: torch.Tensor
    position: torch.Tensor
    last: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def keep(self, rows: list[int]) -> None:
        """Drops all but these rows."""
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask, self.position, self.last = self.mask[index], self.position[index], self.last[index]

    def fork(self) -> _Decoding:
        """A view that may advance on the same cache; crop the cache afterwards."""
        return _Decoding(self.cache, self.mask, self.position, self.last)


def load_model(source: str, device: str = "auto", dtype: str = "auto", quantization: str = "none", max_length: int = LONGEST_ROW) -> ChatModel:
    """Loads `smollm2-135m` (the demo model), `sandbox` (the ~1M test model), a local folder or a hub id.

    Raises:
        InputError: nothing loadable is there, or it has no chat template.
    """
    if source == "sandbox":
        from dream_engine.models.sandbox import sandbox_folder

        folder: Path | None = sandbox_folder()
    else:
        folder = bundled.bundled_folder() if source == bundled.NAME else Path(source) if Path(source).is_dir() else None
    wanted = pick_device(device)
    place = str(folder or source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise not_loaded(source, error) from error
    return ChatModel(pretrained(place, pick_dtype(dtype, source, wanted), wanted, quantization), tokenizer, source, folder, max_length)


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two readings of the same tokens differ by rounding alone."""
    away = torch.linalg.vector_norm((one - other).float()) / torch.linalg.vector_norm(other.float())
    return bool(away < (1e-3 if one.dtype == torch.float32 else 0.05))


def _choose(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Greedy at temperature 0, else sampling among the 50 likeliest tokens."""
    if not temperature:
        return logits.max(-1).indices  # the first of several, as argmax, in a quarter of its time on a CPU
    top, order = logits.topk(min(50, logits.shape[-1]), -1)  # (B, 50)
    return order.gather(-1, torch.multinomial(torch.softmax(top.float() / temperature, -1), 1))[:, 0]


def _linear_leaves(model: Any) -> set[str]:
    """Last names of the linear maps inside the layers; the output head stays as it is."""
    head = model.get_output_embeddings()
    kinds = {"Linear", "Conv1D", "Linear4bit"}
    return {key.rsplit(".", 1)[-1] for key, m in model.named_modules() if type(m).__name__ in kinds and m is not head}


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    ids = [tokenizer.eos_token_id, *listed]
    found = list(dict.fromkeys(i for i in ids if i is not None))
    if not found:
        raise InputError("the tokenizer names no end-of-sequence token; set eos_token in tokenizer_config.json")
    return found


def _lora_config(folder: Path) -> LoraConfig:
    """The adapter's own configuration, if it is a LoRA that changes nothing but linear maps.

    Raises:
        InputError: another kind of adapter, or one that also trains whole modules.
    """
    try:
        raw = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / ADAPTER_CONFIG} is not JSON: {error}") from error
    kind = raw.get("peft_type") if isinstance(raw, dict) else None
    if kind != "LORA":
        raise InputError(f"adapter {folder} has peft_type {kind!r}; only LORA is read here")
    if raw.get("modules_to_save") or raw.get("bias", "none") != "none":
        raise InputError(f"adapter {folder} also trains whole modules or biases; merge it into its base and give that as wake.model")
    try:
        config = LoraConfig.from_pretrained(str(folder))
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder / ADAPTER_CONFIG} cannot be read: {error}") from error
    config.inference_mode = False
    return config


def _tensors_of(model: Any) -> dict[str, torch.Tensor]:
    return {key: parameter.data for key, parameter in model.named_parameters()}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _folder_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _tensor_digest(model: Any) -> str:
    total = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if "lora_" not in key:
            total.update(key.encode() + value.detach().cpu().float().numpy().tobytes())
    return total.hexdigest()
