"""Bring a training step into shape on the device at hand: what memory allows, and compiled if that works and pays.

Whether Inductor supports a GPU (a T4's compute capability is 7.5), gives right gradients for a model and is faster
there cannot be known, only tried. So it is tried, on random images and before the first step, and leaves no trace in
the weights.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import TypeVar, cast

import torch
import torch._functorch.config as functorch
from torch import Tensor

from fastsketch.augment import SketchAugment
from fastsketch.augment.params import AugmentParams
from fastsketch.errors import FastSketchError
from fastsketch.loaders import Batch
from fastsketch.training.execution.distributed import World
from fastsketch.training.execution.step import Probe, TrainStep

log = logging.getLogger(__name__)

TRIALS = 3
"""Steps that are compared and timed, each with dropout of its own."""

TOLERANCE = {torch.float32: 0.02, torch.float16: 0.02, torch.bfloat16: 0.05}
"""A compiled loss, or norm of a gradient, may be off by this share besides what dropout makes of it: half precision
rounds at other places in fused kernels. bfloat16 has three bits less: an EfficientNet's gradients were off by 0.022."""

AUGMENT_OPTIONS = {
    "realize_reads_threshold": 32,
    "realize_opcount_threshold": 500,
    "realize_acc_reads_threshold": 40,
}
"""Inductor's, for the augmentation. It writes a value that is used several times to memory once computing it takes so
many reads or operations. By its own thresholds (4, 30 and 8) it would write the sampling grid and the ink before and
after, six kernels that move 3.9 MB an image; by these the report's augmentation is two, which move 0.65 MB, and a tiny
one for the labels."""

CACHES_CUSTOM = "autograd_cache_allow_custom_autograd_functions"
"""torch's setting; see `_caching_all`."""

_CallableT = TypeVar("_CallableT", bound=Callable[..., object])


def trial_batch(batch_size: int, size: int, classes: int, device: torch.device) -> Batch:
    """Random strokes on paper, uint8 [B, 1, size, size], with random labels; the same every time."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch_size, 1, -(-size // 8), -(-size // 8), generator=generator) < 0.3
    images = 255 - 255 * coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :size, :size].to(torch.uint8)
    labels = torch.randint(classes, (batch_size,), generator=generator)
    return Batch(images.to(device), labels.to(device), torch.arange(batch_size, device=device))


def fit_in_memory(step: TrainStep, batch: Batch, params: AugmentParams) -> None:
    """Halve the micro-batch until a step fits in the device's memory; the batch stays what it is.

    A trial does not update: what the optimizer will need is set aside meanwhile.

    Raises:
        FastSketchError: Not even a single image fits.
    """
    while True:
        reserve: list[Tensor] = []
        try:
            reserve = step.state_to_come()
            step.probe(batch, params, seed=0)
        except torch.OutOfMemoryError as error:
            if step.micro_batch == 1:
                raise FastSketchError(
                    "a single image does not fit in the device's memory", hint="choose a smaller model or image size"
                ) from error
        else:
            return
        finally:
            reserve.clear()
        torch.cuda.empty_cache()
        tried, step.micro_batch = step.micro_batch, largest_divisor(len(batch.labels), step.micro_batch // 2)
        log.info("out of memory with %d images at once: micro-batches of %d", tried, step.micro_batch)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is not above `limit`."""
    return next(divisor for divisor in range(limit, 0, -1) if number % divisor == 0)


