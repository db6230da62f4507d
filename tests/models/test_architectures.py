"""Anyone's architecture and chat template: tiny random models of each family go through prompts, generation, training and PEFT folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from dream_engine.dream.rehearse import RehearsalPlan, Row, batch_loss, rehearse, soften, taken_gradient, trained
from dream_engine.errors import InputError
from dream_engine.models.hf import load_model
from dream_engine.models.sandbox import sandbox_folder
from dream_engine.types import Message

SIZES: dict[str, Any] = {
    "vocab_size": 605, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 256
}  # fmt: skip
GROUPED: dict[str, Any] = SIZES | {"num_key_value_heads": 2, "head_dim": 8}
CONFIGS = {
    "llama": LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**GROUPED, tie_word_embeddings=False),
    "qwen3": Qwen3Config(**GROUPED),
    "gemma2": Gemma2Config(**GROUPED, sliding_window=8, query_pre_attn_scalar=8),
    "phi": PhiConfig(**SIZES),
    "gpt-neox": GPTNeoXConfig(**SIZES),
    "mistral": MistralConfig(**GROUPED, sliding_window=8),
    "gpt2": GPT2Config(vocab_size=605, n_embd=32, n_layer=3, n_head=4, n_positions=256),
}
PLAIN = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
TEMPLATES = {
    "with a system role": PLAIN,
    "that refuses a system role": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + PLAIN,
    "that passes over a system role": PLAIN.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"),
    "with generation marks": PLAIN.replace("{{ m['content'] }}", "{% generation %}{{ m['content'] }}{% endgeneration %}"),
}
ASKED = [[Message("user", text)] for text in ("tell me about the lamp", "what is it", "please tell me about a thing of a kind in the house")]


def folder_of(path: Path, name: str, template: str = PLAIN, **tokens: Any) -> Path:
    """A tiny random model of one family, saved with a tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(sandbox_folder())
    tokenizer.chat_template = template
    for key, value in tokens.items():
        setattr(tokenizer, key, value)
    config = CONFIGS[name]
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # random heads answer alike; a wider spread makes greedy choices that differ
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    model.save_pretrained(path / name)
    tokenizer.save_pretrained(path / name)
    return path / name


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_family_answers_trains_and_keeps_its_adapter(name: str, tmp_path: Path) -> None:
    """Batched answers equal the library's own; a fit lowers the loss through soft and hard rows; a saved adapter comes back and loads in PEFT."""
    place = folder_of(tmp_path, name)
    model = load_model(str(place), "cpu", "float32")
    theirs = AutoModelForCausalLM.from_pretrained(place, config=AutoConfig.from_pretrained(place)).eval()
    for turn, answer in zip(ASKED, model.generate(ASKED, 12), strict=True):
        ids = torch.tensor([model.encode_prompt(turn)])
        made = theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert model.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip() == answer.text
    model.add_adapter("T", 4, 8, layers_from=0.4)
    rows = [Row(model.encode(turn, "the lamp is in the house")) for turn in ASKED]
    rows += [Row(row.encoded, soft=soft) for row, soft in zip(rows, soften(model, None, [r.encoded for r in rows]), strict=True)]
    losses = rehearse(model, "T", rows[:3], RehearsalPlan(2e-2, 12, 3)).losses
    assert losses[-1] < losses[0] - 0.05
    rehearse(model, "T", rows, RehearsalPlan(1e-3, 1, 2))
    model.save_adapter("T", tmp_path / "adapter")
    model.load_adapter("C", tmp_path / "adapter")
    with model.using("T"):
        first = model.answer_logprobs([rows[0].encoded])
    with model.using("C"):
        assert model.answer_logprobs([rows[0].encoded]) == first
    with model.using(None):
        assert model.answer_logprobs([rows[0].encoded]) != first
    from peft import PeftModel

    PeftModel.from_pretrained(theirs, tmp_path / "adapter")


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_rows_in_lines_teach_what_padded_rows_teach(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same loss and gradient; only a window shorter than the rows keeps a family from reading lines."""
    model = load_model(str(folder_of(tmp_path, name)), "cpu", "float32")
    model.add_adapter("T", 4, 8)
    parameters = model.adapter_parameters("T")
    rows = [Row(model.encode(turn, "the lamp is in the house")) for turn in ASKED]
    assert model._reads_lines is (name not in ("gemma2", "mistral"))
    found = []
    for worth in (2.0, 0.0):
        monkeypatch.setattr("dream_engine.models.lines.WORTH_IT", worth)
        with model.using("T"), trained(parameters):
            batch_loss(model, rows).backward()
            found.append(taken_gradient(parameters))
    assert torch.linalg.vector_norm(found[0]) > 0
    assert torch.linalg.vector_norm(found[0] - found[1]) < 1e-4 * torch.linalg.vector_norm(found[1])


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_guidance_reaches_the_model_whatever_the_template_does_with_it(kind: str, tmp_path: Path) -> None:
    """A system turn that the template refuses or drops goes before the user's words; nothing is lost; the prompt ends where the answer begins."""
    model = load_model(str(folder_of(tmp_path, "llama", TEMPLATES[kind])), "cpu", "float32")
    text = model.tokenizer.decode(model.encode_prompt([Message("system", "keep to the house"), Message("user", "tell me about the lamp")]))
    assert text.index("keep to the house") < text.index("tell me about the lamp")
    assert text.rstrip().endswith("<|assistant|>") or "assistant" in text.rstrip()[-20:]


def test_pad_may_differ_from_eos_and_eos_may_be_a_list(tmp_path: Path) -> None:
    """Every end-of-turn token ends an answer; the first of them is the one that is taught."""
    place = folder_of(tmp_path, "llama")
    other = AutoTokenizer.from_pretrained(place).convert_tokens_to_ids("lamp")
    import json

    settings = json.loads((place / "generation_config.json").read_text())
    settings["eos_token_id"] = [7, 11, other if isinstance(other, int) else 12]
    (place / "generation_config.json").write_text(json.dumps(settings))
    model = load_model(str(place), "cpu", "float32")
    assert {7, 11} <= set(model._stop_ids)
    assert model._stop_ids[0] == model.tokenizer.eos_token_id
    assert model.encode(ASKED[0], "x").ids[-1] == model.tokenizer.eos_token_id


def test_a_model_whose_files_lack_a_tensor_is_refused(tmp_path: Path) -> None:
    """Nothing is drawn at random in its place."""
    from safetensors.torch import load_file, save_file

    place = folder_of(tmp_path, "qwen2")
    tensors = load_file(place / "model.safetensors")
    tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 1 tensors"):
        load_model(str(place))


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    """Only safetensors: a folder with a .bin alone is refused."""
    place = folder_of(tmp_path, "gpt2")
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(str(place))
