from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.augmentation import RandomErasing
from sketches import ink_of, sketches

from fastsketch.augment import boxes
from fastsketch.augment.apply import apply_params
from fastsketch.augment.params import AugmentParams


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, boxes.ERASING_UNIFORMS, generator=torch.Generator().manual_seed(seed))


def test_erasing_is_kornias_given_the_same_boxes() -> None:
    images = sketches(16)
    erased = boxes.erasing_boxes(drawn(16), 0.7, (0.02, 0.33), 64)
    left, top, right, bottom = erased.float().unbind(dim=1)
    kornias = RandomErasing(p=1.0)
    parameters = {"widths": right - left, "heights": bottom - top, "xs": left, "ys": top, "values": torch.zeros(16)}
    sources = torch.eye(2, 3).expand(16, 2, 3)
    ours = 1 - apply_params(images, AugmentParams(sources, erased=erased), largest=1)
    chosen = boxes.area(erased) > 0
    expected = kornias.apply_transform(ink_of(images), parameters, {})
    torch.testing.assert_close(ours[chosen], expected[chosen], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[~chosen], ink_of(images)[~chosen], rtol=0, atol=1e-5)
    assert 0 < chosen.sum() < 16


@given(seed=st.integers(0, 2**31), smallest=st.floats(0, 1), extra=st.floats(0, 1), size=st.integers(8, 300))
@settings(deadline=None, max_examples=100)
def test_erased_boxes_lie_inside(seed: int, smallest: float, extra: float, size: int) -> None:
    found = boxes.erasing_boxes(drawn(64, seed), 1, (smallest, min(1.0, smallest + extra)), size)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= size).all()
    assert (found[:, 2:] >= found[:, :2]).all()


def test_erased_area_is_the_share_asked_for() -> None:
    found = boxes.erasing_boxes(drawn(4000), 1, (0.1, 0.1), 224)
    assert boxes.area(found).float().mean().item() / 224**2 == pytest.approx(0.1, rel=0.02)


def test_inside_counts_the_area() -> None:
    found = boxes.erasing_boxes(drawn(64), 0.5, (0.02, 0.33), 50)
    assert torch.equal(boxes.inside(found, 50).sum(dim=(1, 2, 3)), boxes.area(found))
