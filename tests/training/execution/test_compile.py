from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import BATCH, CLASSES, SIZE, make_step, small_model
from torch import nn

from fastsketch.augment import SketchAugment
from fastsketch.augment.apply import apply_whole
from fastsketch.config import AugmentConfig
from fastsketch.errors import FastSketchError
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution import compile as compilation
from fastsketch.training.execution.compile import (
    AUGMENT_OPTIONS,
    compile_step,
    difference,
    fit_in_memory,
    largest_divisor,
    trial_batch,
)
from fastsketch.training.execution.distributed import World
from fastsketch.training.execution.step import Probe

CPU = torch.device("cpu")
Function = Callable[..., Any]


def tried(compiled: Function, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> tuple[bool, str]:
    """Whether a step takes the compiled form that `compiled` makes, and what is said of it."""
    model = small_model(batch_norm=True)
    step, augment = make_step(model)
    plain = step.augment, step.loss_of
    before = [tensor.clone() for tensor in model.state_dict().values()]
    monkeypatch.setattr(compilation, "compiled", compiled)
    batch = trial_batch(BATCH, SIZE, CLASSES, CPU)
    with caplog.at_level(logging.INFO, "fastsketch"):
        taken = compile_step(step, augment, batch, augment.sample_params(BATCH, torch.Generator()), "default", World())
    assert taken == ((step.augment, step.loss_of) != plain)
    assert all(torch.equal(one, other) for one, other in zip(before, model.state_dict().values(), strict=True))
    return taken, caplog.messages[-1]


def test_what_fails_falls_back_with_a_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def compiled(function: Function, mode: str) -> Function:
        def fails(*arguments: object) -> object:
            raise RuntimeError("Triton does not support compute capability 7.5\nsecond line")

        return fails

    taken, line = tried(compiled, monkeypatch, caplog)
    assert not taken
    assert line == "not compiled (default): it failed (RuntimeError: Triton does not support compute capability 7.5)"


@pytest.mark.parametrize("wrong", [torch.nan, 1.5])
def test_what_departs_from_eager_falls_back(
    wrong: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compiled(function: Function, mode: str) -> Function:
        if isinstance(function, nn.Module):
            return function
        return lambda *arguments: function(*arguments) * wrong

    taken, line = tried(compiled, monkeypatch, caplog)
    assert not taken
    assert line.startswith("not compiled (default): its loss is")


def test_what_has_wrong_gradients_falls_back(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def compiled(function: Function, mode: str) -> Function:
        if isinstance(function, nn.Module):
            return function

        def half_the_gradient(*arguments: Any) -> Any:
            loss = function(*arguments)
            return loss / 2 + loss.detach() / 2

        return half_the_gradient

    taken, line = tried(compiled, monkeypatch, caplog)
    assert not taken
    assert line.startswith("not compiled (default): its grad norm is")


@pytest.mark.parametrize("faster", [True, False])
def test_only_what_is_faster_is_taken(
    faster: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def compiled(function: Function, mode: str) -> Function:
        def timed(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            time.sleep(0 if faster else 0.05)
            return function(*arguments)

        return timed

    if faster:
        eager = compilation._trials

        def slow_at_first(*arguments: Any) -> Any:
            probes, seconds = eager(*arguments)
            return probes, seconds if calls else seconds + 1

        monkeypatch.setattr(compilation, "_trials", slow_at_first)
    taken, line = tried(compiled, monkeypatch, caplog)
    assert taken == faster
    assert ("compiled (default) in" in line) if faster else ("it is slower" in line)


def test_bfloat16_may_be_off_by_more() -> None:
    eager, near, far = ([Probe(5.0, norm)] * 3 for norm in (1.0, 1.04, 1.06))
    assert difference(eager, near, torch.float16) is not None
    assert difference(eager, near, torch.bfloat16) is None
    assert difference(eager, far, torch.bfloat16) is not None


def test_dropout_widens_what_is_accepted() -> None:
    eager = [Probe(5.0, 1.0), Probe(5.4, 1.3), Probe(4.8, 1.1)]
    assert difference(eager, [Probe(5.5, 1.35)] * 3, torch.float32) is None
    assert difference([Probe(5.0, 1.0)] * 3, [Probe(5.4, 1.1), Probe(4.9, 1.2), Probe(6.1, 1.1)], torch.float32) is None
    assert difference([Probe(5.0, 1.0)] * 3, [Probe(5.6, 1.0)] * 3, torch.float32) is not None
    assert difference(eager, [Probe(6.2, 1.1)] * 3, torch.float32) is not None
    overflowing = [Probe(5.0, float("inf"))] * 3
    assert difference(overflowing, [Probe(5.0, float("nan"))] * 3, torch.float32) is None
    one_bad = [Probe(5.0, 1.0), Probe(5.0, 1.0), Probe(5.0, float("nan"))]
    assert difference([Probe(5.0, 1.0)] * 3, one_bad, torch.float32) is not None
    assert difference([Probe(5.0, 1.0)] * 3, [Probe(float("nan"), 1.0)] * 3, torch.float32) is not None


def test_out_of_memory_halves_the_micro_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step, augment = make_step(small_model())
    batch = trial_batch(BATCH, SIZE, CLASSES, CPU)
    params = augment.sample_params(BATCH, torch.Generator())
    fits, loss_of = 2, step.loss_of

    def needs_memory(images: torch.Tensor, targets: Any) -> torch.Tensor:
        if len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss_of(images, targets)

    step.loss_of = needs_memory
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with caplog.at_level(logging.INFO, "fastsketch"):
        fit_in_memory(step, batch, params)
    assert step.micro_batch == 2
    assert caplog.messages == [
        "out of memory with 8 images at once: micro-batches of 4",
        "out of memory with 4 images at once: micro-batches of 2",
    ]
    fits = 0
    with pytest.raises(FastSketchError, match="a single image does not fit"):
        fit_in_memory(step, batch, params)


def test_largest_divisor() -> None:
    assert [largest_divisor(48, limit) for limit in (48, 47, 24, 7, 1)] == [48, 24, 24, 6, 1]
    assert largest_divisor(31, 15) == 1


@pytest.mark.parametrize(
    ("mode", "augment_how", "loss_how"),
    [
        ("default", {"options": {**AUGMENT_OPTIONS, "triton.cudagraphs": False}}, {"mode": "default"}),
        ("reduce-overhead", {"options": {**AUGMENT_OPTIONS, "triton.cudagraphs": True}}, {"mode": "reduce-overhead"}),
        ("cudagraphs", {"backend": "cudagraphs"}, {"backend": "cudagraphs"}),
    ],
)
def test_the_augmentation_has_inductors_options_and_the_model_the_mode(
    monkeypatch: pytest.MonkeyPatch, mode: str, augment_how: dict[str, Any], loss_how: dict[str, Any]
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda function, **how: asked.append(how) or function)
    step, augment = make_step(small_model())
    compilation.compiled(augment, mode)
    compilation.compiled(step.loss_of, mode)
    assert asked == [{"dynamic": False, **augment_how}, {"dynamic": False, **loss_how}]


@pytest.mark.slow
def test_what_a_gpu_compiles_gives_what_it_gives_eagerly() -> None:
    """Inductor's options and the view of the warped ink, by its CPU backend."""
    config = AugmentConfig(thickness=0.5, thickness_range=(2, 3), thinning=0.5, mixup=1, cutmix=1, erasing=0.5)
    augment = SketchAugment(config, Preprocess(SIZE))
    images = trial_batch(BATCH, SIZE, CLASSES, CPU).images
    params = augment.sample_params(BATCH, torch.Generator().manual_seed(0))
    fused = torch.compile(apply_whole, dynamic=False, options=dict(AUGMENT_OPTIONS))
    torch.testing.assert_close(
        fused(images, params, largest=3), apply_whole(images, params, largest=3), atol=1e-5, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_inductor_gives_what_eager_gives(mode: str) -> None:
    model = small_model(batch_norm=True)
    step, augment = make_step(model)
    batch = trial_batch(BATCH, SIZE, CLASSES, CPU)
    params = augment.sample_params(BATCH, torch.Generator())
    eager = step.probe(batch, params, seed=0)
    step.augment = compilation.compiled(augment, mode)
    step.loss_of = compilation.compiled(step.loss_of, mode)
    ours = step.probe(batch, params, seed=0)
    assert ours.loss == pytest.approx(eager.loss, abs=1e-5)
    assert ours.grad_norm == pytest.approx(eager.grad_norm, rel=1e-4)


@pytest.mark.slow
def test_what_another_process_compiled_is_found_unless_a_gradient_of_ours_is_another(tmp_path: Path) -> None:
    """Two processes compile the same step; in the third the backward pass of a function alone is another."""
    program = """
import sys, torch
from torch._dynamo.utils import counters
from fastsketch.training.execution.compile import _caching_all

class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sin()
    @staticmethod
    def backward(ctx, grad):
        return grad * FACTOR

FACTOR = float(sys.argv[1])
x = torch.ones(8, requires_grad=True)
with _caching_all():
    torch.compile(lambda x: Scaled.apply(x).sum())(x).backward()
print(counters["aot_autograd"]["autograd_cache_hit"], x.grad[0].item())
"""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-c", program, factor], env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        for factor in ("2", "2", "3")
    ]
    assert found == [["0", "2.0"], ["1", "2.0"], ["0", "3.0"]]
