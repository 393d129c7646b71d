"""How many patches a vision transformer with ink tokens sees, from step to step."""

from __future__ import annotations

from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.models.ink_tokens import InkPatchEmbed


class TokenSchedule:
    """Which steps of a training show the model all patches: a share of them, evenly spread (`model.dense_steps`).

    It follows from a step's number alone, so that resumed runs and several processes agree.

    Args:
        config: Its `tokens` are resolved.
        model: After `apply_tokens`.

    Attributes:
        share: Of the steps that are dense; 0 where the model sees the same number always.
    """

    def __init__(self, config: ModelConfig, model: nn.Module) -> None:
        patches = getattr(model, "patch_embed", None)
        self._patches = patches if isinstance(patches, InkPatchEmbed) and config.tokens != "all" else None
        self._tokens = self._patches and self._patches.tokens
        self.share = config.dense_steps if self._patches else 0.0

    @property
    def kinds(self) -> tuple[bool, ...]:
        """Whether a step is dense, for each kind of step that there is."""
        return (False, True) if self.share else (False,)

    def is_dense(self, step: int) -> bool:
        """Whether this step, counted from 0 over the whole training, shows all patches."""
        return int((step + 1) * self.share) > int(step * self.share)

    def show(self, *, dense: bool) -> None:
        """Let the model see all patches in training, or its number of them."""
        if self._patches is not None and self.share:
            self._patches.tokens = None if dense else self._tokens
