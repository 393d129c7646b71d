from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from packs import write_pack
from safetensors.torch import load_file
from shapes import convert_shapes, write_shapes
from torch import nn

from fastsketch.augment import create_augment
from fastsketch.config import AugmentConfig, DataConfig, ModelConfig, Recipe
from fastsketch.errors import ConfigError
from fastsketch.evaluation import evaluate_run
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.models.ink_tokens import ink_patches
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training import tokens as resolution
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run
from fastsketch.training.tokens import apply_tokens, resolve_tokens

SIZE = 96
STILL = AugmentConfig(rotation=0, translation=0, scale=(1, 1), shear=0, flip=0)
MIXED = STILL.model_copy(update={"mixup": 1.0})


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset", size=SIZE)


@pytest.fixture(scope="module")
def split(dataset_folder: Path) -> PackSplit:
    return PackSplit(dataset_folder, DatasetMetadata.load(dataset_folder), "train")


def make_model(name: str = "test_vit", size: int | None = SIZE) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(
            name, in_chans=1, num_classes=3, **({} if size is None else {"img_size": size})
        )
    return model


def resolved(
    folder: Path,
    augment: AugmentConfig = STILL,
    name: str = "test_vit",
    tokens: str | int = "auto",
    paper_token: bool = True,
) -> Any:
    """What `model.tokens` of a recipe becomes."""
    model_config = ModelConfig(name=name, tokens=tokens, paper_token=paper_token)
    recipe = Recipe(model=model_config, data=DataConfig(path=folder))
    model = make_model(name, None if "resnet" in name else SIZE)
    made = create_augment(augment, Preprocess(SIZE))
    found = resolve_tokens(recipe, model, made, DatasetMetadata.load(folder))
    assert found == recipe.model_copy(update={"model": recipe.model.model_copy(update={"tokens": found.model.tokens})})
    return found.model.tokens


@pytest.mark.parametrize("statistics", [(0.0, 1.0), (0.95, 0.2)])
def test_ink_is_counted_in_the_models_input_as_it_was_in_the_data_set(
    split: PackSplit, statistics: tuple[float, float]
) -> None:
    preprocess = Preprocess(SIZE, *statistics)
    patches = ink_patches(make_model(), preprocess)
    images = preprocess(torch.tensor(split.images))
    counts = patches.inked(patches.cut(images)).sum(dim=(1, 2)).numpy()
    np.testing.assert_array_equal(counts, split.ink)


def test_auto_is_a_number_that_holds_19_of_20_training_images(dataset_folder: Path, split: PackSplit) -> None:
    tokens = resolved(dataset_folder)
    assert isinstance(tokens, int)
    assert np.mean(split.ink <= tokens) >= 0.95
    assert (tokens + 2) % 8 == 0  # with the class token and the paper token
    assert tokens < np.quantile(split.ink, 0.95) + 8
    assert (resolved(dataset_folder, paper_token=False) + 1) % 8 == 0


def test_auto_follows_the_augmentation_and_repeats_itself(dataset_folder: Path) -> None:
    tokens = resolved(dataset_folder)
    assert resolved(dataset_folder) == tokens
    more = resolved(dataset_folder, MIXED)
    assert more == "all" or more > tokens  # two sketches on each other


def test_auto_counts_in_the_models_own_patches(dataset_folder: Path) -> None:
    coarse = resolved(dataset_folder, name="vit_tiny_patch16_224")
    assert resolved(dataset_folder, name="vit_small_patch8_224") > coarse


def test_dense_images_fall_back_to_all_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pack(tmp_path / "noise", {"train": 20}, size=SIZE)
    with caplog.at_level(logging.INFO, logger="fastsketch"):
        assert resolved(tmp_path / "noise") == "all"
    assert [record.getMessage() for record in caplog.records] == [
        "ink tokens: all 36 patches are kept, for images have ink in 100 %"
    ]


