"""The verbs of a notebook: `convert`, `train` and `evaluate`, each a command of the same name, and `load`.

A cell that is run again goes on where it ended, or returns what is there already, as the command does. Everywhere a
path is a `str` or a `Path`, and errors are a `FastSketchError` of one line with a hint.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsketch.config import ConvertConfig, Recipe, validated
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.progress import Screen, notes
from fastsketch.shown import convert_shown, train_shown
from fastsketch.training.prepare import Resume, prepare
from fastsketch.training.run.directory import Run

if TYPE_CHECKING:
    from fastsketch.evaluation import Evaluation
    from fastsketch.inference.classifier import Classifier
    from fastsketch.inference.saved import Source

_OPTION = re.compile(r"--([a-z][a-z-]*)( (?=[\d/]))?")
_SWITCHES = dict.fromkeys(("overwrite", "pretrained", "resume"), "=True")


def convert(
    source: str | Path,
    destination: str | Path | None = None,
    size: int = 224,
    *,
    progress: bool = True,
    **settings: Any,
) -> Path:
    """Decode and resize sketches once, into a data set that loads at memory speed.

        data = fastsketch.convert("sketches", "data/sketches", size=224, split="0.8/0.1/0.1")

    What was interrupted goes on with the same call; what is done already, with the same sketches and settings, is left
    as it is.

    Args:
        source: A folder of images, a `filelist.txt`, or Quick, Draw! strokes (`.ndjson`, `.ndjson.gz`); or, without
            a destination, a data set, which `format` is added to. It may be at a URL.
        destination: The data set to write, here or at a URL.
        size: Side of the square images in pixels.
        progress: Show a bar, and what came of it.
        settings: The other options of `fastsketch convert`, which are the attributes of `ConvertConfig`: `split`,
            `seed`, `classes`, `part`, `resize`, `invert`, `clean_photo`, `strict`, `overwrite`, `workers`, `executor`,
            `format`.

    Returns:
        The folder of the data set.

    Raises:
        ConfigError: A setting is wrong, `destination` is something else, or it lies in the source.
        DataError: The source is damaged, or holds nothing that can be meant.
        BackendMissing: The library of a format, or of the cluster, is not installed.
        FastSketchError: The disk is full, a worker died, the cluster is gone, or another process is at it.
    """
    with _spoken(progress) as screen:
        config = validated(ConvertConfig, {"size": size, **settings}, "settings of convert")
        return convert_shown(Path(source), None if destination is None else Path(destination), config, screen)


def train(
    data: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    out: str | Path | None = None,
    resume: Resume = "auto",
    *,
    settings: Mapping[str, object] | None = None,
    progress: bool = True,
    **more: Any,
) -> Run:
    """Train a model on a data set.

        run = fastsketch.train("data/sketches", recipe="quick", out="runs/first", epochs=10, augment__thickness=0.2)

    Name `out`, and the same call again continues a run that was broken off, or returns one that is finished.

    Args:
        data: A converted data set.
        recipe: The name of a recipe (`fastsketch recipes` lists them), a YAML file, or what `load_recipe` returned;
            None for the defaults.
        out: The run directory; by default a new one, `runs/DATA-MODEL-TIME`.
        resume: `"auto"` continues what is begun in `out`; True needs a run there, and needs nothing but `out`; False
            must not find one.
        settings: Any key of a recipe by its dotted name: `{"augment.thickness": 0.2}`.
        progress: Show a bar, a line an epoch, and what came of it.
        more: `epochs`, `lr`, `batch_size`, `image_size`, `model`, `weights`, `pretrained`, `seed`, `device`,
            `max_minutes`, `verify`; or any key, with two underscores for its dot, which Python does not allow in a
            name: `augment__thickness=0.2` is `augment.thickness`. `fastsketch recipes --keys` lists them all.

    Returns:
        The run: its models in `run.best` and `run.last`, its records in `run.metrics`.

    Raises:
        ConfigError: A setting is wrong, or does not fit the data set, the run or the machine.
        DataError: The data set or the run is damaged.
        FastSketchError: The loss is no longer finite, a file cannot be written, or another process trains in `out`.
        KeyboardInterrupt: Somebody asked to stop; everything is saved.
    """
    with _spoken(progress) as screen:
        prepared = prepare(recipe, out=out, resume=resume, **{"data": data, **(settings or {}), **more})
        try:
            train_shown(prepared.recipe, prepared.run, screen, resume=prepared.resume)
        except KeyboardInterrupt:
            if prepared.run.begun:
                screen.lines.print(f"continue with: fastsketch.train(out={str(prepared.run.root)!r}, resume=True)")
            raise
        return prepared.run


def evaluate(run: Run | str | Path, split: str = "val", *, progress: bool = True, **settings: Any) -> Evaluation:
    """Evaluate a trained model: top-1, top-5, a table of classes, a confusion matrix.

        fastsketch.evaluate("runs/first", split="test").scores.top1

    Args:
        run: What `train` returned, or a run directory.
        split: `train`, `val` or `test`.
        progress: Show what is to be told.
        settings: The other options of `fastsketch evaluate`, which are the arguments of `evaluate_run`: `checkpoint`,
            `data`, `device`, `flip`, `tokens`, `verify`.

    Raises:
        ConfigError: There is no such run, model, data set, split or setting, or they do not fit each other.
        DataError: The model or the data set is damaged.
    """
    from fastsketch.evaluation import evaluate_run

    with _spoken(progress):
        _check_names("evaluate", settings, evaluate_run)
        return evaluate_run(run, split, **settings)


def load(run: Source | Iterable[Source], **settings: Any) -> Classifier:
    """A trained model, or several that are asked together, to be asked what sketches show.

        fastsketch.load("runs/first").predict("mine.png").labels[0]

    Args:
        run: What `train` returned, a run directory, a model's folder; or several of the same classes.
        settings: The other arguments of `Classifier.load`: `checkpoint`, `device`, `flip`, `invert`,
            `clean_photo`.

    Raises:
        ConfigError: There is no such run, model, device or setting, or classes differ.
        DataError: A model is damaged.
    """
    from fastsketch.inference.classifier import Classifier

    with _spoken(progress=False):
        _check_names("load", settings, Classifier.load)
        return Classifier.load(run, **settings)


@contextmanager
def _spoken(progress: bool) -> Iterator[Screen]:
    """Where a verb shows its work, with its errors' hints in words of Python instead of the command line."""
    screen = Screen.of_python(progress)
    try:
        with warnings.catch_warnings(), notes(screen) if progress else nullcontext():
            warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, in a notebook, when timm imports it
            yield screen
    except FastSketchError as error:
        error.message, error.hint = _in_python(error.message), error.hint and _in_python(error.hint)
        raise


def _in_python(text: str) -> str:
    """`--size 64` → `size=64`, `--overwrite` → `overwrite=True`, `another --out` → `another out`."""
    if re.search(r"\bfastsketch [a-z]", text):  # a whole command, which a cell takes as well
        return text
    return _OPTION.sub(
        lambda found: found[1].replace("-", "_") + ("=" if found[2] else _SWITCHES.get(found[1], "")), text
    )


def _check_names(verb: str, settings: Mapping[str, object], function: Any) -> None:
    """Make sure that a function has all these arguments.

    Raises:
        ConfigError: It has not, with the nearest that it has.
    """
    from inspect import signature

    from fastsketch.config.report import suggestion

    names = list(signature(function).parameters)
    for name in settings:
        if name not in names:
            raise ConfigError(f"{verb} has no setting '{name}'{suggestion(name, names)}")
