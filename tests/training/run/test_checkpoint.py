"""M6: `best/` and `last/` are checked as a whole, whatever somebody made of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fastsketch.errors import DataError
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import load_model, save_model

SPEC = Preprocess(32, 0.25, 0.5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "best"
    model = timm.create_model("test_resnet", in_chans=1, num_classes=3).to(memory_format=torch.channels_last)
    save_model(model, folder, SPEC, ["ant", "bee", "cat"])
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "best")


def test_what_is_saved_is_opened_by_us_and_by_plain_timm(saved: Path) -> None:
    ours, spec = load_model(saved)
    plain = timm.create_model(f"local-dir:{saved}", pretrained=True).eval()
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert spec == SPEC
    with torch.inference_mode():
        assert torch.equal(ours.eval()(images), plain(images))
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_a_flipped_bit_in_any_tensor_is_told(copy: Path) -> None:
    path = copy / "model.safetensors"
    whole = path.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    for place in range(begin, len(whole), (len(whole) - begin) // 12):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"model\.safetensors is not as it was written: its checksum differs"):
            load_model(copy)


_REPLACED = {
    "architecture": [None, 5, "", "resnet5O", [], {}, "local-dir:/tmp"],
    "num_classes": [None, "3", -1, 0, 2.5, 10**12, 10**30, [3], True],
    "pretrained_cfg": [None, 5, [], {}, "x"],
    "model_args": [5, [], "x", {"in_chans": "x"}, {"nonsense": 1}, {"num_classes": 10**12}],
    "head_hidden": [5, "x", [0], [-1], [10**12], ["x"], {"a": 1}],
    "eval_tokens": ["x", 0, -1, 2.5, [1], 10**30],
}
_PREPROCESSING = {
    "input_size": [None, 5, [], [1, 32], [3, 32, 32], [1, 0, 0], [1, "32", "32"], [1, 10**9, 10**9], {"a": 1}],
    "mean": [None, 0.5, [], ["x"], [float("nan")], [0.5, 0.5]],
    "std": [None, 0.5, [], ["x"], [0.0], [-1.0], [float("inf")]],
    "nonsense": [1],
}
CHANGES = [(key, None, value) for key, values in _REPLACED.items() for value in values] + [
    ("pretrained_cfg", key, value) for key, values in _PREPROCESSING.items() for value in values
]


@pytest.mark.parametrize(("key", "inner", "value"), CHANGES, ids=[f"{a}.{b}={c}"[:60] for a, b, c in CHANGES])
def test_m6_a_config_of_other_types_is_one_line(copy: Path, key: str, inner: str | None, value: Any) -> None:
    path = copy / "config.json"
    config = json.loads(path.read_text())
    (config if inner is None else config[key])[inner or key] = value
    path.write_text(json.dumps(config))
    _is_one_line(copy)


TEXTS = [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"[" * 100_000, b"{}"]


@pytest.mark.parametrize("text", TEXTS, ids=[repr(text[:8]) for text in TEXTS])
def test_m6_a_config_that_is_none_is_one_line(copy: Path, text: bytes) -> None:
    (copy / "config.json").write_bytes(text)
    _is_one_line(copy)


def test_m6_other_weights_are_one_line(copy: Path) -> None:
    path = copy / "model.safetensors"
    whole, tensors = path.read_bytes(), load_file(path)
    first = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    for length in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        _is_one_line(copy)
    path.write_bytes(b"\xff" * 8 + whole[8:])
    _is_one_line(copy)
    for other in (
        {name: tensor for name, tensor in tensors.items() if name != first},
        {**tensors, "more": torch.zeros(1)},
        {**tensors, first: tensors[first][:, :, :1].contiguous()},
        {**tensors, first: tensors[first].half()},
        {**tensors, first: tensors[first].to(torch.int64)},
    ):
        save_file(other, path)
        _is_one_line(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_m6_a_file_that_is_gone_or_a_folder_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert name in _is_one_line(copy)
    (copy / name).mkdir()
    _is_one_line(copy)


def _is_one_line(folder: Path) -> str:
    with pytest.raises(DataError, match="holds no usable model: ") as caught:
        load_model(folder)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message
