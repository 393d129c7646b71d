"""What do the report's six models cost, and how fast could a T4 train them at best?

    fastsketch bench costs

Nothing is timed: forward and backward pass run on fake tensors, and every operation's floating-point operations and
bytes are counted. Two ceilings follow from what a T4 sustains. *Compute* counts matrix products and convolutions
alone: nothing that trains in float16 there passes it. *Roofline* (Williams et al., 2009) takes each operation as a
kernel of its own that is bound by its arithmetic or by reading its inputs and writing its outputs, whichever takes
longer; a compiler that fuses elementwise operations goes beyond it, towards the first. The optimizer, the loader and
the augmentation are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from fastsketch import atomic
from fastsketch.config import ModelConfig
from fastsketch.environment import environment
from fastsketch.models import create_model

MODELS = ("vit_small", "vit_base", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2")
SIZE, CLASSES, BATCH = 224, 250, 32

T4_FLOPS = 24e12
"""float16 operations a second that a T4 sustains at its 70 W; 65e12 stand in its data sheet."""

T4_BANDWIDTH = 320e9
"""Bytes a second of its memory, from the data sheet."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One model's cost at 224 px with one gray channel and 250 classes.

    Attributes:
        model: Our name.
        parameters: All of them.
        forward_macs: Multiply-accumulate operations of one image's forward pass, in products and convolutions.
        training_flops: Floating-point operations of one image's forward and backward pass, likewise.
        training_bytes: Read and written for one image by all operations, in float16, with batches of 32.
        t4_compute: Images a second at most by arithmetic alone. Computed, not measured.
        t4_roofline: Images a second at most with a kernel for every operation. Computed, not measured.
    """

    model: str
    parameters: int
    forward_macs: float
    training_flops: float
    training_bytes: float
    t4_compute: float
    t4_roofline: float


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the operations, the bytes and the roofline seconds of everything that runs under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.bytes = self.seconds = 0.0

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Run one operation and count it."""
        out = func(*args, **(kwargs or {}))
        if func.is_view or func.namespace != "aten" or func is torch.ops.aten._unsafe_view.default:
            return out  # nothing is computed or moved
        counted = flop_registry.get(func.overloadpacket)
        if func is torch.ops.aten.convolution_backward.default:
            counted = _convolution_backward
        flops = counted(*args, **(kwargs or {}), out_val=out) if counted else 0
        moved = sum(leaf.nbytes for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor))
        self.flops += flops
        self.bytes += moved
        self.seconds += max(flops / T4_FLOPS, moved / T4_BANDWIDTH)
        return out


def _convolution_backward(*args: Any, out_val: Sequence[Tensor | None]) -> int:
    """Like the forward pass for each of the gradients asked for; torch 2.15 forgets the groups (ResNeXt: 5 times)."""
    gradient, weight = args[0], args[2]
    asked = sum(out is not None for out in out_val[:2])
    return int(asked * 2 * gradient.numel() * weight[0].numel())


def cost(name: str) -> Cost:
    """Count one model, without computing anything."""
    with torch.device("meta"):
        model = create_model(ModelConfig(name=name), num_classes=CLASSES, size=SIZE).half()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")  # attention is one operation on a CPU and on a T4, but not on the meta device
        images = torch.empty(BATCH, 1, SIZE, SIZE, dtype=torch.float16)
        forward, training = Tally(), Tally()
        with forward:
            model(images)
        with training:
            model(images).sum().backward()
        parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(
        model=name,
        parameters=parameters,
        forward_macs=forward.flops / 2 / BATCH,
        training_flops=training.flops / BATCH,
        training_bytes=training.bytes / BATCH,
        t4_compute=T4_FLOPS * BATCH / training.flops,
        t4_roofline=BATCH / training.seconds,
    )


def run(out: Path, *, quick: bool = False) -> Path:
    """Count the models, print the table, write JSON into `out`; return the JSON."""
    costs = [cost(name) for name in (MODELS[:1] if quick else MODELS)]
    columns: dict[str, Callable[[Cost], str]] = {
        "model": lambda each: each.model,
        "M parameters": lambda each: f"{each.parameters / 1e6:.1f}",
        "GMAC forward": lambda each: f"{each.forward_macs / 1e9:.2f}",
        "GFLOP training": lambda each: f"{each.training_flops / 1e9:.1f}",
        "MB moved": lambda each: f"{each.training_bytes / 1e6:,.0f}",
        "images/s, compute": lambda each: f"{each.t4_compute:,.0f}",
        "images/s, roofline": lambda each: f"{each.t4_roofline:,.0f}",
    }
    title = f"a training image of {SIZE} px, and a T4's ceilings: computed, not measured"
    table = Table(*columns, title=title, title_justify="left")
    for each in costs:
        table.add_row(*(column(each) for column in columns.values()))
    Console(highlight=False).print(table)
    path = out / "costs.json"
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "benchmark": "costs",
        "computed": "counted on fake tensors, not measured",
        "versions": environment()["versions"],
        "settings": {"size": SIZE, "classes": CLASSES, "batch": BATCH, "precision": "float16"},
        "t4": {"flops_per_second": T4_FLOPS, "bytes_per_second": T4_BANDWIDTH},
        "models": [asdict(each) for each in costs],
    }
    atomic.write_json(path, record)
    return path
