"""What was drawn, kept on disk where the server was told to."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock

from xxhash import xxh3_128

from fastsketch import atomic
from fastsketch.errors import ConfigError
from fastsketch.serve.bodies import STROKES

log = logging.getLogger(__name__)

MOST_FILES, MOST_BYTES = 20_000, 1 << 30
"""That are in the folder, when nothing more is kept."""

SUFFIXES = {STROKES: ".json", "image/jpeg": ".jpg"}
"""Of files, where they are not the media type's second half."""


class Keeper:
    """Writes bodies of requests into a folder, named by what they hold, until there are too many.

    Args:
        folder: Made if it is missing.

    Raises:
        ConfigError: It cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sizes = [each.stat().st_size for each in folder.iterdir() if not atomic.is_temporary(each)]
        except OSError as error:
            raise ConfigError(f"--keep {folder}: {error.strerror or error}") from error
        self._files, self._bytes, self._told = len(sizes), sum(sizes), False
        self._writing = Lock()

    def keep(self, body: bytes, media_type: str) -> None:
        """Keep one; what cannot be kept is told once, and costs no answer."""
        suffix = SUFFIXES.get(media_type) or "." + media_type.partition("/")[2]
        path = self.folder / f"{xxh3_128(body).hexdigest()}{suffix}"
        with self._writing:
            if path.exists():
                return
            if self._files >= MOST_FILES or self._bytes + len(body) > MOST_BYTES:
                self._tell(
                    f"{self.folder} is full ({MOST_FILES:,} files, {MOST_BYTES >> 30} GiB): nothing more is kept"
                )
                return
            try:
                atomic.write_bytes(path, body)
            except OSError as error:
                self._tell(f"{path} cannot be kept: {error.strerror or error}")
                return
            self._files += 1
            self._bytes += len(body)

    def _tell(self, line: str) -> None:
        if not self._told:
            log.warning("%s", line)
        self._told = True
