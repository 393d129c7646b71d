from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError, DataError
from fastsketch.models import SHORT_NAMES, create_model
from fastsketch.models.zoo import pretrained_normalization, read_weights, timm_name
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import load_model, save_model


@pytest.fixture
def rgb_weights(tmp_path: Path) -> Path:
    """ImageNet-shaped weights (1000 classes, three channels) for timm's test_efficientnet."""
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return path


@pytest.mark.parametrize(
    "name",
    ["vit_small", "resnet50", pytest.param("vit_base", marks=pytest.mark.slow)]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet101", "resnext50_32x4d", "wide_resnet50_2")],
)
def test_the_reports_models_take_one_gray_channel(name: str) -> None:
    model = create_model(ModelConfig(name=name), num_classes=250, size=224).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 1, 224, 224)).shape == (1, 250)


def test_short_names_are_names_that_timm_knows() -> None:
    assert set(SHORT_NAMES.values()) <= set(timm.list_models())


def test_dropout_is_before_the_head() -> None:
    assert create_model(ModelConfig(name="test_resnet", dropout=0.25), num_classes=3, size=32).drop_rate == 0.25


def test_a_vision_transformer_is_built_for_the_data_sets_size() -> None:
    model = create_model(ModelConfig(name="test_vit"), num_classes=3, size=96)
    assert model(torch.zeros(2, 1, 96, 96)).shape == (2, 3)


def test_local_weights_are_fitted_to_gray_images_and_a_new_head(rgb_weights: Path) -> None:
    config = ModelConfig(name="test_efficientnet", weights=rgb_weights, dropout=0)
    gray = create_model(config, num_classes=7, size=64).eval()
    rgb = timm.create_model("test_efficientnet", pretrained_cfg_overlay={"file": str(rgb_weights)}, pretrained=True)
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        # Exact for equal channels: the stem is linear and its filters were summed.
        torch.testing.assert_close(
            gray.forward_features(images),
            rgb.eval().forward_features(images.expand(-1, 3, -1, -1)),
            rtol=1e-4,
            atol=1e-5,
        )
    assert gray.get_classifier().out_features == 7


def test_tensors_in_a_pth_file_load_too(rgb_weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model("test_efficientnet")
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": source.state_dict()}, path)
    model = create_model(ModelConfig(name="test_efficientnet", weights=path), num_classes=1000, size=64)
    torch.testing.assert_close(model.get_classifier().weight, source.get_classifier().weight)


def test_weights_of_a_finished_run_start_another(tmp_path: Path) -> None:
    first = create_model(ModelConfig(name="test_resnet"), num_classes=5, size=32)
    path = tmp_path / "model.safetensors"
    save_file(first.state_dict(), path)
    second = create_model(ModelConfig(name="test_resnet", weights=path), num_classes=9, size=32)
    torch.testing.assert_close(second.state_dict()["conv1.0.weight"], first.state_dict()["conv1.0.weight"])


def test_weights_for_another_model_are_refused(rgb_weights: Path) -> None:
    with pytest.raises(ConfigError, match="is not for 'test_resnet'"):
        create_model(ModelConfig(name="test_resnet", weights=rgb_weights), num_classes=3, size=32)


def test_weights_of_other_shapes_are_refused(rgb_weights: Path, tmp_path: Path) -> None:
    tensors = timm.create_model("test_efficientnet").state_dict()
    key = next(key for key, value in tensors.items() if value.ndim == 4 and key != "conv_stem.weight")
    tensors[key] = torch.zeros(1, 1, 1, 1)
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        create_model(ModelConfig(name="test_efficientnet", weights=path), num_classes=3, size=32)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such weights file"):
        create_model(ModelConfig(name="test_resnet", weights=tmp_path / "none.pth"), num_classes=3, size=32)


def test_a_truncated_weights_file_is_told(rgb_weights: Path) -> None:
    rgb_weights.write_bytes(rgb_weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="not a readable"):
        create_model(ModelConfig(name="test_efficientnet", weights=rgb_weights), num_classes=3, size=32)


class _Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)


def test_nothing_in_a_weights_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "trap.pth"
    torch.save({"state_dict": _Trap()}, path)
    with pytest.raises(DataError):
        create_model(ModelConfig(name="test_resnet", weights=path), num_classes=3, size=32)
    assert not Path("sprung").exists()
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(DataError):
        create_model(ModelConfig(name="test_resnet", weights=path), num_classes=3, size=32)
    assert not Path("sprung").exists()


