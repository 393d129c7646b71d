"""That no result counts before the data set is verified, and no disk, however slow, costs what was trained."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastsketch.errors import DataError
from fastsketch.formats.verification import Verifier
from fastsketch.training.execution.distributed import RefusedElsewhere, World
from fastsketch.training.run.stop import StopController


def assured(
    verifier: Verifier, stop: StopController, save: Callable[[], None], world: World, device: torch.device
) -> bool:
    """Wait until every machine's copy of the data set is verified, saving when that is due; damage ends all processes.

    Returns:
        False if it is time to stop before: the next session verifies again.

    Raises:
        DataError: A file is damaged.
        RefusedElsewhere: In processes that neither found it nor lead.
    """
    while world.anywhere(not verifier.finished(1), device):  # no process waits for another longer than it may
        if due := stop.due(0):  # all processes ask in the same round
            if due == "stop":
                return False
            save()
    if world.anywhere(verifier.damage is not None, device):
        verifier.tell()
        if world.leads:
            raise DataError("another machine's copy of the data set is damaged", hint="a process of it says where")
        raise RefusedElsewhere("the data set is damaged: another process says where")
    return True
