"""What can go wrong in a way the user can mend.

Every error carries one line that says what is wrong and where, and a hint that says how to mend it. The command
line prints both and exits with the class's `exit_code`; a library caller catches `FastSketchError`.
"""

from __future__ import annotations

import unicodedata
from typing import ClassVar


class FastSketchError(Exception):
    """A run that failed for a reason the user can do something about."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(FastSketchError):
    """Arguments or a configuration that cannot be meant: unknown keys, contradictions, paths that are not there."""

    exit_code = 2


class DataError(FastSketchError):
    """Data that is damaged, empty or not what it says it is."""


class BackendMissing(FastSketchError):
    """An optional dependency that the request needs is not installed; the hint names the extra that brings it."""

    @classmethod
    def of(cls, name: str, reason: object, extra: str, note: str = "") -> BackendMissing:
        """The error for a library that cannot be imported, `note` following the command that installs it."""
        hint = f"pip install '.[{extra}]' in fastsketch's folder{note}"
        return cls(f"{name} cannot be imported ({reason})", hint=hint)


def one_line(text: object, limit: int | None = None) -> str:
    """`text` on one line: escapes for line breaks and all that a terminal obeys or cannot show, `…` for the middle.

    Args:
        text: A file's or a class's name, a value, a library's message: whatever others wrote.
        limit: Letters that it may have, before the escapes.
    """
    text = str(text)
    if limit is not None and len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-(limit // 2) :]}"
    return "".join(letter if _shows(letter) else letter.encode("unicode_escape").decode() for letter in text)


def reason_of(error: BaseException) -> str:
    """What went wrong, on one line: the system's words for its errors, the library's for its own, at least a name."""
    said = error.strerror if isinstance(error, OSError) else None
    return one_line(said or str(error) or type(error).__name__, 200)


def _shows(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"
