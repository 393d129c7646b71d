"""What learns and what stays as it is."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError
from fastsketch.models import create_model, freeze_backbone
from fastsketch.models.freezing import freeze_stages
from fastsketch.models.head import classifier_names


def model_with(hidden: tuple[int, ...], name: str = "test_resnet") -> nn.Module:
    torch.manual_seed(0)
    return create_model(ModelConfig(name=name, head_hidden=hidden, dropout=0), num_classes=3, size=32)


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, freeze: Callable[[nn.Module], None]
) -> dict[str, torch.Tensor]:
    """Its state after three steps."""
    model.train()
    freeze(model)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 32, 32)).square().sum().backward()
        optimizer.step()
    return copy.deepcopy(model.state_dict())


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize(("name", "hidden"), [("test_resnet", ()), ("test_efficientnet", (8,)), ("test_vit", ())])
def test_a_frozen_backbone_stays_as_it_is_to_the_bit(name: str, hidden: tuple[int, ...], optimizer: str) -> None:
    torch.manual_seed(0)
    model = model_with(hidden, name)
    # Made before the freezing, with weight decay and momentum: neither may move what has no gradient.
    steps = getattr(torch.optim, optimizer)(model.parameters(), lr=0.05, weight_decay=0.1)
    head = f"{classifier_names(model)[0]}."
    start = copy.deepcopy(model.state_dict())
    frozen = train(model, steps, partial(freeze_backbone, frozen=True))
    assert all(torch.equal(frozen[key], start[key]) == (not key.startswith(head)) for key in start)
    thawed = train(model, steps, partial(freeze_backbone, frozen=False))
    learned = [key for key, _ in model.named_parameters()]
    assert not any(torch.equal(thawed[key], frozen[key]) for key in learned)
    statistics = [key for key in start if key.endswith("running_mean")]
    assert not any(torch.equal(thawed[key], frozen[key]) for key in statistics)


def test_frozen_batch_norms_are_in_evaluation_mode_and_thaw() -> None:
    model = model_with(())
    model.train()
    freeze_backbone(model, True)
    assert batch_norms(model)
    assert not any(norm.training for norm in batch_norms(model))
    assert model.training
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {"fc.weight", "fc.bias"}
    model.train()
    freeze_backbone(model, False)
    assert all(norm.training for norm in batch_norms(model))
    assert all(parameter.requires_grad for parameter in model.parameters())


# ------------------------------------------------------------------------------------------------------- stages

FIRST = {
    "test_resnet": [("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",)],
    "test_efficientnet": [("conv_stem.", "bn1."), ("blocks.0.",), ("blocks.1.",), ("blocks.2.",)],
    "test_vit": [("cls_token", "reg_token", "pos_embed", "patch_embed."), ("blocks.0.",), ("blocks.1.",)],
    "test_convnext": [("stem.",), ("stages.0.",), ("stages.1.",), ("stages.2.",)],
}
"""How the names of the weights of each of the first stages begin."""


@pytest.mark.parametrize(("name", "stages"), [(name, count) for name in FIRST for count in range(len(FIRST[name]) + 1)])
def test_first_stages_stay_as_they_are_to_the_bit(name: str, stages: int) -> None:
    prefixes = tuple(prefix for stage in FIRST[name][:stages] for prefix in stage)
    model = model_with((), name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    start = copy.deepcopy(model.state_dict())
    trained = train(model, optimizer, partial(freeze_stages, stages=stages))
    kept = {key for key, tensor in trained.items() if torch.equal(tensor, start[key])}
    assert kept == {key for key in start if key.startswith(prefixes)}


@pytest.mark.parametrize("name", FIRST)
def test_too_many_stages_are_refused_and_all_that_there_are_leave_the_classifier(name: str) -> None:
    model = model_with((), name)
    with pytest.raises(ConfigError, match=r"model.freeze_stages=99 is too many: this model has \d+ before") as error:
        freeze_stages(model, 99)
    found = re.search(r"has (\d+) before", str(error.value))
    assert found
    freeze_stages(model, int(found[1]))
    heads = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert heads >= {key for key, _ in model.named_parameters() if key.startswith(classifier_names(model))}
    with pytest.raises(ConfigError, match="is too many"):
        freeze_stages(model, int(found[1]) + 1)


def test_a_model_whose_order_is_not_known_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    freeze_stages(model, 0)
    with pytest.raises(ConfigError, match="how the layers of this model follow each other"):
        freeze_stages(model, 1)


def test_frozen_stages_keep_the_backward_pass_out() -> None:
    model = timm.create_model("test_efficientnet", in_chans=1).train()
    freeze_stages(model, 2)
    seen: list[bool] = []
    model.blocks[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].requires_grad))
    model.blocks[2].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].requires_grad))
    model(torch.randn(2, 1, 32, 32))
    assert seen == [False, True]
