from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_leaves

from fastsketch.augment import SketchAugment
from fastsketch.augment.params import AugmentParams
from fastsketch.config import AugmentConfig
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training.step_params import CHUNK, StepParams

BATCH = 3
CPU = torch.device("cpu")
EVERYTHING = AugmentConfig(
    thickness=0.5, thickness_range=(2, 4), thinning=0.5, mixup=1, cutmix=1, perspective=0.2, elastic=0.02, erasing=0.5
)


class Counting(SketchAugment):
    """Counts how often it is asked to draw."""

    draws = 0

    def sample_params(self, batch_size: int, generator: torch.Generator) -> AugmentParams:
        self.draws += 1
        return super().sample_params(batch_size, generator)


def made(seed: int = 0, size: int = 32) -> StepParams:
    return StepParams(SketchAugment(EVERYTHING, Preprocess(size)), BATCH, seed, CPU)


def tensors(params: AugmentParams) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(params) if isinstance(leaf, Tensor)]


def same(first: AugmentParams, second: AugmentParams) -> bool:
    return all(torch.equal(*pair) for pair in zip(tensors(first), tensors(second), strict=True))


@given(st.integers(0, 5 * CHUNK), st.lists(st.integers(0, 5 * CHUNK), max_size=4))
def test_a_step_has_the_same_parameters_wherever_training_is_taken_up(step: int, before: list[int]) -> None:
    elsewhere = made()
    for other in before:
        elsewhere.of(other)
    assert same(elsewhere.of(step), made().of(step))


def test_no_two_steps_have_the_same_and_no_two_seeds() -> None:
    one, other = made(), made(seed=1)
    steps = [*(one.of(step) for step in range(2 * CHUNK + 1)), *(other.of(step) for step in range(CHUNK))]
    geometries = {params.sources.numpy().tobytes() for params in steps}
    assert len(geometries) == len(steps)


@pytest.mark.parametrize(
    "config", [EVERYTHING, load_recipe("report-4-thickness").augment], ids=["everything", "report"]
)
def test_a_steps_parameters_are_for_a_batch_and_lie_where_a_kernel_reads_them_fast(config: AugmentConfig) -> None:
    for leaf in tensors(StepParams(SketchAugment(config, Preprocess(32)), BATCH, 0, CPU).of(CHUNK + 1)):
        assert len(leaf) == BATCH
        assert leaf.is_contiguous()


def test_a_chunk_is_drawn_once() -> None:
    augment = Counting(EVERYTHING, Preprocess(32))
    params = StepParams(augment, BATCH, 0, CPU)
    for step in range(2 * CHUNK):
        params.of(step)
    assert augment.draws == 2
