"""The parts of the methods against independent values, and what each method does on the digits."""

from __future__ import annotations

import math

import pytest
import torch

from dream_engine.errors import InputError
from dream_engine.lab.batch import Batch, labelled
from dream_engine.lab.data import Context, Examples, Stream, read_digits, split_stream
from dream_engine.lab.demo import wake
from dream_engine.lab.diffusion import Diffused, cosine_schedule, noised
from dream_engine.lab.hopfield import Memory, consolidate
from dream_engine.lab.judgement import Woken, evaluate, judge
from dream_engine.lab.learners import log_likelihood
from dream_engine.lab.methods import METHODS, WRITERS, Plan, method
from dream_engine.lab.metrics import average_accuracy
from dream_engine.lab.nets import VAE, Classifier, FeedbackNet, log_normal, reparametrised
from dream_engine.lab.penalty import Elastic, Synaptic, fisher_diagonal
from dream_engine.lab.replay import Buffer, Generated, Recombined, Spoiled
from dream_engine.lab.run import learn
from dream_engine.types import Interval

SMALL = Plan(iterations=120, hidden=80, latents=30)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return split_stream(*read_digits(0), "class", 5)


def test_fisher_against_a_loop_over_examples_and_classes(stream: Stream) -> None:
    """1/N Σ_x Σ_k p(k|x) (∂ log p(k|x))², one autograd call each."""
    torch.manual_seed(0)
    net, context = Classifier(64, 5, stream.units), stream.contexts[0]
    few = Context("few", Examples(context.train.x[:6], context.train.y[:6]), context.test, context.visible)
    slow = [torch.zeros_like(p) for p in net.parameters()]
    for x in few.train.x:
        log_p = torch.log_softmax(net(x.unsqueeze(0)).masked_fill(~few.visible, -torch.inf), 1)[0]
        for k in (0, 1):
            grads = torch.autograd.grad(log_p[k], list(net.parameters()), retain_graph=True)
            for total, g in zip(slow, grads, strict=True):
                total += log_p[k].detach().exp() * g.square() / 6
    for fast, expected in zip(fisher_diagonal(net, few), slow, strict=True):
        torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-8)


def test_elastic_terms_of_several_contexts_are_one(stream: Stream) -> None:
    """The gradient of the joined term is that of a term for each context; online, only the newest place is held, by the sum."""
    torch.manual_seed(0)
    net = Classifier(64, 5, stream.units)
    every, online, kept = Elastic(net, 3.0), Elastic(net, 3.0, decay=0.5), []
    for context in stream.contexts[:3]:
        every.end(context)
        online.end(context)
        kept.append((fisher_diagonal(net, context), [p.detach().clone() for p in net.parameters()]))
        with torch.no_grad():
            for p in net.parameters():
                p += 0.1 * torch.randn_like(p)
    for penalty, terms in (
        (every, [(1.0, f, at) for f, at in kept]),
        (online, [(w, f, kept[-1][1]) for w, (f, _) in zip((0.25, 0.5, 1.0), kept, strict=True)]),
    ):
        slow = sum(1.5 * w * (f * (p - c).square()).sum() for w, fs, cs in terms for p, f, c in zip(net.parameters(), fs, cs, strict=True))
        wanted = torch.autograd.grad(slow, list(net.parameters()))  # type: ignore[arg-type]
        found = torch.autograd.grad(penalty.value(), list(net.parameters()))  # type: ignore[arg-type]
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_synaptic_path_integral_by_hand() -> None:
    """θ from 1 to 0.8 under gradient 2: ω = 0.4, Ω = 0.4 / (0.04 + 0.1); at θ = 1 the penalty is c Ω 0.2²."""
    p = torch.nn.Parameter(torch.tensor([1.0]))
    held = Synaptic([p], strength=3.0)
    assert held.value() == 0.0
    held.before()
    p.grad = torch.tensor([2.0])
    p.data = torch.tensor([0.8])
    held.after()
    held.end(None)  # type: ignore[arg-type]
    p.data = torch.tensor([1.0])
    assert float(torch.as_tensor(held.value()).detach()) == pytest.approx(3 * (0.4 / 0.14) * 0.04, rel=1e-5)


