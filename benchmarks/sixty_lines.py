"""What a reader of airbench writes in an afternoon: all images as one tensor on the device, Kornia, torch.compile.

Nothing of ours is in it. It decodes and resizes all files each time that it starts, mixes batches rather than samples,
and has no validation, no checkpoints, no scale for a float16 loss and no way to continue.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kornia.augmentation as K
import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def load(folder: Path, size: int) -> tuple[Tensor, Tensor]:
    """An ImageFolder as ink: uint8 [N, 1, S, S] with labels int64 [N]."""
    classes = sorted(path.name for path in folder.iterdir())
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).iterdir())]

    def decode(path: Path) -> Tensor:
        with Image.open(path) as image:
            return torch.tensor(255 - np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR)))

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(decode, [path for path, _ in files]))
    return torch.stack(images)[:, None], torch.tensor([label for _, label in files])


class SixtyLines:
    """A timm model and its whole training."""

    def __init__(
        self, folder: Path, model: str, size: int, batch: int, lr: float, device: torch.device, precision: torch.dtype
    ) -> None:
        self.images, self.labels = (tensor.to(device) for tensor in load(folder, size))
        self.batch, self.precision = batch, precision
        torch.manual_seed(0)
        self.model = timm.create_model(model, in_chans=1, num_classes=int(self.labels.max()) + 1, drop_rate=0.2)
        self.model.to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr, momentum=0.5, fused=True)
        affine = K.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=(-10, 10, -10, 10), p=1.0)
        self.geometry = K.AugmentationSequential(K.RandomHorizontalFlip(p=0.5), affine)
        self.mixup = K.RandomMixUpV2(p=0.5, data_keys=["input", "class"])
        self.cutmix = K.RandomCutMixV2(p=0.5, data_keys=["input", "class"], use_correct_lambda=True)

    def compile(self) -> None:
        """Forward pass and loss; of Kornia's modules compiled code is slower."""
        self.loss = torch.compile(self.loss, dynamic=False)  # type: ignore[method-assign]

    def loss(self, ink: Tensor, own: Tensor, other: Tensor, lam: Tensor) -> Tensor:
        """Mean cross-entropy with two labels a sample."""
        with torch.autocast(ink.device.type, self.precision, enabled=self.precision is not torch.float32):
            logits = self.model(1 - ink).float()
        own_loss, other_loss = (F.cross_entropy(logits, labels, reduction="none") for labels in (own, other))
        return (lam * own_loss + (1 - lam) * other_loss).mean()

    def augment(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ink float32 [B, 1, S, S] in [0, 1], its labels, its partners' labels, and its own share."""
        ink, labels = self.geometry(self.images[rows].float() / 255), self.labels[rows]
        if torch.rand(()) < 0.5:
            ink, [mixed] = self.cutmix(ink, labels)
            return ink, mixed[:, 0].long(), mixed[:, 1].long(), mixed[:, 2]
        ink, mixed = self.mixup(ink, labels)  # whose λ is the partner's share
        return ink, mixed[:, 0].long(), mixed[:, 1].long(), 1 - mixed[:, 2]

    def epoch(self) -> tuple[int, float]:
        """Train on all images once; return how many that were, and the mean loss."""
        losses = []
        order = torch.randperm(len(self.labels), device=self.labels.device)
        for rows in order[: len(order) // self.batch * self.batch].view(-1, self.batch):
            self.optimizer.zero_grad()
            loss = self.loss(*self.augment(rows))
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses.append(loss.detach())
        return len(losses) * self.batch, float(torch.stack(losses).mean())
