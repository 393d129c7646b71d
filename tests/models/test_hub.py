"""Finding 14: `--pretrained` without a network took 60 s and 22 lines of retries. No test here reaches for one."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from torch import nn

from fastsketch.config import ModelConfig
from fastsketch.errors import FastSketchError
from fastsketch.models import create_model, hub


def no_network(*arguments: object, **options: object) -> socket.socket:
    raise OSError("Network is unreachable")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """No network; whether the hub's client was off line whenever timm was asked for weights."""
    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found: list[bool] = []
    real = timm.create_model

    def create(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            found.append(constants.HF_HUB_OFFLINE)
            logging.getLogger("huggingface_hub.utils").warning("Retrying in 8 s")
            raise ConnectionError("a long story\nin many lines")
        return real(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    return found


@pytest.mark.parametrize("name", ["test_resnet", "vit_small"])
def test_without_a_network_it_says_so_at_once(
    calls: list[bool], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    started = time.perf_counter()
    with pytest.raises(FastSketchError, match=r"cannot be fetched: \S+ cannot be reached\n") as caught:
        create_model(ModelConfig(name=name, pretrained=True), num_classes=3, size=224)
    assert time.perf_counter() - started < 10
    assert "--weights" in str(caught.value.hint)
    assert calls == [True]
    assert constants.HF_HUB_OFFLINE is False
    assert capfd.readouterr().err == ""
    assert caplog.text == ""


def test_what_was_fetched_before_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub.fetching("resnet18"):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = threading.Event()
    monkeypatch.setattr(hub, "SECONDS", 0.05)
    monkeypatch.setattr(socket, "create_connection", lambda *arguments: no_network() if waited.wait(60) else None)
    started = time.perf_counter()
    assert not hub.reachable("https://nowhere.invalid")
    assert time.perf_counter() - started < 30
    waited.set()


def test_a_proxy_is_what_has_to_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    class Connection:
        def close(self) -> None: ...

    def connect(address: object, timeout: float) -> Connection:
        asked.append(address)
        return Connection()

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert hub.reachable("https://nowhere.invalid/path")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert hub.reachable("https://nowhere.invalid/path")
    assert asked == [("nowhere.invalid", 443), ("proxy.invalid", 3128)]


def test_timm_is_quiet_where_weights_fit_already(
    tmp_path: object, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Finding 14: `--weights` of our own run printed timm's `Pretrained conv_stem weights already match`."""
    from pathlib import Path

    from safetensors.torch import save_file

    model = create_model(ModelConfig(name="test_efficientnet"), num_classes=5, size=32)
    path = Path(str(tmp_path)) / "model.safetensors"
    save_file(model.state_dict(), path)
    again = create_model(ModelConfig(name="test_efficientnet", weights=path), num_classes=5, size=32)
    assert torch.equal(again.state_dict()["conv_stem.weight"], model.state_dict()["conv_stem.weight"])
    assert capfd.readouterr().err == ""
    assert caplog.text == ""
