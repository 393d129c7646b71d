"""What logits are to be multiplied by, that their probabilities can be believed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def best_scale(logits: Tensor, labels: Tensor) -> float:
    """The factor with the least cross-entropy; there is one minimum alone, for it is convex.

    It is 1 / temperature (Guo et al., *On Calibration of Modern Neural Networks*, 2017).

    Args:
        logits: Float [B, C].
        labels: int64 [B].

    Returns:
        Infinite in principle where every sample is recognised; not above 0 where chance would do better.
    """
    logits, labels = logits.double().cpu(), labels.cpu()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([scale], max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(logits * scale, labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return float(scale.detach())