def _header(length: int, text: bytes = b"") -> bytes:
    return length.to_bytes(8, "little") + text


DAMAGED = {
    "text": b"root:x:0:0:root:/root:/bin/bash\n" * 20,
    "empty": b"",
    "zeros": bytes(100),
    "a huge header": _header(1 << 62),
    "a header of 100 MB": _header(100_000_000, b"{}"),
    "no JSON": _header(2, b"{["),
    "no tensors": _header(2, b"{}"),
    "another type": _header(40, b'{"a": {"dtype": "X9", "shape": [], "data_of'),
    "beyond the end": _header(63, b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}  '),
    "a zip": b"PK\x03\x04" + bytes(50),
    "a tar": b"x" + bytes(256) + b"ustar\x00" + bytes(400),
    "a gzip": b"\x1f\x8b\x08" + bytes(50),
    "a pickle's start": b"\x80\x02}q\x00(X\x05\x00\x00\x00state",
    "a deep pickle": b"\x80\x02" + b"]" * 5000,
    "a number": pickle.dumps(3),
    "a list": pickle.dumps([1, 2]),
    "nothing": pickle.dumps(None),
    "a pickle of a class": pickle.dumps(Path("x")),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_file_as_weights_is_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    """M16: `--weights /etc/passwd` was an IndexError."""
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a readable") as caught:
        read_weights(path)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "value",
    [[1], {}, {"a": 1}, {1: torch.ones(1)}, {"state_dict": 3}, {"state_dict": [torch.ones(1)]}, torch.ones(3),
     {"model": {"a": torch.ones(1), "b": "c"}}, {"state_dict": None}],
    ids=repr,
)  # fmt: skip
def test_what_torch_opens_and_is_no_weights_is_one_line(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(DataError, match="is not a readable"):
        read_weights(tmp_path / "w.pth")


def test_what_is_no_file_is_no_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path, tmp_path / "pipe.pth", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is no file of weights"):
            read_weights(path)


def test_weights_of_odd_tensors_are_one_line(tmp_path: Path) -> None:
    tensors = timm.create_model("test_resnet", in_chans=1).state_dict()
    key = "conv1.0.weight"
    odd_ones = [
        *(torch.ones(shape) for shape in ((), (3,), (0, 1, 3, 3), (16, 3, 1, 1), (16, 2, 3, 3), (16, 1, 3, 3, 1))),
        *(torch.empty(1, device="meta"), torch.ones(3).to_sparse(), torch.full((16, 1, 3, 3), torch.nan)),
        torch.ones(16, 1, 3, 3, dtype=torch.complex64),
    ]
    for odd in odd_ones:
        torch.save({**tensors, key: odd}, tmp_path / "w.pth")
        with pytest.raises((ConfigError, DataError)) as caught:
            create_model(ModelConfig(name="test_resnet", weights=tmp_path / "w.pth"), num_classes=3, size=32)
        assert "\n" not in caught.value.message
        assert len(caught.value.message) < 500


def test_an_image_that_patches_do_not_divide_is_told() -> None:
    with pytest.raises(ConfigError, match=r"does not take images of 100 px: .*divisible by patch size"):
        create_model(ModelConfig(name="test_vit"), num_classes=3, size=100)


def torch_compares_kernels() -> bool:
    """Whether a convolution without values knows that its image is too small: torch 2.6's makes an empty one of it."""
    image, kernel = torch.empty(1, 1, 8, 8, device="meta"), torch.empty(1, 1, 16, 16, device="meta")
    try:
        torch.conv2d(image, kernel, stride=16)
    except RuntimeError:
        return True
    return False


UNTOLD = pytest.mark.skipif(not torch_compares_kernels(), reason="this torch finds it out in the first batch only")


@pytest.mark.parametrize("name", [pytest.param("vit_small", marks=UNTOLD), "test_vit2", "vit_tiny_r_s16_p8_224"])
def test_a_patch_larger_than_the_image_is_told(name: str) -> None:
    """Low: `image_sizes=[8]` with patch 16."""
    with pytest.raises(ConfigError, match=r"8 px") as caught:
        create_model(ModelConfig(name=name), num_classes=3, size=8, train_sizes=(8,))
    assert "\n" not in caught.value.message


def test_an_unknown_model_brings_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="did you mean resnet50"):
        timm_name("resnet5O")


