"""The loss of images that show two classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastsketch.augment import Targets


def mixed_cross_entropy(logits: Tensor, targets: Targets, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with two labels a sample: λ · CE(labels) + (1 - λ) · CE(partners), in float32.

    The same as `torch.nn.functional.cross_entropy` with dense targets, which it does without.

    Args:
        logits: float [B, C].
        targets: Labels in 0 … C - 1.
        label_smoothing: Share of the target spread over all classes (Szegedy et al., 2016).
    """
    log_probabilities = F.log_softmax(logits.float(), dim=1)
    own = log_probabilities.gather(1, targets.labels.unsqueeze(1)).squeeze(1)
    partners = log_probabilities.gather(1, targets.partners.unsqueeze(1)).squeeze(1)
    loss = -torch.lerp(partners, own, targets.lam)
    if label_smoothing:
        loss = torch.lerp(loss, -log_probabilities.mean(dim=1), label_smoothing)
    return loss.mean()
