"""Models: timm's, with one gray input channel."""

from __future__ import annotations

from fastsketch.models.freezing import freeze_backbone
from fastsketch.models.zoo import SHORT_NAMES, create_model

__all__ = ["SHORT_NAMES", "create_model", "freeze_backbone"]