def test_distillation_by_hand() -> None:
    """Scores (0, ln 3) at temperature 2 taught to (½, ½): −4 · ½ Σ log softmax(0, ln 3 / 2); a hidden unit has no part in it."""
    scores = torch.tensor([[0.0, math.log(3), 50.0]])
    batch = Batch(torch.zeros(1, 1), torch.tensor([0]), torch.tensor([True, True, False]), torch.tensor([[0.5, 0.5, 0.0]]))
    total = 1 + math.sqrt(3)
    expected = -4 * 0.5 * (math.log(1 / total) + math.log(math.sqrt(3) / total))
    assert float(batch.loss(scores, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_never_labels_with_a_hidden_unit() -> None:
    """The largest score is hidden: the next one is the label, and its soft target is 0."""
    batch = labelled(torch.tensor([[1.0, 2.0, 9.0]]), torch.zeros(1, 1), torch.tensor([True, True, False]), 2.0)
    assert batch.y.tolist() == [1]
    assert batch.soft is not None
    assert float(batch.soft[0, 2]) == 0


def test_reparametrisation_uses_half_the_log_variance() -> None:
    """log σ² = 2 ln 3 gives σ = 3 (a known slip takes 9)."""
    z = reparametrised(torch.zeros(20_000, 1), torch.full((20_000, 1), 2 * math.log(3)), torch.Generator().manual_seed(0))
    assert float(z.std()) == pytest.approx(3, rel=0.03)


def test_log_normal_against_torch() -> None:
    """The density of torch.distributions, summed over the last dimension."""
    z, mean, log_var = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)
    expected = torch.distributions.Normal(mean, (log_var / 2).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(log_normal(z, mean, log_var), expected)


def test_importance_sampling_bounds_the_evidence_from_above_the_elbo() -> None:
    """More samples never lower log p(x) beyond noise, and the bound of one network is at most the sampled value."""
    torch.manual_seed(0)
    vae, x, rng = VAE(6, 8, 2), torch.rand(40, 6), torch.Generator().manual_seed(0)
    with torch.no_grad():
        bound = torch.stack([-vae.inputs * vae.loss(x, rng) for _ in range(200)]).mean()
        sampled = log_likelihood(vae, x, 500, rng).mean()
    assert float(sampled) >= float(bound) - 0.01


def test_the_schedule_starts_clean_and_falls() -> None:
    """ᾱ_0 = 1, strictly falling to its floor; at t = 0 nothing is noised."""
    schedule = cosine_schedule(50)
    assert float(schedule[0]) == 1
    assert bool((schedule[1:] < schedule[:-1]).all())
    x = torch.rand(2, 3)
    torch.testing.assert_close(noised(x, torch.tensor([0, 0]), schedule, torch.randn(2, 3)), x)


def test_a_guided_denoiser_draws_the_class_it_is_asked_for(stream: Stream) -> None:
    """A classifier that did not guide takes most samples for the wanted class, and without guidance no more than chance would give."""
    train, _ = read_digits(0)
    guide, other = (reader_of(train, seed) for seed in (1, 2))
    wanted = torch.arange(10).repeat(20)
    agreed = {}
    for guidance in (0.0, 3.0):
        torch.manual_seed(0)
        source = Diffused(stream, 160, 1e-3, None, torch.Generator().manual_seed(0), guidance)
        rng = torch.Generator().manual_seed(1)
        for _ in range(400):
            chosen = torch.randint(len(train.x), (64,), generator=rng)
            source.learn(Batch(train.x[chosen], train.y[chosen], torch.arange(10)), None, 1.0)
        source.begin(2, guide)
        agreed[guidance] = float((other(source.generate(wanted)).argmax(1) == wanted).float().mean())
    assert agreed[3.0] > 0.9
    assert agreed[0.0] < 0.25


def reader_of(train: Examples, seed: int) -> torch.nn.Module:
    """A classifier of all ten digits."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(64, 80), torch.nn.ReLU(), torch.nn.Linear(80, 10))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(train.x), train.y).backward()
        optimiser.step()
    return net


def test_hopfield_recall_completes_a_pattern() -> None:
    """Half a pattern brings the whole back; one update of two orthogonal patterns is the softmax written out."""
    patterns = torch.eye(2)
    state = torch.tensor([[0.8, 0.6]])
    weight = math.exp(0.8) / (math.exp(0.8) + math.exp(0.6))
    torch.testing.assert_close(Memory(patterns, 1.0).update(state), torch.tensor([[weight, 1 - weight]]))
    stored = torch.randn(20, 32, generator=torch.Generator().manual_seed(1))
    cue = stored.clone()
    cue[:, 16:] = 0
    assert float((Memory(stored).recall(cue) - stored).abs().max()) < 1e-2


def test_consolidation_moves_from_memory_to_network() -> None:
    """The memory fades to nothing while the network's reconstructions get better; then training ends."""
    train, test = read_digits(0)
    done = consolidate(Memory(train.x[:300].clamp_min(1e-3)), test.x, 64, epochs=12, per_epoch=512, rng=torch.Generator().manual_seed(0), fading=0.4)
    assert list(done.left) == sorted(done.left, reverse=True)
    assert done.distortion[-1] < done.distortion[0]


def test_empty_memories_buffers_and_untrained_generators_are_refused(stream: Stream) -> None:
    """Each would replay nothing and look as if it did."""
    rng = torch.Generator().manual_seed(0)
    with pytest.raises(InputError, match="patterns"):
        Memory(torch.zeros(0, 3))
    with pytest.raises(InputError, match="holds nothing"):
        Buffer(stream, 0, "class", rng)
    with pytest.raises(InputError, match="never trained"):
        Generated(stream, 8, 2, 1e-3, None, rng).begin(2, Classifier(64, 8, 10))
    with pytest.raises(InputError, match="choose among"):
        method("magic")


def test_a_reservoir_is_uniform(stream: Stream) -> None:
    """Kept examples of the first and the last context are about as many as were offered."""
    buffer = Buffer(stream, 400, "reservoir", torch.Generator().manual_seed(0))
    for number, context in enumerate(stream.contexts, 1):
        buffer.begin(number, Classifier(64, 4, 10))
        buffer.end(context)
    drawn = buffer.draw(4000, torch.zeros(1))
    assert drawn is not None
    share = float((drawn.y < 2).float().mean())
    offered = len(stream.contexts[0].train) / sum(len(c.train) for c in stream.contexts)
    assert abs(share - offered) < 0.08


def test_a_buffer_of_the_newest_forgets_the_oldest(stream: Stream) -> None:
    """Smaller than a context, it holds examples of the last context alone, and each of them once."""
    buffer = Buffer(stream, 40, "newest", torch.Generator().manual_seed(1))
    for context in stream.contexts[:2]:
        buffer.end(context)
    buffer.begin(3, Classifier(64, 5, stream.units))
    drawn = buffer.draw(2000, torch.zeros(1))
    assert drawn is not None
    assert set(drawn.y.tolist()) == {2, 3}
    assert len(torch.unique(drawn.x, dim=0)) == 40


def test_twists_lie_between_two_examples_of_their_class(stream: Stream) -> None:
    """Two stored examples a class: every draw is a blend of them, at many shares."""
    buffer = Recombined(stream, 2, "class", torch.Generator().manual_seed(1))
    buffer.end(stream.contexts[0])
    buffer.begin(2, Classifier(64, 5, stream.units))
    drawn = buffer.draw(400, torch.zeros(1))
    assert drawn is not None
    for label in (0, 1):
        mine = drawn.x[drawn.y == label]
        low, high = mine.min(0).values, mine.max(0).values
        assert len(torch.unique(mine, dim=0)) > 20
        ends = [x for x in stream.contexts[0].train.of([label]).x if bool(((x >= low - 1e-6) & (x <= high + 1e-6)).all())]
        assert len(ends) >= 2


def test_gates_are_off_for_their_class_only() -> None:
    """About the asked share of units is off, not the same ones for two classes, and the same for one seed."""
    nets = [FeedbackNet(64, 200, 3, 5, 0.3, True, seed=4) for _ in range(2)]
    assert torch.equal(nets[0].gates, nets[1].gates)
    assert not torch.equal(nets[0].gates[0, 0], nets[0].gates[0, 1])
    assert float(nets[0].gates.mean()) == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("name", sorted(set(METHODS) - WRITERS))
def test_every_method_learns_a_stream_and_repeats_itself(stream: Stream, name: str) -> None:
    """Two contexts, few steps: the newest is learned by those that can, and the same seed gives the same matrix."""
    short = Stream("class", stream.contexts[:2], stream.inputs, stream.units)
    plan = Plan(iterations=25, hidden=32, latents=8)
    first, second = learn(short, name, plan, 3)[0], learn(short, name, plan, 3)[0]
    assert first.matrix == second.matrix
    assert first.matrix[0][0] > 0.8


def test_replay_keeps_what_plain_learning_forgets(stream: Stream) -> None:
    """Five contexts of two digits: none is near one fifth, joint near one, replay from a generator far above none."""
    found = {name: average_accuracy(learn(stream, name, SMALL, 0)[0].matrix) for name in ("none", "joint", "er", "bi-r")}
    assert found["none"] < 0.3
    assert found["joint"] > 0.9
    assert found["er"] > 0.85
    assert found["bi-r"] > 0.7


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_other_scenarios_run_with_replay(scenario: str) -> None:
    """Told the context, nearly all is kept; with shared labels replay is above none."""
    stream = split_stream(*read_digits(0), scenario, 5)  # type: ignore[arg-type]
    none, dgr = (average_accuracy(learn(stream, name, SMALL, 0)[0].matrix) for name in ("none", "dgr+distill"))
    assert dgr > none
    assert dgr > (0.95 if scenario == "task" else 0.7)


def night(stream: Stream, name: str, plan: Plan) -> str:
    """The verdict over one night: A, then B with the method."""
    two = Stream("class", stream.contexts[:2], stream.inputs, stream.units)
    one = Stream("class", stream.contexts[:1], stream.inputs, stream.units)
    t = evaluate("T", learn(one, "none", SMALL, 0)[1], two, 1)
    w, c = wake(two, SMALL, 0), learn(two, name, plan, 0)[1]
    unrelated = torch.rand(200, 64, generator=torch.Generator().manual_seed(5))
    return judge(two, 2, t, w, c, unrelated, 0).gated.verdict.name


def test_the_gate_refuses_what_was_spoiled_on_purpose(stream: Stream) -> None:
    """No replay at all, a generator of noise, and one that never dreams of the unsafe class: none is sealed."""
    assert night(stream, "none", SMALL) != "seal"
    for spoiled in (Spoiled(noise=3.0), Spoiled(without=0)):
        assert night(stream, "dgr", Plan(iterations=120, hidden=80, latents=30, spoiled=spoiled)) != "seal"


def test_the_same_gate_seals_what_did_not_change(stream: Stream) -> None:
    """The control: one learner as T, W and C."""
    two = Stream("class", stream.contexts[:2], stream.inputs, stream.units)
    same = learn(two, "er", SMALL, 0)[1]
    unrelated = torch.rand(200, 64, generator=torch.Generator().manual_seed(5))
    assert judge(two, 2, evaluate("T", same, two, 2), Woken(same, same), same, unrelated, 0).gated.verdict.name == "seal"


def test_drift_is_counted_from_what_another_seed_does(stream: Stream) -> None:
    """C that is W again from another seed has drifted by 0 nats; C that is W itself by less than nothing."""
    two = Stream("class", stream.contexts[:2], stream.inputs, stream.units)
    unrelated, woken = torch.rand(200, 64, generator=torch.Generator().manual_seed(5)), wake(two, SMALL, 0)
    t = evaluate("T", woken.learner, two, 2)
    again, same = (next(d.test.drift for d in judge(two, 2, t, woken, c, unrelated, 0).gated.decisions if d.test.name == "kl_drift")
                   for c in (woken.again, woken.learner))  # fmt: skip
    assert again == Interval(0.0, 0.0, 0.0, 200)
    assert isinstance(same, Interval)
    assert same.high < 0
