from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from steps import BATCH, CLASSES, SIZE, make_step, small_model
from torch import Tensor, nn

from fastsketch.augment import SketchAugment
from fastsketch.config import AugmentConfig
from fastsketch.errors import ConfigError
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution import precision as precisions
from fastsketch.training.execution.compile import trial_batch
from fastsketch.training.execution.precision import resolve_inference_precision, resolve_precision


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in model.state_dict().values()]


def run_steps(count: int = 3, **arguments: object) -> tuple[list[float], list[Tensor]]:
    model = small_model()
    step, augment = make_step(model, **arguments)  # type: ignore[arg-type]
    batch, generator = trial_batch(BATCH, SIZE, CLASSES, torch.device("cpu")), torch.Generator().manual_seed(0)
    losses = [float(step(batch, augment.sample_params(BATCH, generator))) for _ in range(count)]
    return losses, weights(model)


def test_a_step_is_what_plain_torch_does() -> None:
    losses, ours = run_steps(label_smoothing=0.1, clip_grad_norm=0.5)
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    augment = SketchAugment(AugmentConfig(mixup=1, cutmix=1, thickness=0.5), Preprocess(SIZE))
    batch, generator = trial_batch(BATCH, SIZE, CLASSES, torch.device("cpu")), torch.Generator().manual_seed(0)
    for expected in losses:
        images, (labels, partners, lam) = augment(batch.images, batch.labels, augment.sample_params(BATCH, generator))
        dense = F.one_hot(labels, CLASSES) * lam[:, None] + F.one_hot(partners, CLASSES) * (1 - lam[:, None])
        loss = F.cross_entropy(model(images), dense, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        assert loss.item() == pytest.approx(expected, abs=1e-6)
    for theirs, mine in zip(model.state_dict().values(), ours, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_micro_batches_add_up_to_the_batch(micro_batch: int) -> None:
    losses, whole = run_steps()
    parts_losses, parts = run_steps(micro_batch=micro_batch)
    assert parts_losses == pytest.approx(losses, abs=1e-6)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)


def test_a_probe_leaves_no_trace() -> None:
    model = small_model(batch_norm=True)
    step, augment = make_step(model)
    batch = trial_batch(BATCH, SIZE, CLASSES, torch.device("cpu"))
    before = weights(model)
    probe = step.probe(batch, augment.sample_params(BATCH, torch.Generator()), seed=0)
    assert probe.loss > 0
    assert probe.grad_norm > 0
    assert all(torch.equal(one, other) for one, other in zip(before, weights(model), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bfloat16_is_near_float32() -> None:
    losses, _ = run_steps(precision=torch.bfloat16)
    expected, _ = run_steps()
    assert losses == pytest.approx(expected, rel=0.02)
    assert losses != expected


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert resolve_precision("auto", cpu) is torch.float32
    assert resolve_precision("bfloat16", cpu) is torch.bfloat16
    with pytest.raises(ConfigError, match="needs a GPU"):
        resolve_precision("float16", cpu)
    for capability, expected in (((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        monkeypatch.setattr(precisions.torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert resolve_precision("auto", gpu) is expected


@pytest.mark.parametrize("native", [True, False])
def test_a_model_is_asked_in_what_the_cpu_has(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(precisions, "_emulated", lambda: not native)
    monkeypatch.setattr(precisions.torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert resolve_inference_precision("auto", cpu) is torch.float32
    assert resolve_inference_precision("float16", cpu) is torch.float32
    assert resolve_inference_precision("bfloat16", cpu) is (torch.bfloat16 if native else torch.float32)
    for name in ("float16", "bfloat16"):
        assert resolve_inference_precision(name, torch.device("cuda")) is getattr(torch, name)


@pytest.mark.parametrize("native", [True, False])
def test_one_is_told_once_that_bfloat16_is_emulated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, native: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    precisions._warn_of_emulation.cache_clear()
    for name in ("float32", "bfloat16", "bfloat16"):
        resolve_precision(name, torch.device("cpu"))
    precisions._warn_of_emulation.cache_clear()
    assert ["emulates bfloat16" in record.message for record in caplog.records] == ([] if native else [True])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
def test_a_step_never_waits_for_the_gpu(precision: torch.dtype) -> None:
    step, augment = make_step(small_model(batch_norm=True), precision=precision, device="cuda", clip_grad_norm=1.0)
    batch = trial_batch(BATCH, SIZE, CLASSES, torch.device("cuda"))
    generator = torch.Generator("cuda").manual_seed(0)
    step(batch, augment.sample_params(BATCH, generator))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            loss = step(batch, augment.sample_params(BATCH, generator))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(loss)
