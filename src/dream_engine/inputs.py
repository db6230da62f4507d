"""Everything that a cycle reads before it begins: the model, wake rows, held-out rows, suites, general text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from dream_engine import types
from dream_engine.capture.read import read_conversations, read_texts, split
from dream_engine.capture.texts import general_texts
from dream_engine.config import Config, JudgeModel
from dream_engine.errors import InputError
from dream_engine.judge import classifier
from dream_engine.judge.judges import AnswerJudge, Ask, Classifier, Ensemble, ModelJudge, Rules
from dream_engine.judge.measure import Bench
from dream_engine.judge.probe import READING
from dream_engine.judge.reader import shipped_reader
from dream_engine.judge.suites import judged_shares, load_suite, shipped_suites, suite_digest
from dream_engine.models.bundled import is_installed
from dream_engine.models.hf import ChatModel, load_model
from dream_engine.models.remote import Server
from dream_engine.models.template import LONGEST_ROW
from dream_engine.policy.pack import load_pack
from dream_engine.types import Conversation, Message, derive_seed

VERDICT_TOKENS = 4


@dataclass(frozen=True)
class Data:
    """Everything that a cycle reads: wake rows and the bench that every model is measured on."""

    wake: list[Conversation]
    bench: Bench
    max_length: int = LONGEST_ROW

    @classmethod
    def read(cls, config: Config) -> Data:
        """Reads wake data, held-out rows, suites and general text.

        Raises:
            InputError: a file is missing, empty or malformed.
        """
        wake, user = _wake_and_heldout(config)
        own = config.judge.suites
        suites = [p for s in own for p in load_suite(s.path, s.side, s.column)] if own else suites_for(config.model.name, config.judge.profile)
        missing = {"harmful", "twin", "anchor"} - {p.side for p in suites}
        if missing:
            raise InputError(f"judge.suites has no {', '.join(sorted(missing))} side; give all three or leave it empty for the shipped suites")
        text = config.judge.general_text
        general = read_texts(text, 1200, 12) if text else general_texts(config.model.name)
        judged = judged_shares(suites, load_pack(config.policy.pack).critical, config.judge.profile)
        bench = Bench(tuple(suites), tuple(user), tuple(general), config.judge.answer_tokens, judged, answer_judge(config))
        return cls(wake, bench, config.model.max_length)

    @property
    def bench_digest(self) -> str:
        bench = self.bench
        user = [asdict(c) for c in bench.user]
        judged = [] if bench.judged is None else [sorted(bench.judged.items())]
        longer = [] if self.max_length == LONGEST_ROW else [self.max_length]
        read = [suite_digest(list(bench.suites)), user, list(bench.general)]
        return types.digest([*read, bench.answer_tokens, bench.judge.digest, READING, *judged, *longer])


def configured_model(config: Config) -> ChatModel:
    """The base that the configuration names.

    Raises:
        InputError: nothing loadable is there, or it has no chat template.
    """
    settings = config.model
    return load_model(settings.name, settings.device, settings.dtype, settings.quantization, settings.max_length)


def answer_judge(config: Config) -> AnswerJudge:
    """The judge that `judge.answers` names; a local model is loaded when it is first asked."""
    settings = config.judge
    model = [ModelJudge(_ask(config, settings.model), settings.model.name)] if settings.model else []
    made: dict[str, Callable[[], AnswerJudge]] = {
        "rules": Rules,
        "classifier": lambda: Classifier(classifier.shipped()),
        "reader": shipped_reader,
        "model": lambda: model[0],
        "ensemble": lambda: Ensemble((Rules(), shipped_reader(), *model)),
    }
    return made[judge_name(config)]()


def judge_name(config: Config) -> str:
    """What `judge.answers: auto` stands for here. The sandbox model's few words are no English that a reader knows: rules grade them."""
    named = config.judge.answers
    if named != "auto":
        return named
    return "reader" if config.model.name != "sandbox" and is_installed() else "rules"


def _ask(config: Config, settings: JudgeModel) -> Ask:
    if settings.base_url:
        server = Server(settings.base_url, settings.name, settings.api_key_env, settings.timeout_seconds)
        return lambda conversations: server.answer(conversations, VERDICT_TOKENS)

    def local(conversations: Sequence[Sequence[Message]]) -> Sequence[str]:
        model = load_model(settings.name, config.model.device, config.model.dtype)
        return [g.text for g in model.generate([list(turns) for turns in conversations], VERDICT_TOKENS)]

    return local


def _wake_and_heldout(config: Config) -> tuple[list[Conversation], list[Conversation]]:
    wake = config.wake
    if wake.data is None:
        return [], read_conversations(wake.heldout) if wake.heldout else []
    rows = read_conversations(wake.data)
    if wake.heldout:
        return rows, read_conversations(wake.heldout)
    return split(rows, wake.heldout_rows, derive_seed(config.seed, "heldout"))


def suites_for(model_name: str, profile: str = "quick") -> list[types.Prompt]:
    """The shipped suites of a profile; the sandbox model has its own, in the language it was taught."""
    if model_name == "sandbox":
        from dream_engine.models.sandbox import sandbox_suites

        return sandbox_suites()
    return shipped_suites(profile)
