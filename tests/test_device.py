from __future__ import annotations

import pytest
import torch

from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError


def test_auto_is_a_device() -> None:
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    "name",
    [
        "meta",
        "cuda:99",
        "xpu",
        "",
        "nonsense",
        "mkldnn",
        "vulkan",
        "lazy",
        "privateuseone",
        "cpu\n",
        "x" * 1000,
        "cuda:-1",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_devices_that_compute_nothing_are_refused_in_one_line(name: str) -> None:
    """Low: `--device meta`."""
    with pytest.raises(ConfigError, match=r"^device '.*' cannot be used: ") as caught:
        resolve_device(name)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
