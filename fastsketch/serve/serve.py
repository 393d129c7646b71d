"""Saved models → a page and an API, until the process is told to end."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.evaluation.subject import Subject
from fastsketch.inference.classifier import Classifier
from fastsketch.inference.saved import CHECKPOINTS, SavedModel
from fastsketch.ink import PAPER
from fastsketch.serve.api import Served
from fastsketch.serve.app import create_app
from fastsketch.serve.gallery import Gallery
from fastsketch.serve.guard import is_loopback
from fastsketch.serve.keep import Keeper
from fastsketch.serve.server import create_server, listen
from fastsketch.training.run.directory import Run

log = logging.getLogger(__name__)


def serve(
    models: Sequence[SavedModel],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str | None = None,
    origins: Sequence[str] = (),
    keep: Path | None = None,
    data: Path | None = None,
    device: str = "auto",
    on_start: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve the page and the API; returns after SIGINT or SIGTERM, when what was asked before is answered.

    Args:
        models: Of the same classes; several are asked together.
        host: Whom it listens to: the loopback address to nobody else on the network.
        port: Where; 0 takes one that is free.
        token: What questions must bring.
        origins: Other sites whose pages may ask.
        keep: Folder for what is drawn.
        data: The first model's data set, if it has moved.
        device: Where the models compute.
        on_start: Called with the page's address once it is answered.

    Raises:
        ConfigError: There is no such host, device or folder, an origin is none, or the token cannot be one.
        DataError: A model or a data set is damaged.
        FastSketchError: Another program listens there.
    """
    if token is not None and not (token.isascii() and token.isalnum()):
        raise ConfigError("--token is of ASCII letters and digits")
    keeper = Keeper(keep) if keep is not None else None
    origins = [_origin(each) for each in origins]
    with listen(host, port) as listening:
        classifier = Classifier.of(models, device=device)
        gallery = _gallery(models[0], classifier, data)
        _warm(classifier)
        if not is_loopback(host):
            log.warning("whoever reaches %s can ask%s", host, "" if token is None else ", with the token")
        served = Served(classifier, models[0].architecture, gallery, keeper, token, origins, is_loopback(host))
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/" + (f"#{token}" if token else "")
        create_server(create_app(served), lambda: on_start(address)).run(sockets=[listening])


def _origin(text: str) -> str:
    """An origin as browsers write it."""
    origin = text.lower().rstrip("/")
    if not re.fullmatch(r"https?://[^/*\s]+", origin):
        raise ConfigError(f"--allow-origin {text}: no origin", hint="as in https://example.org, without a path")
    return origin


def _gallery(model: SavedModel, classifier: Classifier, data: Path | None) -> Gallery | None:
    """The training sketches of a run's model; of any other, and where the data set is gone, nothing is known."""
    run, checkpoint = Run(model.folder.parent), model.folder.name
    if checkpoint not in CHECKPOINTS or not run.config.is_file():
        if data is not None:
            raise ConfigError(f"--data: {model.folder} is of no run, and has no training sketches")
        return None
    try:
        subject = Subject.of(run, "train", checkpoint, data, None, None)
        return Gallery(classifier.members[0], subject.folder, subject.dataset)
    except FastSketchError as error:
        if data is not None or isinstance(error, DataError):
            raise
        log.info("no training sketches will be shown: %s", error.message)
        return None


def _warm(classifier: Classifier) -> None:
    """The first question is the slowest: nobody should have to wait for its answer."""
    blank = {
        reading: torch.full((1, 1, reading.size, reading.size), PAPER, dtype=torch.uint8)
        for reading in classifier.readings
    }
    classifier.probabilities(blank)
