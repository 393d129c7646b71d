"""Which steps show a transformer all patches, and that compilation and tuning know of both kinds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from steps import make_step
from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError
from fastsketch.models.ink_tokens import InkPatchEmbed
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution import compile as compilation
from fastsketch.training.execution.compile import compile_step, fit_in_memory, trial_batch
from fastsketch.training.execution.distributed import World
from fastsketch.training.execution.token_schedule import TokenSchedule
from fastsketch.training.tokens import apply_tokens

SIZE, PATCHES, TOKENS = 64, 16, 5


def make(dense_steps: float, tokens: int | str = TOKENS) -> tuple[TokenSchedule, nn.Module]:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", in_chans=1, num_classes=5, img_size=SIZE)
    config = ModelConfig(name="test_vit", tokens=tokens, dense_steps=dense_steps)
    apply_tokens(config, model, Preprocess(SIZE))
    return TokenSchedule(config, model), model


def seen(model: nn.Module) -> int:
    """Patches that the model sees of an image in training."""
    tokens: torch.Tensor = model.train().forward_features(torch.ones(1, 1, SIZE, SIZE))
    return tokens.shape[1] - 1


@given(share=st.floats(0.001, 0.9), steps=st.integers(1, 400))
def test_dense_steps_are_their_share_of_any_number_of_steps(share: float, steps: int) -> None:
    schedule, _ = make(share)
    dense = [step for step in range(steps) if schedule.is_dense(step)]
    assert len(dense) == int(steps * share)
    gaps = [later - earlier for earlier, later in pairwise(dense)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_model_sees_what_the_step_is_to_show() -> None:
    schedule, model = make(0.25)
    assert schedule.kinds == {False: 0.75, True: 0.25}
    found = []
    for step in range(8):
        schedule.show(dense=schedule.is_dense(step))
        found.append(seen(model))
    assert found == [TOKENS, TOKENS, TOKENS, PATCHES] * 2


@pytest.mark.parametrize(("share", "tokens"), [(0.0, TOKENS), (0.0, "all"), (0.5, "all")])
def test_without_dense_steps_or_where_all_are_seen_nothing_changes(share: float, tokens: int | str) -> None:
    schedule, model = make(share, tokens)
    assert schedule.kinds == {False: 1.0}
    schedule.show(dense=True)
    assert seen(model) == (PATCHES if tokens == "all" else TOKENS)


@pytest.mark.parametrize("share", [1.0, 0.95, -0.1, 1e-9])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"must be 0, or from 0\.001 to 0\.9"):
        ModelConfig(tokens=TOKENS, dense_steps=share)


# ------------------------------------------------------------------------------------- compilation and memory


@pytest.mark.parametrize("wrong", ["neither", "inked", "dense"])
def test_both_kinds_of_steps_are_compiled_and_compared(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    schedule, model = make(0.25)
    model.train()
    step, augment = make_step(model, size=SIZE)
    patches = model.patch_embed
    assert isinstance(patches, InkPatchEmbed)
    tried: set[int | None] = set()

    def compiled(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
        if isinstance(function, nn.Module):
            return function

        def loss_of(*arguments: Any) -> Any:
            tried.add(patches.tokens)
            bad = wrong == ("dense" if patches.tokens is None else "inked")
            return function(*arguments) * (3.0 if bad else 1.0)

        return loss_of

    monkeypatch.setattr(compilation, "compiled", compiled)
    eager = compilation._trials
    calls = 0

    def slower_at_first(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        kinds, seconds = eager(*arguments)
        return kinds, seconds + (calls == 1)

    monkeypatch.setattr(compilation, "_trials", slower_at_first)
    batch = trial_batch(8, SIZE, 5, torch.device("cpu"))
    params = augment.sample_params(8, torch.Generator())
    with caplog.at_level(logging.INFO, "fastsketch"):
        taken = compile_step(step, augment, schedule, batch, params, "default", World())
    assert taken == (wrong == "neither")
    assert tried == {None, TOKENS}
    assert caplog.messages[-1].startswith("compiled" if taken else "not compiled (default): its loss is")


def test_memory_has_to_suffice_for_a_dense_step(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, model = make(0.25)
    step, augment = make_step(model.train(), size=SIZE)
    loss_of, patches = step.loss_of, model.patch_embed
    assert isinstance(patches, InkPatchEmbed)

    def needs_memory(images: torch.Tensor, targets: Any) -> torch.Tensor:
        if len(images) * (patches.tokens or PATCHES) > 4 * PATCHES:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss_of(images, targets)

    step.loss_of = needs_memory
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    fit_in_memory(
        step,
        schedule,
        trial_batch(8, SIZE, 5, torch.device("cpu")),
        augment.sample_params(8, torch.Generator()),
    )
    assert step.micro_batch == 4
