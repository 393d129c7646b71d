from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from serving import Serving, serving

from fastsketch.training.run.directory import Run


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Serving]:
    """Of a small CNN of random weights, whose data set is there."""
    with serving(run.root) as found:
        yield found
