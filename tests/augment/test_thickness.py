from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.morphology import erosion
from kornias import dilated
from sketches import ink_of, sketches

from fastsketch.augment.apply import apply_params
from fastsketch.augment.params import AugmentParams
from fastsketch.augment.thickness import dilate, erode

ORACLES = [(dilate, dilated), (erode, erosion)]
IDENTITY = torch.eye(2, 3)


@pytest.mark.parametrize(("ours", "kornias"), ORACLES, ids=["dilate", "erode"])
@given(sides=st.lists(st.integers(-1, 9), min_size=1, max_size=6), size=st.integers(8, 40), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_each_sample_is_kornias(ours, kornias, sides: list[int], size: int, seed: int) -> None:  # type: ignore[no-untyped-def]
    ink = torch.rand(len(sides), 1, size, size, generator=torch.Generator().manual_seed(seed))
    changed = ours(ink, torch.tensor(sides), 9)
    for index, side in enumerate(sides):
        element = torch.ones(max(side, 1), max(side, 1))
        assert torch.equal(changed[index : index + 1], kornias(ink[index : index + 1], element))


def test_two_pixels_widen_a_line_by_one() -> None:
    ink = torch.zeros(1, 1, 16, 16)
    ink[..., 5:7] = 1
    assert dilate(ink, torch.tensor([2]), 3).sum() == 16 * 3
    assert erode(ink, torch.tensor([2]), 3).sum() == 16 * 1
    assert erode(ink, torch.tensor([3]), 3).sum() == 0


def test_the_cpu_operator_does_the_same_as_the_functions_the_gpu_runs() -> None:
    images = sketches(12)
    thicker, thinner = torch.arange(12) % 5, (torch.arange(12) + 2) % 4
    sources = IDENTITY.expand(12, 2, 3)
    warped = 1 - apply_params(images, AugmentParams(sources), largest=5)
    torch.testing.assert_close(warped, ink_of(images), rtol=0, atol=1e-5)
    expected = erode(dilate(warped, thicker, 5), thinner, 5)
    assert torch.equal(
        1 - apply_params(images, AugmentParams(sources, thicker=thicker, thinner=thinner), largest=5), expected
    )


def test_blank_paper_stays_blank() -> None:
    blank = torch.zeros(3, 1, 16, 16)
    assert dilate(blank, torch.tensor([1, 2, 5]), 5).max() == 0