def test_auto_logs_what_it_chose(dataset_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fastsketch"):
        tokens = resolved(dataset_folder)
    assert f"{tokens} of 36 patches" in caplog.text


def test_auto_needs_a_vision_transformer(dataset_folder: Path) -> None:
    with pytest.raises(ConfigError, match="no grid of patches"):
        resolved(dataset_folder, name="test_resnet")


def test_numbers_and_all_stay_what_they_are(dataset_folder: Path) -> None:
    for tokens in ("all", 5):
        assert resolved(dataset_folder, name="test_resnet", tokens=tokens) == tokens


@pytest.mark.parametrize("paper_token", [True, False])
@pytest.mark.parametrize(
    ("tokens", "eval_tokens", "expected"),
    [("all", "same", (36, 36)), (9, "same", (9, 9)), (9, "all", (9, 36)), (9, 20, (9, 20)), ("all", 9, (36, 9))],
)
def test_the_model_keeps_what_the_configuration_says(
    tokens: str | int, eval_tokens: str | int, expected: tuple[int, int], paper_token: bool
) -> None:
    model = timm.create_model("test_vit", in_chans=1, img_size=SIZE)
    config = ModelConfig(tokens=tokens, eval_tokens=eval_tokens, paper_token=paper_token)
    apply_tokens(config, model, Preprocess(SIZE, 0.5, 0.25))
    seen: list[int] = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    for training in (True, False):
        model.train(training)(torch.full((2, 1, SIZE, SIZE), 2.0))
    others = [1 + (paper_token and number < 36) for number in expected]  # the class token, and the paper token
    assert [found - other for found, other in zip(seen, others, strict=True)] == list(expected)


# ------------------------------------------------------------------------------------------------------ whole runs


def tokens_recipe(folder: Path, epochs: int, *overrides: str) -> Recipe:
    return load_recipe(
        None,
        [
            "model.name=test_vit",
            "model.tokens=auto",
            "model.dropout=0",
            "data.batch_size=16",
            "optimizer.name=adamw",
            "optimizer.lr=3e-3",
            "training.device=cpu",
            *overrides,
        ],
        data__path=str(folder),
        training__epochs=epochs,
    )


@pytest.mark.parametrize(
    "overrides", [(), ("training.image_sizes=[64, 96]", "training.ema=0.9"), ("augment.engine=kornia",)]
)
def test_a_run_records_its_number_and_evaluates_as_it_validated(
    split: PackSplit, dataset_folder: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    run = Run(tmp_path / "run")
    records = fit(tokens_recipe(dataset_folder, 2, *overrides), run)
    tokens = run.recipe().model.tokens
    assert isinstance(tokens, int)
    assert tokens < 36
    scores = evaluate_run(run, "val", checkpoint="last").scores
    assert (scores.top1, scores.loss) == pytest.approx((records[-1].val_top1, records[-1].val_loss))
    dense = timm.create_model(f"local-dir:{run.last}", pretrained=True)
    assert type(dense) is timm.models.VisionTransformer


def test_a_run_whose_images_are_too_dense_is_opened_and_continued(tmp_path: Path) -> None:
    write_pack(tmp_path / "noise", {"train": 32, "val": 8}, size=SIZE)
    run = Run(tmp_path / "run")
    fit(tokens_recipe(tmp_path / "noise", 1), run)
    assert run.recipe().model.tokens == "all"
    assert [record.epoch for record in fit(tokens_recipe(tmp_path / "noise", 2), run, resume=True)] == [1, 2]


def test_plain_timm_shows_all_patches_as_our_evaluation_can(
    split: PackSplit, dataset_folder: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    fit(tokens_recipe(dataset_folder, 1), run)
    outputs = evaluate_run(run, "val", checkpoint="last", tokens="all", device="cpu").outputs
    plain = timm.create_model(f"local-dir:{run.last}", pretrained=True).eval()
    val = PackSplit(dataset_folder, DatasetMetadata.load(dataset_folder), "val")
    with torch.inference_mode():
        logits = plain(Preprocess(SIZE)(torch.tensor(val.images[:])))
    torch.testing.assert_close(logits.softmax(dim=1), outputs.probabilities(1.0), rtol=1e-4, atol=1e-6)


def test_evaluation_may_see_another_number_of_patches(dataset_folder: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    fit(tokens_recipe(dataset_folder, 1, "model.tokens=9"), run)
    as_trained = evaluate_run(run, "val").scores
    assert evaluate_run(run, "val", tokens=9).scores == as_trained
    assert evaluate_run(run, "val", tokens="all").scores.loss != as_trained.loss
    assert {path.stem for path in run.evaluation.glob("*.json")} == {
        "best-val", "best-val-tokens-9", "best-val-tokens-all"
    }  # fmt: skip
    for number, message in ((37, "= 36 patches"), ("some", "eval_tokens")):
        with pytest.raises(ConfigError, match=message):
            evaluate_run(run, "val", tokens=number)


def test_a_resumed_run_goes_on_with_the_number_it_had(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    fit(tokens_recipe(dataset_folder, 2), whole)
    seen = 0

    def stop(epoch: int, step: int, steps: int) -> None:
        nonlocal seen
        seen += 1
        if seen == steps + 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tokens_recipe(dataset_folder, 2), parts, on_step=stop)
    monkeypatch.setattr(resolution, "_inked", None)  # another device would count otherwise
    fit(tokens_recipe(dataset_folder, 2), parts, resume=True)
    ours, expected = (load_file(run.last / "model.safetensors") for run in (parts, whole))
    for key, value in expected.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=0, msg=key)
