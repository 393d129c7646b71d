from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from torch import nn

from fastsketch.config import ModelConfig, OptimizerConfig, ScheduleConfig
from fastsketch.errors import ConfigError
from fastsketch.models import create_model
from fastsketch.training.optim import create_optimizer, create_schedule


def rates(config: ScheduleConfig, *, lr: float, epochs: int, steps_per_epoch: int) -> list[float]:
    optimizer = create_optimizer(nn.Linear(2, 2), OptimizerConfig(lr=lr))
    schedule = create_schedule(optimizer, config, epochs=epochs, steps_per_epoch=steps_per_epoch)
    lrs = []
    for step in range(epochs * steps_per_epoch):
        schedule.step_update(step)
        lrs.append(optimizer.param_groups[0]["lr"])
    return lrs


def test_the_default_is_the_reports_plain_sgd_with_momentum() -> None:
    optimizer = create_optimizer(nn.Linear(2, 2), OptimizerConfig())
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (5e-3, 0.5, False)


def test_biases_and_norms_are_not_decayed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer = create_optimizer(model, OptimizerConfig(name="adamw", weight_decay=0.1))
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert [p.shape for p in decayed] == [(4, 4)]


def test_cosine_without_warm_up_is_the_papers() -> None:
    lrs = rates(ScheduleConfig(min_lr=0.1), lr=1.0, epochs=4, steps_per_epoch=5)
    assert lrs == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * step / 20)) for step in range(20)])


def test_warm_up_is_linear_and_comes_before_the_cosine() -> None:
    lrs = rates(ScheduleConfig(warmup_epochs=2, warmup_lr=0.1), lr=1.1, epochs=4, steps_per_epoch=5)
    assert lrs[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert lrs[10] == pytest.approx(1.1)
    assert lrs[10:] == sorted(lrs[10:], reverse=True)
    assert lrs[-1] < 0.03


def test_exponential_is_multiplied_from_epoch_to_epoch_evenly_over_the_steps() -> None:
    lrs = rates(ScheduleConfig(name="exponential", decay_rate=0.8), lr=0.5, epochs=4, steps_per_epoch=5)
    assert lrs == pytest.approx([0.5 * 0.8 ** (step / 5) for step in range(20)])
    assert lrs[15] == pytest.approx(0.5 * 0.8**3)


def test_exponential_starts_after_the_warm_up() -> None:
    config = ScheduleConfig(name="exponential", decay_rate=0.5, warmup_epochs=1)
    lrs = rates(config, lr=1.0, epochs=3, steps_per_epoch=4)
    assert lrs == pytest.approx([0, 0.25, 0.5, 0.75, *(0.5 ** (step / 4) for step in range(8))])


def test_exponential_is_exact_after_ten_thousand_steps() -> None:
    lrs = rates(ScheduleConfig(name="exponential", decay_rate=0.9), lr=1.0, epochs=30, steps_per_epoch=375)
    assert lrs[-375] == pytest.approx(0.9**29, rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 2])
def test_constant_stays(warmup: int) -> None:
    lrs = rates(ScheduleConfig(name="constant", warmup_epochs=warmup), lr=0.3, epochs=4, steps_per_epoch=5)
    assert lrs[: warmup * 5] == pytest.approx([0.03 * step for step in range(warmup * 5)])
    assert set(lrs[warmup * 5 :]) == {0.3}


