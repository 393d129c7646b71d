"""What is computed for a T4, against formulas; and that the augmentation compiles for one.

With the slow tests that of every recipe and every kernel; else the least and the most augmentation that a recipe asks
for, with all of its kernels, and every fourth of the model's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import timm
import torch

from fastsketch.recipes import recipe_names

if torch.version.cuda is None:
    pytest.skip("this torch is built without CUDA", allow_module_level=True)
if not torch.__version__.startswith("2.15."):
    pytest.skip("the pretended T4 rests on internals of torch 2.15", allow_module_level=True)
if torch.cuda.is_available():
    pytest.skip("there is a GPU: `bench gpu` measures it", allow_module_level=True)

from fastsketch_benchmarks import t4
from fastsketch_benchmarks.cubins import Cubin
from fastsketch_benchmarks.lowered import Launch, Lowered, count_flops
from fastsketch_benchmarks.lowered_step import CLASSES, SIZE

RECIPES = ("report-1-affine", "vit-base-224")
STEP = 4

SHARE = f"""
import sys
from pathlib import Path
from fastsketch_benchmarks import t4

lower, compile_all, augmenting = t4.lower_augmentation, t4.compile_kernels, set()

def lower_augmentation(*arguments):
    found = lower(*arguments)
    augmenting.update(found.sources.values())
    return found

def compile_share(sources, capabilities):
    numbered = enumerate(dict.fromkeys(sources))
    return compile_all([each for number, each in numbered if not number % {STEP} or each in augmenting], capabilities)

t4.recipe_names, t4.lower_augmentation, t4.compile_kernels = lambda: {RECIPES}, lower_augmentation, compile_share
t4.run(Path(sys.argv[1]), quick=True)
"""


@pytest.fixture(scope="module", params=["a share", pytest.param("whole", marks=pytest.mark.slow)])
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    # In a process of its own: what is pretended must not meet what other tests have left in Inductor, nor stay behind.
    if request.param == "whole":
        command = ["-m", "fastsketch", "bench", "t4", "--quick", "--out", str(folder)]
    else:
        command = ["-c", SHARE, str(folder)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=600)
    found: dict[str, Any] = json.loads((folder / "t4-quick.json").read_text())
    return found


def test_it_says_that_nothing_was_measured(record: dict[str, Any]) -> None:
    assert "not measured" in record["computed"]
    assert record["not_lowered"] == {}


def test_a_vits_operations_are_those_of_the_formula(record: dict[str, Any]) -> None:
    [step] = record["steps"]
    model = timm.create_model("test_vit", img_size=SIZE, in_chans=1, num_classes=CLASSES)
    width, depth, hidden = model.embed_dim, len(model.blocks), model.blocks[0].mlp.fc1.out_features
    patches = (SIZE // 16) ** 2
    # Query, key, value and output are four products of width², and all products come twice more in the backward pass;
    # attention's two are five there, for one is made anew. The patches' input needs no gradient.
    tokens = patches + 1
    products = depth * tokens * (4 * width**2 + 2 * width * hidden) + CLASSES * width
    attention = depth * tokens**2 * width
    embedding = patches * 16**2 * width
    macs = 3 * products + (2 + 5) * attention + 2 * embedding
    assert step["flops"] == pytest.approx(2 * step["batch"] * macs, rel=0.01)


def test_the_parts_of_a_step_are_what_they_must_at_least_be(record: dict[str, Any]) -> None:
    [step] = record["steps"]
    weights = 4 * step["parameters"]
    assert step["peak_bytes"] > 3 * weights, "weights, momentum and gradients, in float32"
    assert step["bytes"] > 28 / 4 * weights + step["batch"] * SIZE**2 * (1 + 4), "the update, and the images"
    assert 0 < step["augment_share"] < 0.2


def test_the_augmentation_is_two_kernels_and_one_for_the_labels(record: dict[str, Any]) -> None:
    assert set(record["augmentation"]) in (set(RECIPES), set(recipe_names()))
    for name, found in record["augmentation"].items():
        assert found["launches"] <= 3, name
        assert found["megabytes_an_image"] < 0.66, name
        assert found["params_a_step"] < 10, name


def test_every_kernel_compiles_for_a_t4_without_a_spill_or_float64(record: dict[str, Any]) -> None:
    [(capability, counts)] = record["kernels"].items()
    assert capability == "75"
    whole = set(record["augmentation"]) == set(recipe_names())
    assert counts["compile"] == counts["kernels"] > (50 if whole else 50 // STEP)
    assert counts["largest_bytes"] > 1000
    assert record["remarkable_kernels"] == []


def test_what_is_dear_in_a_kernel_is_said() -> None:
    kernels = [
        Cubin("good", 75, 4000),
        Cubin("spills", 75, 4000, spilled=32),
        Cubin("slow", 75, 4000, float64=True, product=True),
        Cubin("fails", 75, error="no ptx"),
    ]
    assert list(t4.remarks(kernels)) == [
        "sm_75: 3 of 4 kernels compile",
        "  spills spills 32 bytes a thread",
        "  slow computes in float64, multiplies matrices in Triton",
        "  fails does not compile: no ptx",
    ]


def test_a_launch_takes_as_long_as_its_bytes_or_its_operations() -> None:
    launches = [Launch("moves", False, 320, 0), Launch("computes", True, 0, 48), Launch("both", True, 320, 24)]
    device = t4.Device("one", flops=24.0, bandwidth=320.0, memory=1.0)
    assert t4.roofline(launches, device) == 1 + 2 + 1


def test_grouped_convolutions_count_by_their_groups() -> None:
    aten = torch.ops.aten
    images, weight = torch.empty(2, 32, 8, 8, device="meta"), torch.empty(64, 4, 3, 3, device="meta")
    out = torch.empty(2, 64, 8, 8, device="meta")
    forward = (images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 8)
    once = count_flops(aten.convolution.default, forward, {}, out)
    assert once == 2 * out.numel() * 4 * 9
    backward = (out, images, weight, [0], [1, 1], [1, 1], [1, 1], False, [0, 0], 8, [True, True, False])
    assert count_flops(aten.convolution_backward.default, backward, {}, (images, weight, None)) == 2 * once


def test_what_does_not_fit_is_said() -> None:
    part = Lowered((Launch("kernel", False, 1, 1),), {"kernel": ""}, peak_bytes=int(20e9))
    step = t4.summary("vit_small", None, 64, part, [part])
    assert not step.fits
    assert "too much for a T4" in t4.table([step])