def test_names_that_would_reach_for_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="no model"):
        timm_name("hf-hub:timm/resnet18.a1_in1k")


def test_a_size_that_the_model_cannot_take_is_told() -> None:
    with pytest.raises(ConfigError, match="100 px"):
        create_model(ModelConfig(name="xcit_nano_12_p8_224"), num_classes=3, size=100)


def test_pretrained_normalization_is_one_gray_channels() -> None:
    model: nn.Module = create_model(ModelConfig(name="resnet18"), num_classes=3, size=32)
    mean, std = pretrained_normalization(model)
    assert mean == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    assert std == pytest.approx((0.229 + 0.224 + 0.225) / 3)


# ---------------------------------------------------------------------------------------------- stochastic depth


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_stochastic_depth_skips_the_deepest_block_most(name: str) -> None:
    model = create_model(ModelConfig(name=name, drop_path=0.3), num_classes=3, size=32)
    depths = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    assert depths == sorted(depths)
    # EfficientNet's falls short of it by one block of all.
    assert depths[-1] == pytest.approx(0.3) or (name == "test_efficientnet" and 0.2 < depths[-1] < 0.3)


@pytest.mark.parametrize("name", ["densenet121", "vgg11", "dpn68"])
def test_a_model_without_stochastic_depth_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' has no stochastic depth"):
        create_model(ModelConfig(name=name, drop_path=0.1), num_classes=3, size=32)


# ------------------------------------------------------------------------------------------------- several sizes


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "deit_tiny_patch16_224"])
def test_a_model_takes_the_other_sizes_that_it_is_trained_at(name: str) -> None:
    model = create_model(ModelConfig(name=name), num_classes=3, size=64, train_sizes=(32, 48, 64)).eval()
    with torch.inference_mode():
        for size in (32, 48, 64):
            logits = model(torch.randn(2, 1, size, size))
            assert logits.shape == (2, 3)
            assert logits.isfinite().all()


def test_the_position_embeddings_are_those_of_the_final_size() -> None:
    torch.manual_seed(0)
    fixed = create_model(ModelConfig(name="test_vit"), num_classes=3, size=64).eval()
    flexible = create_model(ModelConfig(name="test_vit"), num_classes=3, size=64, train_sizes=(32, 64)).eval()
    flexible.load_state_dict(fixed.state_dict())
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(flexible(images), fixed(images))


def test_position_embeddings_learn_at_a_smaller_size_too() -> None:
    model = create_model(ModelConfig(name="test_vit"), num_classes=3, size=64, train_sizes=(32, 64))
    model(torch.randn(2, 1, 32, 32)).sum().backward()
    assert model.pos_embed.grad.abs().sum(dim=-1).gt(0).all()


def test_one_size_alone_asks_nothing_of_the_model() -> None:
    model = create_model(ModelConfig(name="beit_base_patch16_224"), num_classes=3, size=32, train_sizes=(32, 32))
    assert model.patch_embed.img_size == (32, 32)


def test_a_model_of_fixed_size_is_told() -> None:
    with pytest.raises(ConfigError, match="'beit_base_patch16_224' takes images of one size only"):
        create_model(ModelConfig(name="beit_base_patch16_224"), num_classes=3, size=224, train_sizes=(160, 224))


def test_a_size_that_the_patches_do_not_divide_is_told() -> None:
    with pytest.raises(ConfigError, match="'test_vit' does not take images of 40 px"):
        create_model(ModelConfig(name="test_vit"), num_classes=3, size=64, train_sizes=(40, 64))


def test_a_model_of_several_sizes_opens_in_plain_timm(tmp_path: Path) -> None:
    model = create_model(ModelConfig(name="test_vit"), num_classes=3, size=64, train_sizes=(32, 64)).eval()
    save_model(model, tmp_path, Preprocess(64, 0, 1), ["a", "b", "c"])
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        expected = model(images)
        for opened in (timm.create_model(f"local-dir:{tmp_path}", pretrained=True), load_model(tmp_path)[0]):
            assert torch.equal(opened.eval()(images), expected)
    assert load_model(tmp_path)[1].size == 64
