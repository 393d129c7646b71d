from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sketches import ink_of, sketches
from torch import Tensor

from fastsketch.augment import boxes
from fastsketch.augment.mix import (
    MIX_UNIFORMS,
    Mix,
    beta_quantiles,
    beta_shares,
    mix_images,
    mix_labels,
    sample_mix,
)
from fastsketch.config import AugmentConfig

SIZE = 48


def params(count: int, config: AugmentConfig, seed: int = 0) -> tuple[Tensor, Mix]:
    uniforms = torch.rand(count, MIX_UNIFORMS, generator=torch.Generator().manual_seed(seed))
    tables = beta_quantiles(config.mixup or 1), beta_quantiles(config.cutmix or 1)
    return uniforms, sample_mix(uniforms, config, tables, SIZE)


# ------------------------------------------------------------------------------------------------ Beta(α, α)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.5, 2.0, 8.0, 32.0])
def test_shares_follow_beta(alpha: float) -> None:
    """Kolmogorov's and Smirnov's two-sample test against NumPy's generator."""
    count = 200_000
    uniforms = torch.rand(count, generator=torch.Generator().manual_seed(3))
    shares = beta_shares(uniforms, beta_quantiles(alpha), alpha).numpy()
    oracle = np.random.default_rng(0).beta(alpha, alpha, count).astype(np.float32)
    everywhere = np.concatenate([shares, oracle])
    ours, theirs = (np.searchsorted(np.sort(each), everywhere, side="right") / count for each in (shares, oracle))
    assert np.abs(ours - theirs).max() < 1.95 * np.sqrt(2 / count)  # one in a thousand is further off


@pytest.mark.parametrize(
    ("alpha", "distribution"),
    [
        (0.5, lambda x: 2 / np.pi * np.arcsin(np.sqrt(x))),
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
        (3.0, lambda x: 10 * x**3 - 15 * x**4 + 6 * x**5),
    ],
)
def test_shares_are_the_quantiles(alpha: float, distribution: Callable[[np.ndarray], np.ndarray]) -> None:
    uniforms = torch.linspace(0.005, 0.995, 991)
    shares = beta_shares(uniforms, beta_quantiles(alpha), alpha).double().numpy()
    np.testing.assert_allclose(distribution(shares), uniforms.numpy(), atol=1e-5)


@given(alpha=st.floats(1e-300, 32), uniform=st.floats(0, 1, exclude_max=True, width=32))
@settings(deadline=None, max_examples=100)
def test_shares_are_never_nan(alpha: float, uniform: float) -> None:
    share = beta_shares(torch.tensor([uniform, 0.0, 1 - 2**-24]), beta_quantiles(alpha), alpha)
    assert ((share >= 0) & (share <= 1)).all()


# ------------------------------------------------------------------------------------- the papers, in plain NumPy


def numpy_mixup(images: np.ndarray, lam: np.ndarray) -> np.ndarray:
    return np.stack([lam[i] * images[i] + (1 - lam[i]) * images[i - 1] for i in range(len(images))])


def numpy_cutmix(images: np.ndarray, lam: np.ndarray, cx: np.ndarray, cy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As rand_bbox and train of the authors' repository, for every image instead of every batch."""
    mixed, corrected = images.copy(), []
    height, width = images.shape[-2:]
    for i in range(len(images)):
        cut_w, cut_h = int(width * np.sqrt(1 - lam[i])), int(height * np.sqrt(1 - lam[i]))
        x1, x2 = np.clip([cx[i] - cut_w // 2, cx[i] + cut_w // 2], 0, width)
        y1, y2 = np.clip([cy[i] - cut_h // 2, cy[i] + cut_h // 2], 0, height)
        mixed[i, :, y1:y2, x1:x2] = images[i - 1][:, y1:y2, x1:x2]
        corrected.append(1 - (x2 - x1) * (y2 - y1) / (width * height))
    return mixed, np.array(corrected)


def test_mixup_is_the_papers() -> None:
    ink = ink_of(sketches(32, SIZE))
    uniforms, mix = params(32, AugmentConfig(mixup=0.4))
    lam = beta_shares(uniforms[:, 2], beta_quantiles(0.4), 0.4)
    assert torch.equal(mix.lam, lam)
    np.testing.assert_allclose(mix_images(ink, mix).numpy(), numpy_mixup(ink.numpy(), lam.numpy()), atol=1e-6)


def test_cutmix_is_the_papers() -> None:
    ink = ink_of(sketches(32, SIZE))
    uniforms, mix = params(32, AugmentConfig(cutmix=1))
    centres = (uniforms[:, 3:] * SIZE).int().numpy()
    expected, lam = numpy_cutmix(ink.numpy(), uniforms[:, 2].numpy(), centres[:, 0], centres[:, 1])
    np.testing.assert_array_equal(mix_images(ink, mix).numpy(), expected)
    np.testing.assert_allclose(mix.lam.numpy(), lam, atol=1e-6)


@given(seed=st.integers(0, 2**31), alpha=st.floats(0.05, 8), share=st.floats(0, 1), probability=st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_lambda_is_what_the_pixels_say(seed: int, alpha: float, share: float, probability: float) -> None:
    # Every image is full of ink and its partner blank, in turns: the mean ink is the share of the one with ink.
    ink = torch.tensor([1.0, 0.0]).repeat(8).view(16, 1, 1, 1).expand(16, 1, SIZE, SIZE)
    config = AugmentConfig(mixup=alpha, cutmix=alpha, cutmix_share=share, mix_probability=max(probability, 1e-3))
    _, mix = params(16, config, seed)
    mixed = mix_images(ink, mix)
    assert 0 <= mixed.min() <= mixed.max() <= 1
    own = mixed.mean(dim=(1, 2, 3))
    own[1::2] = 1 - own[1::2]
    torch.testing.assert_close(own, mix.lam, rtol=0, atol=1e-5)


def test_both_are_chosen_sample_by_sample() -> None:
    _, mix = params(4000, AugmentConfig(mixup=1, cutmix=1, cutmix_share=0.3, mix_probability=0.5))
    cut = boxes.area(mix.box) > 0
    blended = mix.blend < 1
    assert not (cut & blended).any()
    # 0.15, less the few boxes that come out empty.
    assert cut.float().mean().item() == pytest.approx(0.15, abs=0.02)
    assert blended.float().mean().item() == pytest.approx(0.35, abs=0.02)
    assert len(mix.blend[blended].unique()) > 1000


def test_partners_labels_go_with_partners_pixels() -> None:
    labels = torch.arange(6)
    ink = labels.float().div(10).view(6, 1, 1, 1).expand(6, 1, SIZE, SIZE)
    nothing = Mix(torch.zeros(6), torch.zeros(6, 4, dtype=torch.int64), torch.zeros(6))
    targets = mix_labels(labels, nothing)
    torch.testing.assert_close(mix_images(ink, nothing)[:, 0, 0, 0], targets.partners / 10)
    assert torch.equal(targets.labels, labels)
    assert (targets.partners != targets.labels).all()
    assert torch.equal(targets.dominant(), targets.partners)
