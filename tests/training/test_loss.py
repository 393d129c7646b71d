from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastsketch.augment import Targets
from fastsketch.training.loss import mixed_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_loss_is_cross_entropy_with_dense_targets(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 7, generator=generator, dtype=torch.float32, requires_grad=True)
    labels, partners = torch.randint(0, 7, (2, 20), generator=generator)
    targets = Targets(labels, partners, torch.rand(20, generator=generator))
    dense = targets.lam[:, None] * F.one_hot(labels, 7) + (1 - targets.lam)[:, None] * F.one_hot(partners, 7)
    expected = F.cross_entropy(logits, dense, label_smoothing=smoothing)
    ours = mixed_cross_entropy(logits, targets, smoothing)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, expected)))


def test_loss_of_plain_targets_is_plain_cross_entropy() -> None:
    logits, labels = torch.randn(20, 7), torch.randint(0, 7, (20,))
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(mixed_cross_entropy(logits, Targets.plain(labels), 0.1), expected)


def test_loss_is_float32_whatever_the_logits_are() -> None:
    logits = torch.full((2, 3), 60_000.0, dtype=torch.float16)
    loss = mixed_cross_entropy(logits, Targets.plain(torch.tensor([0, 1])))
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_a_label_out_of_range_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        mixed_cross_entropy(torch.randn(2, 3), Targets.plain(torch.tensor([0, 3])))
