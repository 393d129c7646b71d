"""How many patches a vision transformer with ink tokens sees, from step to step."""

from __future__ import annotations

from collections.abc import Iterator

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
        kinds: Whether a step is dense → the share of such steps, for each kind that there is.
    """

    def __init__(self, config: ModelConfig, model: nn.Module) -> None:
        self._model, self._tokens = model, config.tokens if isinstance(config.tokens, int) else None
        self._share = config.dense_steps if self._tokens else 0.0
        self.kinds = {False: 1 - self._share, True: self._share} if self._share else {False: 1.0}

    def is_dense(self, step: int) -> bool:
        """Whether this step, counted from 0 over the whole training, shows all patches."""
        return int((step + 1) * self._share) > int(step * self._share)

    def show(self, *, dense: bool) -> None:
        """Let the model see all patches in training, or its number of them."""
        if self._share:
            patches = self._model.patch_embed
            assert isinstance(patches, InkPatchEmbed)
            patches.tokens = None if dense else self._tokens

    def in_turn(self) -> Iterator[float]:
        """Show each kind of step, one after the other; yields its share of the training."""
        for dense, share in self.kinds.items():
            self.show(dense=dense)
            yield share
