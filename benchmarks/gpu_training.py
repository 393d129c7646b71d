"""The fourth part of `gpu`: whole training steps, by model, batch, precision and mode."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import repeat
from time import monotonic
from typing import Any, NamedTuple

import torch

from fastsketch.training.execution.compile import first_line
from fastsketch.training.execution.precision import FAST_BFLOAT16, resolve_precision
from fastsketch.training.step_params import CHUNK

from .ceilings import count_flops, matrix_product
from .common import Contender, Timing, peak_bytes, take_turns
from .gpu_bench import Bench
from .loops import BareLoop, Task

ROUNDS = 5
ROUND_SECONDS = 1.0


class Case(NamedTuple):
    """One way to train.

    Attributes:
        model: Our name.
        batch: Images a step.
        mode: As `training.compile`.
        precision: As `training.precision`.
    """

    model: str
    batch: int
    mode: str
    precision: str

    def __str__(self) -> str:
        return f"{self.model}, batch {self.batch}, {self.precision}, {self.mode}"


MOST_TELLING = (
    ("vit_base", 64, "default"),
    ("vit_small", 64, "default"),
    ("resnet50", 64, "default"),
    ("vit_base", 64, "eager"),
    ("vit_small", 64, "eager"),
    ("resnet50", 64, "eager"),
    ("vit_base", 64, "reduce-overhead"),
    ("vit_base", 32, "default"),
    ("vit_small", 64, "reduce-overhead"),
    ("resnet50", 64, "reduce-overhead"),
    *((model, 32, mode) for model in ("vit_small", "resnet50", "vit_base") for mode in ("default", "eager")),
)
"""Model, batch and mode, in the order of what they tell."""


def cases(bench: Bench) -> Iterator[Case]:
    """Everything in the precision that is the device's own, then in the other one that it multiplies fast."""
    device = bench.device
    own = str(resolve_precision("auto", device)).removeprefix("torch.")
    if bench.quick:
        yield from (Case("test_vit", 8, mode, own) for mode in ("eager", "default"))
        return
    precisions = [own]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= FAST_BFLOAT16:
        precisions = [own, *({"float16", "bfloat16"} - {own})]
    for precision in precisions:
        yield from (Case(*telling, precision) for telling in dict.fromkeys(MOST_TELLING))


def training(bench: Bench) -> None:
    """Whole training steps: images a second, share of the device's matrix products, memory."""
    ceilings: dict[str, float] = {}
    found: dict[str, Any] = {}
    bench.found |= {"ceiling_tflops": ceilings, "cases": found}
    flops: dict[str, float] = {}
    timings: list[Timing] = []
    longest = {True: 60.0, False: 15.0}
    for case in cases(bench):
        compiled = case.mode != "eager"
        if not bench.has_time(str(case), longest[compiled]):
            continue
        started = monotonic()
        try:
            if case.precision not in ceilings:
                ceilings[case.precision] = _ceiling(bench, case.precision)
            if case.model not in flops:
                flops[case.model] = _flops_an_image(bench, case)
            record, timing = _train(bench, case)
        except Exception as error:  # out of memory, or a compiler's own
            found[str(case)] = {"failed": first_line(error)}
            continue
        finally:
            longest[compiled] = max(longest[compiled], 1.2 * (monotonic() - started))
        reached = flops[case.model] * timing.images_per_second / 1e12
        share = reached / ceilings[case.precision]
        found[str(case)] = {**record, "tflops": reached, "of_ceiling": share}
        timings.append(timing)
        said = f"{timing.images_per_second:,.0f} images/s, {share:.0%} of the matrix products' ceiling"
        bench.row(f"training, {case}", said)
        bench.console.print(f"{case}: {said}")
    if timings:
        bench.panels["training"] = timings


def _train(bench: Bench, case: Case) -> tuple[dict[str, Any], Timing]:
    torch.compiler.reset()
    gc.collect()
    trainer = bench.trainer(bench.recipe(case.model, case.batch, training__precision=case.precision), case.mode)
    batch, _ = trainer.trial()
    steps = _steps_a_round(lambda: float(trainer.train_step(batch)))

    def work() -> None:
        for each in repeat(batch, steps):
            trainer.train_step(each)

    [timing] = take_turns([Contender(str(case), work, case.batch * steps)], rounds=ROUNDS)
    record: dict[str, Any] = {"timing": asdict(timing), "micro_batch": trainer.step.micro_batch}
    if case.mode != "reduce-overhead":  # whose graphs have memory of their own
        trainer.state.optimizer.zero_grad()
        record["peak_mib"] = peak_bytes(lambda: trainer.train_step(batch), bench.device) / 2**20
    if bench.augment_ms and case.batch == bench.batch:
        augment_ms = bench.augment_ms["eager" if case.mode == "eager" else "compiled"]
        record["augmentation_share"] = augment_ms / 1e3 / (case.batch / timing.images_per_second)
        bench.row(f"augmentation of a step, {case}", f"{record['augmentation_share']:.1%}")
    return record, timing


def _steps_a_round(step: Callable[[], float]) -> int:
    """As many as take a second or so, after two that warm up; at most a chunk of parameters."""
    for _ in range(2):
        step()
    started = monotonic()
    step()
    return max(1, min(CHUNK, round(ROUND_SECONDS / (monotonic() - started))))


def _flops_an_image(bench: Bench, case: Case) -> float:
    recipe = bench.recipe(case.model, 2, training__precision=case.precision)
    assert recipe.data.path is not None
    task = Task(recipe, recipe.data.path, bench.device, False)
    bare = BareLoop(task)
    [(images, labels)] = task.fixed(1)
    return count_flops(lambda: bare.eager_loss(images, labels)) / 2


def _ceiling(bench: Bench, precision: str) -> float:
    """TFLOP/s of a large matrix product."""
    work, flops = matrix_product(bench.device, getattr(torch, precision))
    [timing] = take_turns([Contender(f"torch.mm, {precision}", work, 0)], rounds=2 if bench.quick else 7)
    ceiling = flops / timing.minimum / 1e12
    bench.row(f"matrix products, {precision}", f"{ceiling:.1f} TFLOP/s")
    return ceiling
