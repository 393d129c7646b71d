"""TensorBoard and W&B, which get the same record every epoch as `metrics.jsonl` does; the axis is the epoch.

Both are extras, imported when they are asked for. Neither uses the network unasked: TensorBoard writes files, and so
does W&B unless WANDB_MODE says otherwise.
"""

from __future__ import annotations

import logging
import netrc
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml

from fastsketch import atomic
from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.optional import import_optional

log = logging.getLogger(__name__)

_ONLINE = ("online", "run", "shared")
"""The values of WANDB_MODE that use the network."""

Row = Mapping[str, float | None]
"""An `EpochRecord` as a mapping."""


class Logger(Protocol):
    """Somewhere that the metrics go."""

    def begin(self, earlier: Sequence[Row]) -> None:
        """Open a new run, or go on with that of an earlier session, which these records were kept of."""
        ...

    def add(self, row: Row) -> None:
        """Hand over an epoch's record."""
        ...

    def close(self, *, failed: bool) -> None:
        """Put everything where it belongs."""
        ...


def check_loggers(names: Iterable[str]) -> None:
    """Before anything is made or computed: whether all of `training.loggers` can be used.

    Raises:
        BackendMissing: One is not installed.
        ConfigError: W&B is to be online, and nobody is logged in.
    """
    for name in names:
        _LOGGERS[name].load()


def open_loggers(recipe: Recipe, root: Path) -> list[Logger]:
    """The loggers of `training.loggers` for a run in the folder `root`, not begun yet."""
    return [_LOGGERS[name](recipe, root) for name in recipe.training.loggers]


class TensorBoard:
    """Event files in `root/tensorboard`: `tensorboard --logdir runs` compares all runs there."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self._recipe = recipe
        self._folder = root / "tensorboard"

    @staticmethod
    def load() -> Any:
        """The module; see `check_loggers`."""
        return import_optional("torch.utils.tensorboard", "TensorBoard", "tensorboard")

    def begin(self, earlier: Sequence[Row]) -> None:
        """Purge what an earlier session wrote of epochs that it did not save."""
        self._writer = self.load().SummaryWriter(str(self._folder), purge_step=len(earlier) + 1)
        config = yaml.safe_dump(self._recipe.model_dump(mode="json"), sort_keys=False)
        self._writer.add_text("config", f"```yaml\n{config}```", len(earlier))

    def add(self, row: Row) -> None:
        """Write the record through to the disk."""
        for tag, value in _scalars(row):
            self._writer.add_scalar(tag, value, row["epoch"])
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Close the event file."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run in `root/wandb`, offline unless WANDB_MODE says otherwise.

    The sessions of a run share one id. W&B cannot resume what it has not uploaded: each offline session begins with
    the records of those before, so that `wandb sync` of the latest one uploads the whole run.
    """

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self._recipe = recipe
        self._root = root

    @staticmethod
    def load() -> Any:
        """The module; see `check_loggers`. W&B itself would ask for a key, and wait for it."""
        # It reads these when it is imported: reports of its use and its crashes go to its makers otherwise, and what
        # it says before there is a run cannot be silenced by the run's settings.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        wandb = import_optional("wandb", "W&B", "wandb")
        if _wandb_mode() in _ONLINE and not _wandb_key():
            raise ConfigError(
                "WANDB_MODE asks for W&B online, but nobody is logged in",
                hint="`wandb login`, set WANDB_API_KEY, or unset WANDB_MODE to keep the metrics here",
            )
        return wandb

    def begin(self, earlier: Sequence[Row]) -> None:
        """Make or resume the W&B run."""
        wandb, mode = self.load(), _wandb_mode()
        online = mode in _ONLINE
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "fastsketch"),
                name=os.environ.get("WANDB_NAME", self._root.resolve().name),
                id=self._id(),
                resume="allow" if online else None,
                dir=str(self._root.resolve()),
                mode=mode,
                config=self._recipe.model_dump(mode="json"),
                allow_val_change=True,  # a resumed run may have more epochs
                settings={"silent": True, "console": "off"},  # what is printed is not captured either
            )
        except (wandb.Error, ValueError) as error:  # the latter for a WANDB_MODE that there is not
            raise FastSketchError(
                f"W&B cannot be used: {str(error).splitlines()[0]}", hint="unset WANDB_MODE to keep the metrics here"
            ) from error
        log.info("W&B (%s): %s", mode, self._run.url if online else self._root / "wandb")
        if not self._run.resumed:
            for row in earlier:
                self.add(row)

    def add(self, row: Row) -> None:
        """Log the record."""
        self._run.log({"epoch": row["epoch"], **dict(_scalars(row))}, step=row["epoch"])

    def close(self, *, failed: bool) -> None:
        """Finish the W&B run, which can still be resumed."""
        self._run.finish(exit_code=int(failed))

    def _id(self) -> str:
        """The run's id, drawn in its first session."""
        path = self._root / "wandb" / "id"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(path, secrets.token_hex(8))
        return path.read_text(encoding="utf-8").strip()


_LOGGERS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def _scalars(row: Row) -> list[tuple[str, float]]:
    """What a record holds, under names that both loggers group by their first part: `val_top1` → `val/top1`."""
    return [
        (name.replace("_", "/", 1) if name.startswith(("train_", "val_")) else name, value)
        for name, value in row.items()
        if name != "epoch" and value is not None
    ]


def _wandb_mode() -> str:
    return os.environ.get("WANDB_MODE") or "offline"


def _wandb_key() -> bool:
    """Whether W&B finds a key without asking: in the environment, or where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    for path in (Path(file).expanduser() for file in files if file):
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
