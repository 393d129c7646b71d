"""A step that is over in milliseconds."""

from __future__ import annotations

import torch
from torch import nn

from fastsketch.augment import SketchAugment
from fastsketch.config import AugmentConfig, TrainingConfig
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution.step import TrainStep

SIZE, CLASSES, BATCH = 16, 5, 8


def small_model(*, batch_norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.GELU(), nn.Flatten(), nn.Linear(4 * 14 * 14, CLASSES))


def make_step(
    model: nn.Module,
    *,
    micro_batch: int = BATCH,
    precision: torch.dtype = torch.float32,
    device: str = "cpu",
    **config: object,
) -> tuple[TrainStep, SketchAugment]:
    augment = SketchAugment(AugmentConfig(mixup=1, cutmix=1, thickness=0.5), Preprocess(SIZE)).to(device)
    step = TrainStep(
        model.to(device),
        augment,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, fused=device == "cuda"),
        torch.amp.GradScaler(device, enabled=precision is torch.float16),
        precision=precision,
        micro_batch=micro_batch,
        config=TrainingConfig(**config),  # type: ignore[arg-type]
    )
    return step, augment
