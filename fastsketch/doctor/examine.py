"""All checks, side by side, and what they found."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fastsketch.doctor.checks import CHECKS, Check
from fastsketch.errors import BackendMissing, one_line
from fastsketch.workers import available_cpus, process_pool

PATIENCE = 120.0
"""Seconds until a check counts as broken: importing torch takes up to 20 on a cold machine."""


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        name: Of the part.
        state: `missing` is a part that is not installed.
        detail: Its version, or what is wrong.
        remedy: A command that mends it; None where there is nothing to mend.
        needed: Whether fastsketch is of no use without it.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str | None
    needed: bool

    @property
    def bad(self) -> bool:
        """Whether the machine is not well: something is broken, or missing that is needed."""
        return self.state == "broken" or (self.state == "missing" and self.needed)


class Report(NamedTuple):
    """What `examine` found.

    Attributes:
        environment: Machine and versions.
        findings: One a check.
        caches: Where what was downloaded and compiled is kept.
        free_gb: Of the disk that the working directory is on.
        speeds: Of the probe, by what was measured; empty where it was not wanted.
    """

    environment: dict[str, Any]
    findings: list[Finding]
    caches: dict[str, str]
    free_gb: float
    speeds: dict[str, float]

    @property
    def healthy(self) -> bool:
        """Whether nothing is bad."""
        return not any(finding.bad for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {**self._asdict(), "findings": [each._asdict() for each in self.findings], "healthy": self.healthy}


def examine(*, checks: Sequence[Check] = CHECKS, probe: bool = True) -> Report:
    """Look at the machine: every part does one tiny real thing, then what matters is timed for five seconds.

    Args:
        checks: The parts.
        probe: Time.
    """
    with ThreadPoolExecutor(min(available_cpus(), len(checks) or 1)) as threads:
        findings = list(threads.map(_finding, checks))

    from fastsketch.doctor.probe import speeds  # here torch begins, which a check may have found broken
    from fastsketch.environment import environment

    free = shutil.disk_usage(Path.cwd()).free / 1e9
    well = not any(finding.bad for finding in findings)
    return Report(environment(), findings, _caches(), round(free, 1), speeds() if probe and well else {})


def _caches() -> dict[str, str]:
    from huggingface_hub.constants import HF_HUB_CACHE
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return {"weights": str(HF_HUB_CACHE), "kernels": cache_dir()}


def _finding(check: Check) -> Finding:
    try:
        with process_pool(1) as pool:
            detail = pool.submit(check.work).result(PATIENCE)
    except BackendMissing as error:
        return Finding(check.name, "missing", one_line(error.message, 100), check.remedy, check.needed)
    except TimeoutError:
        return Finding(check.name, "broken", f"nothing after {PATIENCE:.0f} s", check.remedy, check.needed)
    except BrokenProcessPool:
        return Finding(check.name, "broken", "its process was killed", check.remedy, check.needed)
    except Exception as error:  # whatever a part raises is what is wrong with it
        said = (str(error).strip().splitlines() or [""])[0]
        return Finding(
            check.name, "broken", one_line(f"{type(error).__name__}: {said}", 160), check.remedy, check.needed
        )
    return Finding(check.name, "ok", detail, None, check.needed)
