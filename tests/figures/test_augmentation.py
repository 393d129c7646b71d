from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from sketches import sketches

from fastsketch.config import AugmentConfig
from fastsketch.figures.augmentation import preview_rows
from fastsketch.recipes import load_recipe

CLASSES = ["ant", "a class with a very long name indeed", "cat"]


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, run_fastsketch: Run) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    for index, image in enumerate(sketches(12)):
        target = folder / "raw" / "train" / CLASSES[index % 3]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(target / f"{index}.png")
    (folder / "recipe.yaml").write_text("augment: {thickness: 0.5, mixup: 1, cutmix: 1}\n")
    done = run_fastsketch("convert", folder / "raw", folder / "data", "--size", 64)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_command_draws_the_same_sheet_for_the_same_seed(dataset: Path, tmp_path: Path, run_fastsketch: Run) -> None:
    pictures = []
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        done = run_fastsketch(
            "preview", dataset / "data", "--recipe", dataset / "recipe.yaml", "--out", tmp_path / name, "--seed", seed
        )
        assert done.returncode == 0, done.stderr
        pictures.append(Image.open(tmp_path / name).convert("L"))
    assert "original, affine + flip, thickness, MixUp, CutMix, all together" in done.stdout.replace("\n", " ")
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert pictures[0].tobytes() != pictures[2].tobytes()
    assert min(pictures[0].getextrema()) < 100, "there is ink"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "sheet.doc"], "sheet.doc"),
        (["--seed", "-1"], "--seed"),
        (["--recipe", "nosuch"], "nosuch"),
        (["--set", "augment.mixup=-1"], "augment.mixup"),
    ],
)
def test_bad_options_are_told_in_one_line(dataset: Path, run_fastsketch: Run, arguments: list[str], told: str) -> None:
    done = run_fastsketch("preview", dataset / "data", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_kept_patches_are_drawn(dataset: Path, tmp_path: Path, run_fastsketch: Run) -> None:
    seen = []
    for number in ("auto", 2):
        picture = tmp_path / f"{number}.png"
        done = run_fastsketch(
            "preview", dataset / "data", "--tokens", "--out", picture, "--set", "model.name=test_vit",
            "--set", f"model.tokens={number}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "test_vit, 64 px: " in done.stdout
        assert "of 16 patches" in done.stdout
        seen.append(Image.open(picture).convert("RGB"))
    smaller = ("--set", "training.image_sizes=[32]", "--set", "model.eval_tokens=all")
    done = run_fastsketch(
        "preview", dataset / "data", "--tokens", "--out", tmp_path / "smaller.png", "--set", "model.name=test_vit",
        "--set", "model.tokens=2", *smaller,
    )  # fmt: skip
    assert "test_vit, 32 px: 2 of 4 patches, 4 in evaluation" in done.stdout
    orange = [sum(count for count, color in image.getcolors(1 << 24) if color == (251, 211, 180)) for image in seen]
    assert orange[1] > 10 * orange[0] + 1000, "with two patches ink is left out"


@pytest.mark.parametrize(
    ("setting", "told"),
    [("model.name=resnet18", "no grid of patches"), ("model.tokens=17", "4 × 4 = 16"), ("model.tokens=0", "from 1")],
)
def test_patches_that_cannot_be_kept_are_told(dataset: Path, run_fastsketch: Run, setting: str, told: str) -> None:
    done = run_fastsketch("preview", dataset / "data", "--tokens", "--set", "model.name=test_vit", "--set", setting)
    assert done.returncode == 2
    assert told in done.stderr.replace("\n", " ")


def test_rows_are_what_the_recipe_turns_on() -> None:
    images, labels = sketches(6), torch.arange(6) % 3
    names = [row.name for row in preview_rows(AugmentConfig(flip=0), images, labels, CLASSES, seed=0)]
    assert names == ["original", "affine"], "all together is the same"
    names = [row.name for row in preview_rows(load_recipe("report-3-mix").augment, images, labels, CLASSES, seed=0)]
    assert names == ["original", "affine + flip", "MixUp", "CutMix", "all together"]
    nothing = AugmentConfig(rotation=0, translation=0, scale=(1, 1), shear=0, flip=0)
    assert [row.name for row in preview_rows(nothing, images, labels, CLASSES, seed=0)] == ["original"]


def test_captions_tell_the_shares_and_the_thickness() -> None:
    images, labels = sketches(6), torch.arange(6) % 3
    config = AugmentConfig(mixup=1, cutmix=1, thickness=0.1, thickness_range=(3, 3))
    rows = {row.name: row for row in preview_rows(config, images, labels, CLASSES, seed=0)}
    assert rows["original"].captions[0] == ("ant", "")
    assert rows["thickness"].captions[0] == ("ant", "+2 px")
    for row in (rows["MixUp"], rows["CutMix"]):
        for index, (own, partner) in enumerate(row.captions):
            assert own.startswith("λ ")
            assert own.endswith(CLASSES[index % 3])
            assert partner.endswith(CLASSES[(index - 1) % 3])
            assert float(own.split()[1]) + float(partner.split()[0]) == pytest.approx(1, abs=0.011)
    torch.testing.assert_close(rows["original"].images, images / 255)


def test_bench_names_what_there_is(run_fastsketch: Run) -> None:
    done = run_fastsketch("bench", "nosuch")
    assert done.returncode == 2
    assert "augment" in done.stderr
    assert "augment" in run_fastsketch("bench", "list").stdout.split()
