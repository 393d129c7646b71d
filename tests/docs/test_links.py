"""Every link of the pages leads somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import DOCS, PAGES, ROOT, headings, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leads out of the repository"
        if anchor:
            assert anchor in headings(target), f"{page.name}: {link}"


def test_every_page_is_found_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert {*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")} <= linked
