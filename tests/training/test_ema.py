from __future__ import annotations

from collections import Counter
from typing import Any

import timm
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastsketch.training.ema import Ema

LAYERS = 15
"""Of batch normalisation, in the model below."""


def model() -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model("test_resnet", in_chans=1, num_classes=5)
    return made


def learn(trained: nn.Module) -> None:
    with torch.no_grad():
        for tensor in trained.state_dict().values():
            tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)


def test_it_is_timms_to_the_bit() -> None:
    trained = model()
    ours, theirs = Ema(trained, 0.9), ModelEmaV3(trained, decay=0.9, use_warmup=True)
    for step in range(1, 40):
        learn(trained)
        ours.follow(step)
        theirs.update(trained, step)
        assert all(
            torch.equal(mine, other)
            for mine, other in zip(ours.module.state_dict().values(), theirs.module.state_dict().values(), strict=True)
        )
    assert int(ours.module.state_dict()["bn1.num_batches_tracked"]) == 39


def test_it_goes_on_from_what_was_loaded() -> None:
    """Loading copies into the tensors that were looked up."""
    trained, other = model(), model()
    learn(other)
    average = Ema(trained, 0.9)
    average.module.load_state_dict(other.state_dict())
    trained.load_state_dict(other.state_dict())
    learn(trained)
    before = {name: tensor.clone() for name, tensor in average.module.state_dict().items()}
    average.follow(10**6)
    for name, tensor in average.module.state_dict().items():
        now = trained.state_dict()[name]
        expected = torch.lerp(before[name], now, 1 - 0.9) if tensor.is_floating_point() else now
        torch.testing.assert_close(tensor, expected)


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_is_two_kernels() -> None:
    trained = model()
    average = Ema(trained, 0.9)
    assert sum("num_batches_tracked" in name for name in trained.state_dict()) == LAYERS
    with Operations() as operations:
        average.follow(1)
    assert operations.counts == {"aten._foreach_lerp_.Scalar": 1, "aten._foreach_copy_.default": 1}
