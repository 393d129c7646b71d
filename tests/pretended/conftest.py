"""A GPU that is pretended: tensors without content on `cuda:0`, for which no driver is needed.

What would wait for the device (`.item()`, a boolean mask, `if tensor:`) raises, because there is no value to wait for;
so does an operation on tensors of two devices. Autograd's engine alone wants the driver: no backward pass runs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

GPU = torch.device("cuda:0")


class Generator(NamedTuple):
    """Random numbers without content need no state."""

    device: torch.device = GPU

    def manual_seed(self, seed: int) -> Generator:
        return self


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device; everything within is pretended."""
    if torch.version.cuda is None:
        pytest.skip("this torch is built without CUDA")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the gpu tests need no pretence")
    drawn = torch.rand

    def rand(*shape: int, generator: object = None, device: torch.device | str = GPU) -> Tensor:
        return drawn(*shape, device=device)

    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr(torch, "Generator", Generator)
    with FakeTensorMode(allow_non_fake_inputs=True):  # made before CUDA is there: later it would look for the driver
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # else autocast does nothing
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: False)
        yield GPU
