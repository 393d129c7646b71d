from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from shapes import convert_shapes, write_shapes

from fastsketch.config import Recipe
from fastsketch.recipes import load_recipe, recipe_names
from fastsketch.training.fit import fit
from fastsketch.training.run.directory import Run

LADDER = ["report-1-affine", "report-2-tuned-lr", "report-3-mix", "report-4-thickness", "report-5-vit-base"]
LADDER.append("report-6-trainval")
TOP1 = [79.5, 80.7, 81.7, 82.3, 83.6, 84.7]


class OneStepDoneError(Exception):
    pass


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return convert_shapes(write_shapes(root / "images"), root / "dataset")


def tiny(name: str, shapes: Path) -> Recipe:
    """The recipe with a tiny model of the same kind, on images of 32 px; everything else is as it stands."""
    recipe = load_recipe(name)
    kind = "test_vit" if recipe.model.name.startswith("vit") else "test_efficientnet"
    sizes = [16] * (len(recipe.training.image_sizes) - 1) + [32] if recipe.training.image_sizes else []
    return load_recipe(
        name,
        [f"model.name={kind if name != 'demo' else 'test_resnet'}", f"training.image_sizes={sizes}"],
        data__path=str(shapes),
        training__device="cpu",
    )


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains_a_step(name: str, shapes: Path, tmp_path: Path) -> None:
    recipe = tiny(name, shapes)
    assert recipe.model.weights is None

    def stop(epoch: int, step: int, steps: int) -> None:
        assert (epoch, step) == (1, 1)
        assert steps == (192 + 30 * (recipe.data.train_split == "train+val")) // recipe.data.batch_size
        raise OneStepDoneError

    with pytest.raises(OneStepDoneError):
        fit(recipe, Run(tmp_path / "run"), on_step=stop)


@pytest.mark.parametrize("name", ["vit-base-224", "report-6-trainval"])
def test_the_longest_recipes_train_to_their_end(name: str, shapes: Path, tmp_path: Path) -> None:
    recipe = tiny(name, shapes)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 3})})
    records = fit(recipe, Run(tmp_path / "run"))
    assert len(records) == 3
    assert torch.tensor([record.train_loss for record in records]).isfinite().all()


def test_each_rung_of_the_report_changes_one_thing() -> None:
    changed = []
    for lower, upper in pairwise(LADDER):
        one, other = (load_recipe(name).model_dump(exclude={"description"}) for name in (lower, upper))
        changed.append(
            {f"{stage}.{key}" for stage in one for key in one[stage] if one[stage][key] != other[stage][key]}
        )
    assert changed == [
        {"optimizer.lr"},
        {"augment.mixup", "augment.cutmix", "augment.mix_probability"},
        {"augment.thickness", "augment.thickness_range"},
        {"model.name"},
        {"data.train_split"},
    ]


@pytest.mark.parametrize(("name", "top1"), list(zip(LADDER, TOP1, strict=True)))
def test_each_rung_says_its_command_and_what_the_report_got(name: str, top1: float) -> None:
    assert f"({top1} % in the report)" in load_recipe(name).description
    text = (Path(__file__).parent.parent.parent / "fastsketch/recipes" / f"{name}.yaml").read_text()
    assert f"#   fastsketch train data/tuberlin --recipe {name} --pretrained" in text
    assert f"{top1} % test top-1" in text


def test_beyond_the_report_there_is_all_that_it_has_not() -> None:
    recipe = load_recipe("vit-base-224")
    assert recipe.training.ema > 0
    assert recipe.optimizer.layer_decay < 1
    assert recipe.training.label_smoothing > 0
    assert recipe.evaluation.flip
    assert recipe.training.image_sizes[-1] == 224
    assert all(size % 16 == 0 for size in recipe.training.image_sizes)
