"""Libraries that not everybody has."""

from __future__ import annotations

import importlib
from typing import Any

from fastsketch.errors import BackendMissing


def import_optional(module: str, name: str, extra: str, note: str = "") -> Any:
    """A module of an optional library.

    Args:
        module: Its dotted name.
        name: What the library is called.
        extra: That brings it.
        note: Follows the command that installs it.

    Raises:
        BackendMissing: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendMissing.of(name, error, extra, note) from error
