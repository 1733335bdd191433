import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.domain.seeding import generator_for
from reid.domain.training.prompts import PromptLearner
from reid.domain.values.features import PromptEmbedding

EMBEDDING = PromptEmbedding(
    prefix=torch.arange(10.0).view(5, 2) + 100, suffix=torch.arange(6.0).view(3, 2) + 200
)


def build(num_identities: int = 6, *, seed: int = 0, num_context_tokens: int = 4) -> PromptLearner:
    return PromptLearner(
        EMBEDDING,
        num_identities=num_identities,
        num_context_tokens=num_context_tokens,
        generator=generator_for(seed),
    )


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_after_the_prefix_come_the_identitys_tokens_then_the_suffix(labels: list[int]) -> None:
    learner = build()
    prompts = learner(torch.tensor(labels))
    assert prompts.shape == (len(labels), 7, 2)
    assert torch.equal(learner.prefix, EMBEDDING.prefix)
    for prompt, label in zip(prompts, labels, strict=True):
        expected = [*learner.cls_ctx[label], *EMBEDDING.suffix]
        assert torch.equal(prompt, torch.stack(expected))


def test_learned_tokens_start_small_around_zero() -> None:
    wide = PromptEmbedding(prefix=torch.zeros(5, 64), suffix=torch.zeros(3, 64))
    learner = PromptLearner(
        wide, num_identities=50, num_context_tokens=4, generator=generator_for(1)
    )
    assert learner.cls_ctx.shape == (50, 4, 64)
    assert learner.cls_ctx.mean().item() == pytest.approx(0.0, abs=1e-3)
    assert learner.cls_ctx.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_generator_alone_decides_the_start() -> None:
    torch.rand(3)
    assert torch.equal(build(seed=1).cls_ctx, build(seed=1).cls_ctx)
    assert not torch.equal(build(seed=1).cls_ctx, build(seed=2).cls_ctx)


def test_only_the_learned_tokens_are_parameters() -> None:
    learner = build()
    assert [name for name, _ in learner.named_parameters()] == ["cls_ctx"]
    assert set(learner.state_dict()) == {"cls_ctx", "token_prefix", "token_suffix"}
    assert learner.token_prefix.shape == (1, 5, 2)
    assert learner.token_suffix.shape == (1, 3, 2)


def test_gradients_reach_the_identities_asked_for_and_no_others() -> None:
    learner = build()
    learner(torch.tensor([1, 4, 4])).sum().backward()
    gradient = learner.cls_ctx.grad
    assert gradient is not None
    expected = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 0.0]).view(6, 1, 1).expand(6, 4, 2)
    assert torch.equal(gradient, expected)


def test_the_gradient_of_repeated_identities_is_the_same_in_every_run() -> None:
    wide = PromptEmbedding(prefix=torch.zeros(5, 512), suffix=torch.zeros(3, 512))
    learner = PromptLearner(
        wide, num_identities=8, num_context_tokens=4, generator=generator_for(1)
    )
    labels = torch.randint(8, (64,), generator=generator_for(2))
    weights = torch.randn(64, 7, 512, generator=generator_for(3))
    gradients = [
        torch.autograd.grad((learner(labels) * weights).sum(), learner.cls_ctx)[0]
        for _ in range(10)
    ]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def test_changing_the_embedding_later_leaves_the_learner_alone() -> None:
    embedding = PromptEmbedding(prefix=torch.zeros(2, 3), suffix=torch.zeros(1, 3))
    learner = PromptLearner(
        embedding, num_identities=2, num_context_tokens=1, generator=generator_for(0)
    )
    embedding.prefix.fill_(9.0)
    assert torch.equal(learner.token_prefix, torch.zeros(1, 2, 3))


@pytest.mark.parametrize(("num_identities", "num_tokens"), [(0, 4), (3, 0)])
def test_nothing_to_learn_is_refused(num_identities: int, num_tokens: int) -> None:
    with pytest.raises(ValueError, match=f"{num_tokens} tokens for {num_identities} identities"):
        build(num_identities, num_context_tokens=num_tokens)
