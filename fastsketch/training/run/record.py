"""`run.json`: what a run was trained on, by what and where; an entry for its start and for every resume."""

from __future__ import annotations

import json
import logging
import math
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

from fastsketch import atomic
from fastsketch.environment import environment, git_commit
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.run.saving import saving

log = logging.getLogger(__name__)


def write_record(path: Path, dataset: DatasetMetadata, *, epochs_done: float = 0, **resolved: object) -> None:
    """Append a session to `path`, atomically.

    A session holds when it began (UTC), after how many epochs, the command line, the commit of the working directory
    if that is a checkout, the checksum of the data set, what `auto` came to, and the environment. It names no host.

    Args:
        path: `run.json`, made if it is not there.
        dataset: What is trained on.
        epochs_done: Of the run, before this session: 2.5 is in the midst of the third.
        resolved: What was decided on this machine, as JSON can hold it: device, precision, compile, ...

    Raises:
        FastSketchError: It cannot be written.
    """
    session = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "epochs_done": epochs_done,
        "command": shlex.join(sys.orig_argv),
        "commit": git_commit(Path.cwd()),
        "dataset_sha256": dataset.checksum(),
        "resolved": resolved,
        "environment": {key: value for key, value in environment().items() if key != "date"},
    }
    with saving(path):
        atomic.write_json(path, {"sessions": [*_sessions(path), session]})


def resumed_epochs(path: Path) -> list[float]:
    """After how many epochs the run of a `run.json` was continued, in order; those of damaged records are left out."""
    done = (session.get("epochs_done") for session in _sessions(path) if isinstance(session, dict))
    return sorted({float(each) for each in done if isinstance(each, int | float) and 0 < each < math.inf})


def _sessions(path: Path) -> list[object]:
    """Those written so far. A record that cannot be read is no reason not to train."""
    if not path.is_file():
        return []
    try:
        sessions = list(json.loads(path.read_text(encoding="utf-8"))["sessions"])
        json.dumps(sessions, ensure_ascii=False).encode()  # half a surrogate can be read but not written
        return sessions
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s cannot be read (%s) and is begun anew", path, error)
        return []
