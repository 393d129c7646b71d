"""MixUp and CutMix, each sample with a share and a box of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastsketch.augment import boxes
from fastsketch.config import AugmentConfig

MIX_UNIFORMS = 5
"""Random numbers of one sample's mixing: whether, how, the share, x and y of the box's centre."""

QUANTILES = 1024
"""Steps of the tabulated quantile function."""


class Targets(NamedTuple):
    """What a batch of mixed images shows.

    Attributes:
        labels: int64 [B].
        partners: int64 [B], the labels of the images mixed in.
        lam: float32 [B] in [0, 1], the share of `labels`; λ in the papers.
    """

    labels: Tensor
    partners: Tensor
    lam: Tensor

    @classmethod
    def plain(cls, labels: Tensor) -> Targets:
        """The targets of images that were not mixed."""
        return cls(labels, labels, torch.ones_like(labels, dtype=torch.float32))

    def dominant(self) -> Tensor:
        """The label with the larger share, int64 [B]: what an accuracy under mixing counts."""
        return torch.where(self.lam >= 0.5, self.labels, self.partners)


class Mix(NamedTuple):
    """How each image of a batch is mixed with its partner.

    Attributes:
        blend: float32 [B], the image's own weight outside the box (MixUp's λ; 1 for CutMix).
        box: int64 [B, 4]: left, top, right, bottom of what comes from the partner alone (empty for MixUp).
        lam: float32 [B], the share of the image's own label: MixUp's λ, or the area outside CutMix's box.
    """

    blend: Tensor
    box: Tensor
    lam: Tensor


def beta_quantiles(alpha: float) -> Tensor:
    """The quantile function of Beta(alpha, alpha) up to its median, in a form that is nearly straight.

    Returns:
        float32 [QUANTILES + 1]: (2 x)^β with β = min(alpha, 1), where x is the quantile of u, for u even in [0, 0.5].
        Near 0 the quantiles go as u^(1 / alpha), which no table could hold for a small alpha.
    """
    exponent = min(alpha, 1.0)
    # With s = (2 x)^β the density x^(α - 1) (1 - x)^(α - 1) dx becomes s^(α/β - 1) (1 - x)^(α - 1) ds: no pole is left.
    grid = np.linspace(0, 1, 2**16 + 1)
    density = grid ** (alpha / exponent - 1) * (1 - grid ** (1 / exponent) / 2) ** (alpha - 1)
    mass = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    even = np.linspace(0, mass[-1], QUANTILES + 1)
    return torch.tensor(np.interp(even, mass, grid), dtype=torch.float32)


def beta_shares(uniforms: Tensor, quantiles: Tensor, alpha: float) -> Tensor:
    """Uniform random numbers → Beta(alpha, alpha), through its quantile function: no rejection, no wait for the host.

    Args:
        uniforms: float32 [B] in [0, 1).
        quantiles: `beta_quantiles(alpha)`, on the same device.
        alpha: Both parameters of the distribution.
    """
    # The distribution is symmetric: the upper half mirrors the lower one.
    position = torch.minimum(uniforms, 1 - uniforms) * (2 * QUANTILES)
    index = position.long().clamp(max=QUANTILES - 1)
    straight = torch.lerp(quantiles[index], quantiles[index + 1], position - index)
    lower = straight ** (1 / min(alpha, 1.0)) / 2
    return torch.where(uniforms < 0.5, lower, 1 - lower)


def sample_mix(uniforms: Tensor, config: AugmentConfig, quantiles: tuple[Tensor, Tensor], size: int) -> Mix:
    """Random numbers → MixUp (Zhang et al., 2018), CutMix (Yun et al., 2019) or nothing, for each sample.

    Args:
        uniforms: float32 [B, MIX_UNIFORMS], uniform in [0, 1).
        config: With `mixup` or `cutmix` above 0.
        quantiles: `beta_quantiles` of `mixup` and of `cutmix` (of either alone if the other is 0).
        size: Side of the images in pixels.
    """
    chosen, kind, share, x, y = uniforms.unbind(dim=1)
    mixed = chosen < config.mix_probability
    cuts = mixed & (kind < _cutmix_share(config))
    blends = mixed & ~cuts
    blend = torch.where(blends, beta_shares(share, quantiles[0], config.mixup), 1) if config.mixup else 0 * share + 1
    box = torch.zeros(len(uniforms), 4, dtype=torch.int64, device=uniforms.device)
    if config.cutmix:
        # As in the authors' code: a box around any pixel, cut off at the image's edges.
        reach = (size * (1 - beta_shares(share, quantiles[1], config.cutmix)).sqrt()).long() // 2
        x, y = (x * size).long(), (y * size).long()
        corners = torch.stack([x - reach, y - reach, x + reach, y + reach], dim=1).clamp(0, size)
        box = corners * cuts.unsqueeze(1)
    # λ is what is left of the image, to the pixel, not what was drawn.
    lam = torch.where(cuts, 1 - boxes.area(box) / size**2, blend)
    return Mix(blend, box, lam)


def _cutmix_share(config: AugmentConfig) -> float:
    if config.mixup and config.cutmix:
        return config.cutmix_share
    return 1.0 if config.cutmix else 0.0


def mix_images(ink: Tensor, mix: Mix) -> Tensor:
    """Mix each image [B, 1, S, S] with the one before it in the batch (the batch is shuffled, so any will do)."""
    partners = ink.roll(1, dims=0)
    weights = torch.where(boxes.inside(mix.box, ink.shape[-1]), 0, mix.blend.view(-1, 1, 1, 1))
    return torch.lerp(partners, ink, weights)  # exact where a weight is 0 or 1


def mix_in_place(ink: Tensor, before: Tensor, blend: Tensor, box: Tensor) -> Tensor:
    """The same for a piece of a batch on a CPU, where the host may look and change only what is mixed.

    Args:
        ink: [P, 1, S, S], is mixed.
        before: [1, S, S], the image before the piece, unmixed.
        blend: As in `Mix`, of the piece.
        box: Likewise.

    Returns:
        The piece's last image as it was: the one before the next piece.
    """
    last = ink[-1].clone()
    mixes = list(zip(range(len(ink)), blend.tolist(), box.tolist(), strict=True))
    for index, share, (left, top, right, bottom) in reversed(mixes):  # so that every partner is still unmixed
        image, partner = ink[index], ink[index - 1] if index else before
        if share < 1:
            torch.lerp(partner, image, share, out=image)
        elif right > left:
            image[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
    return last


def mix_labels(labels: Tensor, mix: Mix) -> Targets:
    """The targets that go with `mix_images`; labels int64 [B]."""
    return Targets(labels, labels.roll(1, dims=0), mix.lam)
