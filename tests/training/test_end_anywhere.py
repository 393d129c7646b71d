"""H6: a training that ends at any point is continued to the very bytes of one that was left alone.

Every point is tried, none by chance: after each step, before, in and after each validation, after each rename of a file
(which is between `last/` and `best/`, between the two renames of `resume.pt`, ...), and when all is done.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ends import contents, ends, recipe, train, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "set")


@pytest.mark.parametrize("saves", [True, False], ids=["every step is saved", "saved after the first epoch"])
def test_ended_at_any_point_it_is_continued_to_the_same_bytes(data: Path, tmp_path: Path, saves: bool) -> None:
    config, whole = recipe(data), tmp_path / "run"
    left = ends(config, whole, saves=saves)
    assert len(left) >= 26
    assert {"after step 2", "in validation", "last/model.safetensors", "best/config.json"} < {name for name, _ in left}
    expected, problems = contents(whole), {}
    for number, (name, root) in enumerate(left):
        train(config, root)
        found = contents(root)
        if different := [file for file in {**expected, **found} if found.get(file) != expected.get(file)]:
            problems[number, name] = different
    assert problems == {}