def compile_step(
    step: TrainStep,
    augment: SketchAugment,
    batch: Batch,
    params: AugmentParams,
    mode: str,
    world: World,
    *,
    if_slower: bool = False,
) -> bool:
    """Compile a step if that works, gives what eager mode gives, and is faster; say in one line what came of it.

    Args:
        step: Compiled in place, or left as it is.
        augment: What augments in the step.
        batch: To try it on.
        params: For the batch.
        mode: `default`, `reduce-overhead` or `cudagraphs`.
        world: All its processes decide alike.
        if_slower: Even if it is not faster.

    Returns:
        Whether the step is compiled now.
    """
    eager, eager_seconds = _trials(step, batch, params)
    plain = step.augment, step.loss_of
    started = perf_counter()
    try:
        step.augment, step.loss_of = compiled(augment, mode), compiled(step.loss_of, mode)
        with _caching_all():
            step.probe(batch, params, seed=0)
        warmup = perf_counter() - started
        ours, seconds = _trials(step, batch, params)
        reason = difference(eager, ours, step.precision)
    except Exception as error:  # Dynamo, Inductor, Triton and the C++ compiler raise whatever they like
        reason = f"it failed ({first_line(error)})"
    else:
        times = f"{1e3 * seconds:.1f} ms a step, eager {1e3 * eager_seconds:.1f} ms"
        if reason is None and seconds > eager_seconds and not if_slower:
            reason = f"it is slower ({times})"
    failures = torch.tensor(int(reason is not None), device=batch.images.device)
    if not world.sum(failures):
        log.info("compiled (%s) in %.0f s: %s", mode, warmup, times)
        return True
    step.augment, step.loss_of = plain
    torch.compiler.reset()
    log.info("not compiled (%s): %s", mode, reason or "it failed in another process")
    return False


def compiled(function: _CallableT, mode: str) -> _CallableT:
    """torch.compile in one of our modes.

    CUDA graphs reuse their outputs' memory from one "generation" to the next, which is every call of any compiled
    function unless the beginnings are marked. Augmentation is what begins a step: all of the step is one generation.
    """
    how: dict[str, object] = {"mode": mode}
    if mode == "cudagraphs":
        how = {"backend": mode}
    elif type(function) is SketchAugment:  # not stock Kornia's, for which Inductor's own are right
        how = {"options": {**AUGMENT_OPTIONS, "triton.cudagraphs": mode == "reduce-overhead"}}
    made = torch.compile(function, dynamic=False, **how)  # type: ignore[call-overload]
    if mode == "default" or not isinstance(function, SketchAugment):
        return cast(_CallableT, made)

    def begin(*arguments: object) -> object:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return made(*arguments)

    return cast(_CallableT, begin)


def _caching_all() -> AbstractContextManager[None]:
    """Let what is compiled within be found again by later processes, gradients of our own included.

    torch leaves it out of its cache where there are such (`models/convolutions.py`), although what Dynamo traced of
    them is part of the cache's key. With it a size of EfficientNet-Lite0 took 8 s to load instead of 16. A torch that
    has no such setting goes without.
    """
    if not hasattr(functorch, CACHES_CUSTOM):
        return nullcontext()
    return functorch.patch(CACHES_CUSTOM, True)  # type: ignore[no-any-return]


def difference(eager: Sequence[Probe], ours: Sequence[Probe], precision: torch.dtype) -> str | None:
    """What is wrong with compiled steps, if anything.

    Dropout differs between the two, so that their medians may lie apart by what either of them varies, and by what the
    precision allows.
    """
    for name in Probe._fields:
        expected, found = ([getattr(probe, name) for probe in probes] for probes in (eager, ours))
        if not all(map(math.isfinite, expected)):
            continue  # float16 that overflows in eager mode as well
        middle, median = statistics.median(expected), statistics.median(found)
        spread = max(max(values) - min(values) for values in (expected, found))
        if not abs(median - middle) <= spread + TOLERANCE[precision] * abs(middle) or not all(
            map(math.isfinite, found)
        ):
            return f"its {name.replace('_', ' ')} is {median:.4g}, in eager mode {middle:.4g}"
    return None


def first_line(error: Exception) -> str:
    """What a compiler's error says, without the pages after it."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


def _trials(step: TrainStep, batch: Batch, params: AugmentParams) -> tuple[list[Probe], float]:
    """Trial steps after one that warms up, and the seconds of the fastest: whatever else the machine does adds to them.

    The host reads what each gives, so that each is whole.
    """
    probes, seconds = [], []
    for seed in range(TRIALS + 1):
        started = perf_counter()
        probes.append(step.probe(batch, params, seed))
        seconds.append(perf_counter() - started)
    return probes[1:], min(seconds[1:])
