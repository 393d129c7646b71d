from __future__ import annotations

import pytest
import timm
import torch
from fastsketch_benchmarks.ink_study import RandomFill

from fastsketch.models.ink_tokens import ink_patches
from fastsketch.preprocess import Preprocess


@pytest.mark.parametrize("inked", [2, 9])
def test_random_fill_keeps_the_ink_and_fills_up_with_any_blank_paper(inked: int) -> None:
    model = timm.create_model("test_vit", in_chans=1, img_size=64, num_classes=3).train()
    patches = ink_patches(model, Preprocess(64))
    patches.__class__ = RandomFill
    images = torch.ones(500, 1, 64, 64)
    images[:, :, :16, : 16 * min(inked, 4)] = 0
    images[:, :, 16:32, : 16 * max(0, min(inked - 4, 4))] = 0
    images[:, :, 32:48, : 16 * max(0, inked - 8)] = 0
    kept, holds = patches.choose(patches.cut(images), 4)
    assert kept.shape == (500, 4)
    assert all(len(set(row)) == 4 for row in kept.tolist())
    assert holds.sum(dim=1).tolist() == [inked] * 500
    seen = holds.gather(1, kept).sum(dim=1)
    assert seen.tolist() == [min(inked, 4)] * 500
    if inked < 4:  # the far corner as often as the patch beside the ink: 500 · 2 / 14 times each
        often = torch.bincount(kept.flatten(), minlength=16)[inked:]
        assert 40 < often.min() <= often.max() < 110