def test_half_an_epoch_of_warm_up_is_half_its_steps() -> None:
    lrs = rates(ScheduleConfig(warmup_epochs=0.5), lr=1.0, epochs=2, steps_per_epoch=8)
    assert lrs[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("name", ["cosine", "exponential", "constant"])
def test_a_resumed_run_with_more_epochs_goes_on_as_if_it_had_had_them_from_the_start(name: str) -> None:
    config = ScheduleConfig(name=name, warmup_epochs=1, min_lr=0.01 if name == "cosine" else 0)
    model, settings = nn.Linear(2, 2), OptimizerConfig(lr=0.4)
    first = create_optimizer(model, settings)
    schedule = create_schedule(first, config, epochs=3, steps_per_epoch=5)
    for step in range(15):
        schedule.step_update(step)
    second = create_optimizer(model, settings)
    schedule = create_schedule(second, config, epochs=6, steps_per_epoch=5)
    second.load_state_dict(first.state_dict())
    expected = rates(config, lr=0.4, epochs=6, steps_per_epoch=5)
    for step in range(15, 30):
        schedule.step_update(step)
        assert second.param_groups[0]["lr"] == expected[step]


# -------------------------------------------------------------------------------------------------------- fused


@pytest.mark.parametrize(("name", "fused"), [("momentum", True), ("sgd", True), ("adamw", True), ("lamb", None)])
def test_what_torch_has_fused_is_fused(name: str, fused: bool | None) -> None:
    assert create_optimizer(nn.Linear(2, 2), OptimizerConfig(name=name)).defaults.get("fused") is fused


@pytest.mark.parametrize("name", ["momentum", "sgd", "adam", "adamw"])
def test_fused_steps_are_the_plain_ones(name: str) -> None:
    torch.manual_seed(0)
    config = OptimizerConfig(name=name, lr=0.1, momentum=0.9, weight_decay=0.05)
    fused = create_model(ModelConfig(name="test_resnet"), num_classes=3, size=32)
    plain = copy.deepcopy(fused)
    optimizers = [create_optimizer(model, config) for model in (fused, plain)]
    for group in optimizers[1].param_groups:
        group["fused"] = None
    for _ in range(3):
        for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_a_scaled_step_on_a_gpu_waits_for_nothing(name: str) -> None:
    model = nn.Linear(8, 8, device="cuda")
    optimizer = create_optimizer(model, OptimizerConfig(name=name))
    scaler = torch.amp.GradScaler("cuda")
    scaler.scale(model(torch.randn(4, 8, device="cuda")).sum()).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        scaler.step(optimizer)
        scaler.update()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -------------------------------------------------------------------------------------------------- layer decay


def layers_after(name: str) -> int:
    """How many layers of timm's test_vit, of six blocks, come after a parameter's."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        return 6 - int(block[1])
    return 0 if name.startswith("head") else 1 if name.startswith("norm") else 7


@pytest.mark.parametrize("hidden", [(), (16,)])
def test_every_layer_of_a_vision_transformer_learns_at_its_own_rate(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = create_model(ModelConfig(name="test_vit", head_hidden=hidden), num_classes=3, size=32)
    config = OptimizerConfig(name="momentum", lr=0.4, momentum=0, layer_decay=0.5)
    optimizer = create_optimizer(model, config)
    schedule = create_schedule(optimizer, ScheduleConfig(), epochs=2, steps_per_epoch=10)
    schedule.step_update(10)  # half of the cosine: half of the rate
    start = copy.deepcopy(model.state_dict())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        moved = start[name] - parameter.detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.2 * 0.5 ** layers_after(name)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_cnns_rates_rise_from_the_stem_to_the_classifier(name: str) -> None:
    model = create_model(ModelConfig(name=name), num_classes=3, size=32)
    optimizer = create_optimizer(model, OptimizerConfig(layer_decay=0.7, weight_decay=0.1))
    names = {parameter: name for name, parameter in model.named_parameters()}
    scales = {names[each]: group["lr_scale"] for group in optimizer.param_groups for each in group["params"]}
    assert scales.keys() == set(names.values())
    first, last = scales[next(iter(scales))], max(scales.values())
    assert last == 1
    assert min(scales.values()) == pytest.approx(0.7 ** (len(set(scales.values())) - 1))
    assert first < last
    assert all(scales[name] == 1 for name in scales if name.startswith(model.pretrained_cfg["classifier"]))


def test_layer_decay_leaves_weight_decay_to_the_matrices() -> None:
    model = create_model(ModelConfig(name="test_vit"), num_classes=3, size=32)
    optimizer = create_optimizer(model, OptimizerConfig(name="adamw", layer_decay=0.7, weight_decay=0.1))
    for group in optimizer.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} <= (
            {True} if group["weight_decay"] else {False, True}
        )
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0, 0.1}


def test_a_model_whose_layers_are_not_known_is_told() -> None:
    with pytest.raises(ConfigError, match="how the layers of this model follow each other"):
        create_optimizer(nn.Linear(2, 2), OptimizerConfig(layer_decay=0.7))


def test_an_unknown_optimizer_brings_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'adamw'"):
        create_optimizer(nn.Linear(2, 2), OptimizerConfig(name="adamww"))
