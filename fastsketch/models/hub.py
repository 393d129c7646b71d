"""timm's pretrained weights, the only thing that uses the network: where there is none, that shows in seconds."""

from __future__ import annotations

import logging
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants

from fastsketch.errors import FastSketchError

SECONDS = 3.0
"""So long a connection may take to open; whatever is slower would not bring a model either."""


@contextmanager
def fetching(name: str) -> Iterator[None]:
    """Around `timm.create_model(name, pretrained=True)`: without a network, what was fetched before is used.

    The hub's client tries for a minute otherwise, with a line on stderr every few seconds.

    Raises:
        FastSketchError: Weights were not fetched before, and cannot be now.
    """
    config = timm.get_pretrained_cfg(name)
    from_hub = bool(config.hf_hub_id)
    url = constants.ENDPOINT if from_hub else config.url
    if not url or reachable(url):  # without an address timm says that there are no such weights
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        if not from_hub and not os.path.isfile(_cached(url)):
            raise FileNotFoundError(url)
        yield
    except Exception as error:
        raise FastSketchError(
            f"pretrained weights of '{name}' cannot be fetched: {urlsplit(url).hostname} cannot be reached",
            hint="fetch them where there is a network, and name the file with --weights",
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def reachable(url: str) -> bool:
    """Whether a connection can be opened to the host of `url`, or to the proxy on the way there."""
    if constants.HF_HUB_OFFLINE:
        return False
    target = urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy)
    address = (target.hostname or "", target.port or (443 if target.scheme == "https" else 80))
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, SECONDS).close()
            opened.set()
        except OSError:
            pass

    # In a thread, because nothing limits how long a name server is waited for.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return opened.is_set()


@contextmanager
def quiet_libraries() -> Iterator[list[str]]:
    """Keep to ourselves what timm and the hub's client log within this; yields timm's warnings."""
    said: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [listener], False
    try:
        yield said
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def _cached(url: str) -> str:
    """Where torch keeps what it has fetched from `url`."""
    return os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(urlsplit(url).path))
