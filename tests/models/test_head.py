from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError
from fastsketch.models import create_model
from fastsketch.models.head import MLPClassifier, add_hidden_layers, classifier_names, hidden_sizes
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import load_model, save_model


def model_with(hidden: tuple[int, ...], name: str = "test_resnet", dropout: float = 0.0) -> nn.Module:
    return create_model(ModelConfig(name=name, head_hidden=hidden, dropout=dropout), num_classes=3, size=32)


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
