from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError
from fastsketch.models import create_model, freeze_backbone
from fastsketch.models.head import MLPClassifier, add_hidden_layers, classifier_names, hidden_sizes
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import load_model, save_model


def model_with(hidden: tuple[int, ...], name: str = "test_resnet", dropout: float = 0.0) -> nn.Module:
    return create_model(ModelConfig(name=name, head_hidden=hidden, dropout=dropout), num_classes=3, size=32)


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


# ------------------------------------------------------------------------------------------------------- hidden


@pytest.mark.parametrize(
    "name",
    ["test_vit", "test_resnet", "test_efficientnet", "test_convnext", "dla46_c", "deit_tiny_distilled_patch16_224"],
)
def test_hidden_layers_come_before_the_classifier_of_any_model(name: str) -> None:
    model = model_with((40, 24), name).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    heads = [model.get_submodule(head) for head in classifier_names(model)]
    assert heads
    for head in heads:
        sizes = [weight.shape[:2] for key, weight in head.named_parameters() if key.endswith("weight")]
        assert [(out, into) for out, into in sizes] == [(40, model.num_features), (24, 40), (3, 24)]
    assert hidden_sizes(model) == (40, 24)


def test_the_layers_are_the_textbooks() -> None:
    head = MLPClassifier(nn.Linear(8, 3), (6,), 0.3)
    assert [type(layer) for layer in head] == [nn.Linear, nn.GELU, nn.Dropout, nn.Linear]
    features = torch.randn(5, 8)
    expected = head[3](nn.functional.gelu(head[0](features)))
    assert torch.equal(head.eval()(features), expected)


def test_dropout_is_the_models() -> None:
    head = model_with((16, 8), dropout=0.25).get_submodule("fc")
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.25, 0.25]


def test_without_hidden_layers_the_head_is_timms() -> None:
    model = model_with(())
    assert isinstance(model.get_submodule("fc"), nn.Linear)
    assert hidden_sizes(model) == ()


def test_a_classifier_that_is_no_linear_layer_is_told() -> None:
    model = model_with((8,))
    with pytest.raises(ConfigError, match="is a MLPClassifier"):
        add_hidden_layers(model, (8,))


def test_it_learns_through_all_its_layers() -> None:
    model = model_with((16, 8))
    model(torch.randn(4, 1, 32, 32)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in model.get_submodule("fc").parameters()
    )


# --------------------------------------------------------------------------------------------- saving and loading


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_a_saved_head_opens_again_with_the_same_logits(name: str, tmp_path: Path) -> None:
    model = model_with((12, 7), name, dropout=0.2).eval()
    save_model(model, tmp_path, Preprocess(32, 0.5, 0.25), ["a", "b", "c"])
    opened, spec = load_model(tmp_path)
    images = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(opened.eval()(images), model(images))
    assert (spec.size, spec.mean, spec.std) == (32, 0.5, 0.25)
    assert hidden_sizes(opened) == (12, 7)


def test_plain_timm_refuses_the_whole_and_opens_the_backbone(tmp_path: Path) -> None:
    model = model_with((12,)).eval()
    save_model(model, tmp_path, Preprocess(32, 0, 1), ["a", "b", "c"])
    with pytest.raises(RuntimeError, match=r"Missing key.*fc\.weight"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    backbone = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=0).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(backbone.forward_features(images), model.forward_features(images))


def test_a_plain_head_leaves_no_trace_in_the_saved_configuration(tmp_path: Path) -> None:
    save_model(model_with(()), tmp_path, Preprocess(32, 0, 1), ["a", "b", "c"])
    assert "head_hidden" not in json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("saved", [(), (12,)], ids=["plain", "hidden"])
@pytest.mark.parametrize("hidden", [(), (9,)], ids=["plain", "hidden"])
def test_weights_of_either_head_start_either(saved: tuple[int, ...], hidden: tuple[int, ...], tmp_path: Path) -> None:
    first = model_with(saved)
    path = tmp_path / "model.safetensors"
    save_file(first.state_dict(), path)
    second = create_model(
        ModelConfig(name="test_resnet", weights=path, head_hidden=hidden), num_classes=3, size=32
    ).state_dict()
    backbone = [key for key in first.state_dict() if not key.startswith("fc.")]
    assert all(torch.equal(second[key], first.state_dict()[key]) for key in backbone)


# ------------------------------------------------------------------------------------------------------- frozen


def train(model: nn.Module, optimizer: torch.optim.Optimizer, frozen: bool) -> dict[str, torch.Tensor]:
    model.train()
    freeze_backbone(model, frozen)
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
    frozen = train(model, steps, frozen=True)
    assert all(torch.equal(frozen[key], start[key]) == (not key.startswith(head)) for key in start)
    thawed = train(model, steps, frozen=False)
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
