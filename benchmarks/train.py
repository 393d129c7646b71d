"""How close does training come to the bare model, and how far is it from what users write now?

    fastsketch bench train

Every table is there twice: with everything eager, and with everything compiled that can be.

*A step*, on sketches of 224 px that lie on the device. `fastsketch` is `Trainer`: batch, parameters, augmentation,
model, optimizer. `bare step` is forward, loss, backward and optimizer on one float tensor, the upper bound;
`augmentation` is ours alone. A loop with nothing in its way takes the sum of the two; the aim is 1.05 times that. The
three are compared within each round, a few seconds long, and the median of the rounds counts: a shared machine's speed
drifts by more than the few percent that are looked for.

*End to end*, an epoch over 1111 px originals with a small CNN, in the same precision and memory order for all:

| contender               | reads                              | augments                   | step                    |
|-------------------------|------------------------------------|----------------------------|-------------------------|
| fastsketch              | a data set converted before        | affine, MixUp or CutMix    | ours                    |
| tensor, Kornia          | one tensor, decoded when it starts | the same, from Kornia      | plain: `sixty_lines.py` |
| ImageFolder, resized    | PNGs that were resized before      | the same, torchvision's v2 | plain                   |
| timm                    | originals                          | crop, MixUp or CutMix      | `timm.task`             |
| torchvision ImageFolder | originals                          | the same, torchvision's v2 | plain                   |

Files are decoded gray, in as many worker processes as there are cores; they have started before the clock does.
Thickness is left out, which only ours has. How much faster ours is depends on what the model itself costs: all loops
pay for the model, and only what the others pay besides is saved. A model that is dear enough brings the ratio to one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from fastsketch.config import Recipe
from fastsketch.device import resolve_device
from fastsketch.recipes import load_recipe
from fastsketch.training.execution.precision import FAST_BFLOAT16
from fastsketch.workers import available_cpus

from .common import Timing, write_results
from .epochs import SPEEDUP, compare_epochs
from .loops import Task
from .originals import Originals
from .plots import plot_panels
from .steps import OVERHEAD, compare_steps

RECIPE = "report-4-thickness"

STEP_MODELS = ("vit_tiny_patch16_224", "resnet18")


class SmallModel(NamedTuple):
    """A small CNN that is trained end to end, on a CPU with this batch size and so many sketches a class."""

    name: str
    size: int
    batch: int
    per_class: int


SMALL_MODELS = (
    SmallModel("lcnet_050", 64, batch=128, per_class=60),
    SmallModel("tf_efficientnet_lite0", 128, batch=32, per_class=12),
)
"""One whose own cost is small, and the model and size of the recipe `quick`."""

GPU_MODEL, GPU_BATCH = "vit_base", 64


class Scale(NamedTuple):
    """How large everything is.

    Attributes:
        batch: Of a step, and on a GPU of an epoch.
        copies: Of each original.
        step_rounds: Rounds of the tables of steps.
        epoch_rounds: And of epochs.
    """

    step_models: tuple[str, ...]
    small_models: tuple[SmallModel, ...]
    size: int
    per_class: int
    batch: int
    copies: int
    step_rounds: int
    epoch_rounds: int


QUICK = Scale(("test_vit",), (SmallModel("test_efficientnet", 32, 16, 6),), 32, 6, 16, 1, 2, 1)
ON_CPU = Scale(STEP_MODELS, SMALL_MODELS, 224, 60, 16, 1, 11, 3)
ON_GPU = Scale(STEP_MODELS, SMALL_MODELS, 224, 60, 128, 10, 21, 5)


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its tables, write JSON and a plot into `out`; return the JSON.

    Args:
        out: Folder for the results.
        quick: Tiny models and few rounds: to see that it runs.
    """
    device = resolve_device("auto")
    on_gpu = device.type == "cuda"
    scale = QUICK if quick else ON_GPU if on_gpu else ON_CPU
    console = Console(highlight=False)
    results: dict[str, dict[str, object]] = {}
    panels: dict[str, list[Timing]] = {}
    settings = {
        "recipe": RECIPE,
        "workers": available_cpus(),
        "aims": {"over_bare_and_augmentation": OVERHEAD, "over_image_folder": SPEEDUP},
        "quick": quick,
    }

    def add(title: str, found: tuple[list[Timing], dict[str, object]]) -> Path:
        """Write all there is after every table: a run that is broken off leaves what it has measured."""
        panels[title], results[title] = found
        path = write_results(out, "train", settings, [], results=results)
        plot_panels(path.with_suffix(".png"), panels)
        return path

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        data = Originals(root / "steps", copies=1, per_class=scale.per_class)
        steps = [_recipe(model, scale.batch) for model in scale.step_models]
        if on_gpu and not quick:
            steps += [_recipe(GPU_MODEL, GPU_BATCH, precision=half) for half in gpu_precisions(device)]
        for recipe, compiled in [(recipe, compiled) for recipe in steps for compiled in (False, True)]:
            task = Task(recipe, data.converted(scale.size), device, compiled)
            title = f"a step of {_title(task)}"
            path = add(title, compare_steps(task, console, title, rounds=scale.step_rounds))
        for small in scale.small_models:
            originals = Originals(root / small.name, copies=scale.copies, per_class=small.per_class)
            recipe = _recipe(small.name, scale.batch if on_gpu else small.batch, thickness=0)
            for compiled in (False, True):
                task = Task(recipe, originals.converted(small.size), device, compiled)
                title = f"an epoch of {_title(task)}"
                path = add(title, compare_epochs(task, originals, console, title, rounds=scale.epoch_rounds))
    return path


def gpu_precisions(device: torch.device) -> list[str]:
    """Half precisions that the GPU multiplies in hardware."""
    fast = torch.cuda.get_device_capability(device) >= FAST_BFLOAT16
    return ["float16", "bfloat16"] if fast else ["float16"]


def _recipe(model: str, batch: int, *, thickness: float | None = None, precision: str | None = None) -> Recipe:
    return load_recipe(
        RECIPE,
        model__name=model,
        data__batch_size=batch,
        augment__thickness=thickness,
        training__precision=precision,
    )


def _title(task: Task) -> str:
    precision = str(task.precision).removeprefix("torch.")
    how = "compiled" if task.compiled else "eager"
    return f"{task.recipe.model.name}, batch {task.batch}, {task.dataset.size} px, {precision} on {task.device}, {how}"
